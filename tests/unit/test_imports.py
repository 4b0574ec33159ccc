"""The rules of the house: the tools that pyproject.toml configures are run, and what no tool says is read here.

import-linter holds the layers, circles, and who may import ComfyUI and PyAV; ruff holds prints, globals and absolute
imports of the package. Neither knows a list of allowed packages, nor what happens where a package is absent; and
import-linter cannot load nodes/, whose parent is the checkout's folder, whatever its name.
"""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
REQUIRED = {"torch", "safetensors", "einops", "numpy", "av"}
OPTIONAL = {"transformers", "sageattention", "aiohttp", "matplotlib", "PIL", "scipy", "psutil", "tqdm", "gguf", "ray"}
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "server", "execution", "nodes"}


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_import_contracts(capsys):
    """A new file of the core gets a layer in pyproject.toml."""
    broken = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert not broken, capsys.readouterr().out


def test_the_core_imports_few_packages():
    graph = grimp.build_graph("flashvideo_core", include_external_packages=True, cache_dir=None)
    outside = {name for name in graph.modules if name.split(".")[0] != "flashvideo_core"}
    unknown = outside - set(sys.stdlib_module_names) - REQUIRED - OPTIONAL
    assert not unknown, {name: graph.find_modules_that_directly_import(name) for name in unknown}


NODE_FILES = sorted((ROOT / "nodes").rglob("*.py"))


def imported_names(path: Path) -> list[str]:
    """What a file imports, anywhere in it, as written: "comfy.ops", "..flashvideo_core.dit", ".flow"."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            names += [package] if node.module else [package + alias.name for alias in node.names]
    return names


@pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_bridge_imports_comfy_and_knows_no_node(path):
    """And the pack's own files are imported relatively: ComfyUI has a module `nodes`."""
    bridge = path.parent.name == "bridge"
    for name in imported_names(path):
        assert name.split(".")[0] not in {"flashvideo_core", "nodes"}, f"{name} is not relative"
        if bridge:
            assert not name.startswith("..") or name.startswith("...flashvideo_core"), f"the bridge imports {name}"
        else:
            assert name.split(".")[0] != "comfy", f"{name} outside the bridge"


@pytest.mark.parametrize("path", NODE_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_nodes_import_from_the_core_is_there(path):
    """Without ComfyUI the nodes cannot be imported, so a renaming in the core would not be noticed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("flashvideo_core"):
            module = importlib.import_module(node.module)
            assert not [alias.name for alias in node.names if not hasattr(module, alias.name)], node.module


def test_the_pack_root_imports_no_comfyui_at_module_level():
    """pytest imports it, and ComfyUI is not there."""
    for node in ast.parse((ROOT / "__init__.py").read_text()).body:
        assert not isinstance(node, ast.ImportFrom | ast.Import), f"line {node.lineno}"


ABSENT = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import flashvideo_core
for module in pkgutil.walk_packages(flashvideo_core.__path__, "flashvideo_core."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def test_the_core_imports_without_comfyui_and_optional_packages():
    blocked = COMFYUI | OPTIONAL | {"diffusers", "pytest"}
    command = [sys.executable, "-W", "error::SyntaxWarning", "-c", ABSENT.replace("{blocked}", repr(blocked))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_public_api_is_the_contract():
    """The names and parameters that programs outside this repository call."""
    from flashvideo_core import checkpoint, handoff, pipeline, sampling, schedule, tiling
    from flashvideo_core.dit import Transformer
    from flashvideo_core.vae import VAE

    contract = {
        checkpoint.load_transformer: "path device dtype",
        checkpoint.load_vae: "path device dtype",
        Transformer.forward: "self x timestep txt ref_step attention on_block",
        schedule.zero_snr_sqrt_alphas: "",
        schedule.stage1_schedule: "steps",
        schedule.stage2_times: "steps shift",
        sampling.sample_stage1: "dit noise txt steps cfg draw_noise negative guidance callback",
        sampling.sample_stage2: "dit z_ref txt noise steps cfg shift ref_step negative callback",
        VAE.decode: "self z callback",
        VAE.encode: "self frames draw_noise callback",
        tiling.decode_released_strips: "vae z",
        handoff.prepare_reference: "z vae size draw_noise frames",
        pipeline.load_pipeline: "stage1 stage2 vae text device dtype",
        pipeline.draft: "pipe prompt seed negative frames height width steps cfg guidance callback",
        pipeline.refine: "pipe d seed size steps cfg shift ref_step callback",
        pipeline.generate: "pipe prompt seed negative frames height width steps cfg guidance callback",
    }
    for function, wanted in contract.items():
        parameters = inspect.signature(function).parameters
        missing = [name for name in wanted.split() if name not in parameters]
        assert not missing, f"{function.__qualname__} lacks {missing}"
        assert not any(p.kind == p.VAR_KEYWORD for p in parameters.values()), function.__qualname__
        extra = [p for name, p in parameters.items() if name not in wanted.split()]
        assert all(p.default is not p.empty for p in extra), f"{function.__qualname__} demands more than the contract"
