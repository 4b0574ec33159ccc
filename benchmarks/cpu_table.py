"""The tables of ratios in docs/benchmarks.md: VAE decode and encode and the transformer beside diffusers and ComfyUI.

    OMP_NUM_THREADS=2 python benchmarks/cpu_table.py [--sizes small medium] [--rounds 2] [--log bench.jsonl]

On two quiet cores about 40 minutes, most of it the medium decode (about 20) and encode (about 12). Each result is
appended to the log as a line of JSON when it is there; ratios are ours / theirs, medians over the rounds.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.bench.measure import BenchResult, bench
from flashvideo_core.bench.process import BenchJob
from flashvideo_core.bench.sizes import SIZES
from flashvideo_core.markdown import format_table

PEERS = ("diffusers", "comfyui")
HEAD = ["time / diffusers", "time / ComfyUI", "memory / diffusers", "memory / ComfyUI"]
HEAD += ["of the matmul rate", "peak, MB", "plan", "outputs differ by"]


def format_row(result: BenchResult) -> list[str]:
    ours, peers = result["ours"], [result[name] for name in PEERS]
    ratios = [f"{peer[name]:.2f}" for name in ("time_ratio", "peak_ratio") for peer in peers]
    differ = ", ".join(f"{peer['error']:.1e}" for peer in peers)
    rate, plan = f"{result['share_of_matmul']:.0%}", f"{result['plan_error']:+.0%}"
    return [f"{result['part']} {result['size']}", *ratios, rate, f"{ours['peak'] / 1e6:.0f}", plan, differ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "medium"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--log", type=Path, default=Path("bench.jsonl"))
    args = parser.parse_args()
    rows = []
    for size in args.sizes:
        for workload in ("dit", "vae-encode", "vae-decode"):
            result = bench(BenchJob(workload, size), PEERS, args.rounds)
            with args.log.open("a") as log:
                log.write(json.dumps(result) + "\n")
            rows.append(format_row(result))
    print(format_table(["", *HEAD], rows))


if __name__ == "__main__":
    main()
