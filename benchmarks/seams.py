"""How far the tiles of a decode show, against the decode of the whole picture.

    python benchmarks/seams.py [--clips 4]         # the embedded VAE on rendered clips
    python benchmarks/seams.py --size narrow      # random weights and latents

hard: the released two strips; tiles: ours; parts: ours where a frame fits; twice, shared: tiles with other statistics
(flashvideo_core/bench/seams.py says what, and what the figures are). Prints a Markdown table of means over the clips,
and on the last line the same as JSON.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.bench.seams import seams
from flashvideo_core.bench.sizes import SIZES, build_network
from flashvideo_core.checkpoint import load_vae
from flashvideo_core.components import component_files
from flashvideo_core.markdown import format_table
from flashvideo_core.tiny.render import render
from flashvideo_core.tiny.scene import sample_scene

WIDTH = 768  # three times the height, so that the released strips hold two thirds of the picture each
RANDOM_LATENT = (12, 36)  # height and width; random networks of released width are slow


def rendered_latents(vae: nn.Module, clips: int) -> list[Tensor]:
    scenes = (sample_scene(np.random.default_rng(seed), background_texture="noisy") for seed in range(clips))
    return [vae.encode(render(scene, width=WIDTH, frames=9)[None]) for scene in scenes]


def random_latents(clips: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 16, 3, *RANDOM_LATENT, generator=generator) for _ in range(clips)]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, help="random weights of this size in place of the embedded VAE")
    parser.add_argument("--clips", type=int, default=4)
    args = parser.parse_args()
    if args.size:
        vae, latents = build_network("vae-decode", SIZES[args.size]), random_latents(args.clips)
    else:
        vae = load_vae(component_files()["vae"])
        latents = rendered_latents(vae, args.clips)
    found = [seams(vae, z) for z in latents]
    means = {
        way: {name: sum(f[way][name] for f in found) / len(found) for name in figures}
        for way, figures in found[0].items()
    }
    rows = [[way, *(f"{value:.3f}" for value in figures.values())] for way, figures in means.items()]
    print(format_table(["", *means["tiles"]], rows))
    print(json.dumps({"size": args.size or "embedded", "clips": len(found), "figures": means}))


if __name__ == "__main__":
    main()
