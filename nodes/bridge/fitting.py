"""Decode and encode of our nodes: in the largest tiles that fit, smaller ones when an allocation fails."""

import logging
from collections.abc import Callable, Iterator

import comfy.model_management as mm
import torch
from torch import Tensor

from ...flashvideo_core.memory import plan_tiles, tile_overlap
from .vae import FlashVideoVAE

Tile = tuple[int, int]  # height, width in latent pixels
TILES = {"large": (80, 80), "medium": (48, 48), "small": (32, 32)}
SMALLEST = 16
TILINGS = ("auto", "off", *TILES)


class FittingVAE:
    """What the core's hand-off and pipeline call a vae, on a FlashVideoVAE whose memory ComfyUI manages.

    Raises ValueError for another VAE, whose temporal groups and tiles would not be ours.
    """

    def __init__(self, vae, tiling: str = "auto"):
        if not isinstance(vae, FlashVideoVAE):
            raise ValueError("this VAE was not loaded by FlashVideo Load VAE; use that node, it reads CogVideoX files")
        if tiling not in TILINGS:
            raise ValueError(f"tiling is {tiling!r}; choose one of {', '.join(TILINGS)}")
        self.vae, self.tiling = vae, tiling

    def decode(self, z: Tensor, callback: Callable | None = None, phase: str = "decode") -> Tensor:
        """z [1, 16, T, h, w] -> frames [1, 3, 4T-3, 8h, 8w] in -1..1 on the CPU."""
        module = self.vae.first_stage_model

        def run(tile: Tile | None) -> Tensor:
            if tile is None:
                return module.decode(z, callback, phase, torch.empty(module.decode_output_shape(z.shape)))
            return module.decode_tiled(z, tile[1], tile[0], tile_overlap(tile), callback=callback, phase=phase)

        return self._step_down("decode", (8 * z.shape[3], 8 * z.shape[4]), run)

    def encode(self, frames: Tensor, draw_noise=None, callback: Callable | None = None) -> Tensor:
        """frames [1, 3, F, H, W] in -1..1 on the CPU -> z [1, 16, T, H/8, W/8]."""
        module = self.vae.first_stage_model

        def run(tile: Tile | None) -> Tensor:
            if tile is None:
                return module.encode(frames, draw_noise, callback)
            return module.encode_tiled(frames, 8 * tile[1], 8 * tile[0], 8 * tile_overlap(tile), callback=callback)

        return self._step_down("encode", tuple(frames.shape[3:]), run)

    def _step_down(self, kind: str, size: tuple[int, int], run: Callable[[Tile | None], Tensor]) -> Tensor:
        for tile in self._tiles(kind, size):
            with mm.cuda_device_context(self.vae.device):
                result = attempt(run, tile)
            if result is not None:
                return result
            mm.soft_empty_cache()
            logging.warning("FlashVideo: out of memory in VAE %s with %s, trying smaller tiles", kind, name(tile))
        raise RuntimeError(f"not enough memory for the VAE {kind} even in tiles of {8 * SMALLEST} pixels")

    def _tiles(self, kind: str, size: tuple[int, int]) -> Iterator[Tile | None]:
        """The first tile to try (None: the whole picture), then ever smaller ones."""
        vae, tile = self.vae, TILES.get(self.tiling)
        asked = size if tile is None else (8 * tile[0], 8 * tile[1])
        peak = min(vae.peak(kind, 1, *asked, vae.vae_dtype), int(0.8 * mm.get_total_memory(vae.device)))
        mm.load_models_gpu([vae.patcher], memory_required=peak)
        if self.tiling == "auto":
            free, itemsize = vae.patcher.get_free_memory(vae.device), mm.dtype_size(vae.vae_dtype)
            tile = plan_tiles(vae.first_stage_model.config, kind, size, itemsize, free).tile
        yield tile
        tile = tile or (size[0] // 8, size[1] // 8)
        while max(tile) > SMALLEST:
            tile = tuple(max(min(SMALLEST, side), side // 2) for side in tile)
            yield tile


def attempt(run: Callable[[Tile | None], Tensor], tile: Tile | None) -> Tensor | None:
    """run(tile), or None when memory ran out. The caller retries outside the except block, whose exception
    would keep the failed pass's tensors alive."""
    try:
        return run(tile)
    except Exception as error:
        mm.raise_non_oom(error)
    return None


def name(tile: Tile | None) -> str:
    return "the whole picture" if tile is None else f"tiles of {8 * tile[1]}x{8 * tile[0]} pixels"
