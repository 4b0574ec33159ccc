"""ComfyUI's Context Windows (Manual) on our MODEL of the embedded stage 2, in a process with ComfyUI's Python.

As a script (`context_windows.py IN.safetensors OUT.safetensors LENGTH OVERLAP NOISE_STEP SEED`) it refines z_ref with
the text txt, as FlashVideo Stage 2 does with a MODEL that went through that node: its defaults but for length, overlap
and dim 2.
"""

from __future__ import annotations  # ComfyUI's process does not import the package by its name

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

if TYPE_CHECKING:
    from flashvideo_core.settings import RefineSettings

PACK = Path(__file__).resolve().parents[1]


def refine_in_comfyui(cases: list[tuple[Tensor, Tensor]], settings: RefineSettings) -> list[Tensor]:
    """Reference latents [1, 16, T, H, W] refined there with their texts; of the settings what the node can know."""
    from benchmarks.comfyui import comfyui_path, comfyui_python

    inputs = {
        f"{name}{i}": x.contiguous() for i, case in enumerate(cases) for name, x in zip(("z", "txt"), case, strict=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        source, target = (str(Path(folder) / f"{name}.safetensors") for name in ("in", "out"))
        save_file(inputs, source)
        numbers = settings.time_window, settings.time_overlap, settings.ref_step, settings.seed
        command = [comfyui_python(), __file__, source, target, *map(str, numbers)]
        subprocess.run(command, check=True, env=os.environ | {"COMFYUI_PATH": str(comfyui_path())}, capture_output=True)
        out = load_file(target)
    return [out[f"z{i}"] for i in range(len(cases))]


def main(source: str, target: str, length: int, overlap: int, noise_step: int, seed: int) -> None:
    sys.path[0] = os.environ["COMFYUI_PATH"]
    import comfy.options

    comfy.options.enable_args_parsing()
    sys.argv = ["main.py", "--cpu", "--use-pytorch-cross-attention"]
    import comfy_extras.nodes_context_windows as context

    spec = importlib.util.spec_from_file_location("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    sys.modules["pack"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["pack"])
    models, runs = (importlib.import_module(f"pack.nodes.bridge.{name}") for name in ("models", "runs"))
    settings, components = (importlib.import_module(f"pack.flashvideo_core.{n}") for n in ("settings", "components"))
    model = models.load_model(components.component_files()["stage2"], {"dtype": torch.float32})
    defaults = model.model.diffusion_model.config.defaults
    numbers = settings.RefineSettings.from_defaults(defaults, ref_step=noise_step, seed=seed)
    options = {"context_schedule": "standard_static", "context_stride": 1, "closed_loop": False, "dim": 2}
    options |= {"fuse_method": "pyramid", "freenoise": False}
    model = context.ContextWindowsManualNode.execute(model, length, overlap, **options)[0]
    inputs, out = load_file(source), {}
    with torch.inference_mode():
        for i in range(len(inputs) // 2):
            text = [[inputs[f"txt{i}"], {}]]
            out[f"z{i}"] = runs.refine_latents(model, text, None, inputs[f"z{i}"], numbers).float().contiguous()
    save_file(out, target)


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
