"""Starts another implementation of the same networks, given our weights, as a worker of `bench --peer`.

    python benchmarks/peers.py WORKLOAD SIZE LATENT IMPLEMENTATION DEVICE DTYPE

The arguments are those of flashvideo_core/bench/worker.py. IMPLEMENTATION is diffusers or comfyui, which runs in
ComfyUI's own Python where there is one.
"""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.comfyui import comfyui_path, comfyui_python


def check_installed(implementation: str) -> None:
    """Ends the process with one line where the implementation is not there."""
    if implementation == "diffusers" and importlib.util.find_spec("diffusers") is None:
        sys.exit("the peer diffusers is not installed: pip install diffusers")
    if implementation == "comfyui" and not (comfyui_path() / "comfy").is_dir():
        sys.exit(f"the peer comfyui is not in {comfyui_path()}; set COMFYUI_PATH")


def main() -> None:
    implementation, python = sys.argv[4], comfyui_python().absolute()
    check_installed(implementation)
    if implementation == "comfyui" and python.is_file() and python != Path(sys.executable).absolute():
        os.execv(python, [str(python), *sys.argv])
    from benchmarks.peer_networks import peer_forward
    from flashvideo_core.bench.worker import main as serve

    serve(peer_forward)


if __name__ == "__main__":
    main()
