"""How far the tiles of a decode show, against the decode of the whole picture.

    python benchmarks/seams.py [--clips 4]        # the embedded VAE on rendered clips
    python benchmarks/seams.py --size narrow      # random weights and latents

hard: the released two strips. tiles: ours where little memory is free, blended. chunks: ours where a frame fits,
feature maps of a frame at a time. averaged, whole: the same tiles with other statistics (tile_statistics.py).
seam_measures.py says what the figures are. Prints a Markdown table of means over the clips, and on the last line the
same as JSON.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.seam_measures import find_zones, measure_seams
from benchmarks.tile_statistics import average_statistics, decode_and_record, decode_with_statistics
from flashvideo_core.bench.networks import build_network
from flashvideo_core.bench.sizes import SIZES
from flashvideo_core.checkpoint import load_vae
from flashvideo_core.components import component_files
from flashvideo_core.config import VAEConfig
from flashvideo_core.markdown import format_table
from flashvideo_core.memory import USABLE_SHARE, plan_vae, tile_overlap, vae_peak
from flashvideo_core.tiling import decode_released_strips, map_tiles
from flashvideo_core.tiny.render import render
from flashvideo_core.tiny.scene import sample_scene
from flashvideo_core.vae_chunks import WHOLE, ChunkSize

WIDTH = 768  # three times the height, so that the released strips hold two thirds of the picture each
RANDOM_LATENT = (12, 36)  # height and width; random networks of released width are slow


@torch.no_grad()
def compare_seams(vae: nn.Module, z: Tensor) -> dict[str, dict[str, float]]:
    """Decodes z [1, 16, T, H, W] whole and in every way that takes less memory; figures by way.

    All but `chunks` see the first frame alone, whose maps are one chunk.
    """
    clip, z = z, z[:, :, :1]
    height, width = z.shape[-2:]
    tile = largest_tile(vae.config, (8 * height, 8 * width))
    overlap = tile_overlap(tile)
    rows, cols = find_zones(height, tile[0], overlap), find_zones(width, tile[1], overlap)
    whole, statistics = decode_and_record(vae, z)
    middle = 4 * (width // 2 * 2)  # where the released strips are cut, in pixels
    figures = {"hard": measure_seams(decode_released_strips(vae, z), whole, [], [(middle, middle)])}
    figures["tiles"] = measure_seams(map_tiles(vae.decode, z, tile, overlap, (8, 1)), whole, rows, cols)
    by_frame, by_group = (vae.decode(clip, chunk_size=ChunkSize(n, 0)) for n in (64 * height * width, WHOLE))
    figures["chunks"] = measure_seams(by_frame, by_group, rows, cols)
    for name, known in {"averaged": average_statistics(vae, z, tile, overlap), "whole": statistics}.items():
        frames = map_tiles(decode_with_statistics(vae, known), z, tile, overlap, (8, 1))
        figures[name] = measure_seams(frames, whole, rows, cols)
    return figures


def largest_tile(config: VAEConfig, size: tuple[int, int]) -> tuple[int, int]:
    """The plan's tile (height, width) of a decode for which chunks of a frame are just too large."""
    work = (config, "decode", (1, *size), torch.float32, torch.device("cpu"))
    return plan_vae(*work, int(0.99 * vae_peak(*work, size[0] * size[1]) / USABLE_SHARE)).split


def render_latents(vae: nn.Module, clips: int) -> list[Tensor]:
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
        latents = render_latents(vae, args.clips)
    by_clip = [compare_seams(vae, z) for z in latents]
    means = {
        way: {name: sum(clip[way][name] for clip in by_clip) / len(by_clip) for name in figures}
        for way, figures in by_clip[0].items()
    }
    rows = [[way, *(f"{value:.3f}" for value in figures.values())] for way, figures in means.items()]
    print(format_table(["", *means["tiles"]], rows))
    print(json.dumps({"size": args.size or "embedded", "clips": len(by_clip), "figures": means}))


if __name__ == "__main__":
    main()
