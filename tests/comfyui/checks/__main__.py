"""Checks of the bridge inside a process that has ComfyUI: run by test_comfy_bridge.py with ComfyUI's Python.

    python tests/comfyui/checks RESULTS.json [name ...]

Every function check_* of the files here is one check, and so is every entry of a table CASES. The results file gets
{"name": null or the traceback}.
"""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[0] = os.environ["COMFYUI_PATH"]  # not this folder, whose names are for its package alone
sys.path.append(str(FOLDER.parent))
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
ARGUMENTS, sys.argv = sys.argv[1:], ["main.py", "--cpu", "--use-pytorch-cross-attention"]

import comfy.model_management as mm  # noqa: E402
import torch  # noqa: E402
from checks.setting import Skipped, load_pack  # noqa: E402


def find_checks() -> dict[str, Callable[[], None]]:
    found = {}
    for path in sorted(FOLDER.glob("[a-z]*.py")):
        module = importlib.import_module(f"checks.{path.stem}")
        found |= {name: value for name, value in vars(module).items() if name.startswith("check_")}
        found |= getattr(module, "CASES", {})
    return found


def main(results: str, names: list[str]) -> None:
    torch.set_num_threads(2)
    load_pack()
    found, out = find_checks(), {}
    for name in names or found:
        torch.manual_seed(0)
        try:
            with torch.inference_mode():
                found[name]()
            out[name] = None
        except Skipped as reason:
            out[name] = f"SKIP {reason}"
        except Exception:
            out[name] = traceback.format_exc()
        mm.unload_all_models()
        mm.interrupt_current_processing(False)
    Path(results).write_text(json.dumps(out))


if __name__ == "__main__":
    main(ARGUMENTS[0], ARGUMENTS[1:])
