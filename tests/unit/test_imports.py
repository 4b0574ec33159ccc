"""The structure that design.md asks for, read from the source: who imports whom, and what nobody does."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "flashvideo_core"

# Arrows point down only; within a layer they are allowed where they make no circle. training/* is in the middle
# but for what runs the whole path. A new file gets its place here.
LAYERS = [
    "config errors types attention schedule sizes meta_trace vae_upsample weights.*",
    "dit vae vae_layers kernels text sampling guidance tiling media.*",
    "handoff checkpoint memory components settings",
    "pipeline convert training.* bench.*",
    "tiny.*",
    "__main__ cli.*",
]
THIRD_PARTY = {"torch", "safetensors", "einops", "numpy"}
WITH_PYAV = {"media.video", "media.audio", "media.color"}  # may import av at the top; others do it inside a function
LAZY = {"av", "transformers", "sageattention", "aiohttp", "matplotlib", "PIL", "scipy", "tqdm"}
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "server", "execution", "nodes"}


def modules(folder: Path) -> dict[str, ast.Module]:
    """Dotted name below the folder -> parsed file. A package has the name of its folder."""
    out = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(), str(path))
    return out


CORE_MODULES = modules(CORE)
NODE_MODULES = modules(ROOT / "nodes")


def imports(tree: ast.AST) -> list[tuple[int, str, ast.stmt]]:
    """(level, dotted target, statement); "from a import b" gives both a and a.b."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [node.module] if node.module else []
            found += [(node.level, ".".join([*base, alias.name]), node) for alias in node.names]
            found += [(node.level, node.module, node)] if node.module else []
    return found


def inner(name: str, is_package: bool, tree: ast.AST, known: dict) -> set[str]:
    """The modules of the same tree that a module imports, by dotted name; "^..." for what is above the tree."""
    here = name.split(".") if name else []
    out = set()
    for level, target, _ in imports(tree):
        if level:
            drop = level - is_package
            base = here[: len(here) - drop] if drop <= len(here) else ["^" * (drop - len(here))]
            full = ".".join([*base, target])
            if full in known or full.startswith("^"):
                out.add(full)
    return out - {name, ""}


def is_package(folder: Path, name: str) -> bool:
    return (folder / name.replace(".", "/")).is_dir()


CORE_IMPORTS = {name: inner(name, is_package(CORE, name), tree, CORE_MODULES) for name, tree in CORE_MODULES.items()}
FILES = [name for name in CORE_MODULES if name and not is_package(CORE, name)]


def layer(name: str) -> int:
    """The number of a module's layer, the highest that names it; packages have none."""
    places = []
    for number, names in enumerate(LAYERS):
        for pattern in names.split():
            if pattern == name or (pattern.endswith("*") and name.startswith(pattern[:-1])):
                places.append((len(pattern), number))
    assert places, f"flashvideo_core/{name.replace('.', '/')}.py has no layer: give it one in tests/test_imports.py"
    return max(places)[1]


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down_only(name):
    own = layer(name)
    for target in CORE_IMPORTS[name]:
        if not is_package(CORE, target):
            assert layer(target) <= own, f"{name} imports {target}, which is above it"


def test_no_circles():
    done = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for target in CORE_IMPORTS.get(name, ()):
                visit(target, (*path, name))
            done.add(name)

    for name in CORE_IMPORTS:
        visit(name, ())


@pytest.mark.parametrize("name", CORE_MODULES)
def test_the_core_imports_only_itself_relatively_and_few_packages(name):
    tree = CORE_MODULES[name]
    at_top = set(map(id, tree.body))
    for level, target, statement in imports(tree):
        package = target.split(".")[0]
        if level or package in sys.stdlib_module_names:
            continue
        allowed = THIRD_PARTY | ({"av"} if name in WITH_PYAV else set())
        if id(statement) not in at_top:
            allowed = allowed | LAZY
        assert package in allowed, f"flashvideo_core.{name} line {statement.lineno} imports {target}"
    assert not any(target.startswith("^") for target in CORE_IMPORTS[name]), "reaches above the package"


@pytest.mark.parametrize("name", CORE_MODULES)
def test_the_core_neither_prints_nor_keeps_globals(name):
    for node in ast.walk(CORE_MODULES[name]):
        assert not isinstance(node, ast.Global), f"line {node.lineno}: global"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}: print"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "basicConfig", f"line {node.lineno}: logging is configured"


@pytest.mark.parametrize("name", NODE_MODULES)
def test_only_the_bridge_imports_comfy(name):
    tree = NODE_MODULES[name]
    for level, target, statement in imports(tree):
        package = target.split(".")[0]
        if not level:
            assert package not in {"flashvideo_core", "nodes"}, f"line {statement.lineno}: {target}, not relative"
            if name != "bridge" and not name.startswith("bridge."):
                assert package != "comfy", f"nodes.{name} line {statement.lineno} imports {target}"


def test_the_bridge_knows_no_node():
    known = NODE_MODULES
    for name, tree in known.items():
        if name == "bridge" or name.startswith("bridge."):
            for target in inner(name, is_package(ROOT / "nodes", name), tree, known):
                assert target.startswith(("bridge", "^.flashvideo_core")), f"nodes.{name} imports {target}"


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


def test_the_core_imports_with_comfyui_and_optional_packages_absent():
    blocked = COMFYUI | LAZY - {"av"} | {"diffusers", "pytest"}
    command = [sys.executable, "-W", "error::SyntaxWarning", "-c", ABSENT.replace("{blocked}", repr(blocked))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_the_public_api_is_the_contract():
    """The names and parameters that programs outside this repository call (design.md)."""
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
