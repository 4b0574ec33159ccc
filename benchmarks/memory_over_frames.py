"""Peak memory of `refine VIDEO` over the number of frames, of this checkout and of others.

    python benchmarks/memory_over_frames.py --frames 49 481 1921 --checkout now=. --checkout before=OTHER \\
        --out memory.json --plot memory.png

Each run is a process of its own with the embedded model and one evaluation of stage 2, over windows of time where the
checkout has them; its peak is what the kernel counted (ru_maxrss). A run that a checkout refuses (too many frames) is
left out. Runs that are in --out already are not made again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from flashvideo_core.media.video_writer import write_video

MIB = 2**20


def write_source(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A ball's worth of motion over a gradient, at 24 fps."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    shades = (torch.stack([(x + i / 96) % 1, y, 1 - x], -1)[None] for i in range(frames))
    write_video(path, shades, 24)


def run(checkout: Path, source: Path, frames: int, size: tuple[int, int], folder: Path) -> int | None:
    """Peak bytes of a refine; None where it ends with an error or takes fewer frames."""
    options = f"--prompt ball --size {size[0]}x{size[1]} --refine-steps 1 --device cpu --frames {frames}".split()
    if (checkout / "flashvideo_core/latent_windows.py").exists():
        options += ["--windows", "time"]
    command = [sys.executable, "-m", "flashvideo_core", "refine", str(source), *options, "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=folder.parent)
    _, status, usage = os.wait4(process.pid, 0)
    return None if status else usage.ru_maxrss * 1024


def plot(results: dict[str, dict[str, int]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), dpi=110)
    for name, peaks in results.items():
        points = sorted((int(frames), peak / MIB) for frames, peak in peaks.items() if peak)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xlabel="frames", ylabel="peak of the process, MiB", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[49, 481, 1921])
    parser.add_argument("--source-size", type=int, nargs=2, default=[128, 192], help="of the video, height and width")
    parser.add_argument("--size", type=int, nargs=2, default=[32, 48], help="of the refined clip")
    parser.add_argument("--checkout", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    results = json.loads(args.out.read_text()) if args.out.exists() else {}
    with tempfile.TemporaryDirectory() as base:
        for frames in args.frames:
            source = Path(base) / f"{frames}.mp4"
            for name, folder in (text.split("=", 1) for text in args.checkout):
                if str(frames) in results.setdefault(name, {}):
                    continue
                if not source.exists():
                    write_source(source, frames, tuple(args.source_size))
                results[name][str(frames)] = run(
                    Path(folder), source, frames, tuple(args.size), Path(base) / f"{name}-{frames}"
                )
                args.out.write_text(json.dumps(results, indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
