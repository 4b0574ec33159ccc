"""Decode and encode of our nodes: as whole as fits, cut smaller when an allocation fails."""

import logging
from collections.abc import Callable, Iterator

import comfy.model_management as mm
import torch
from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.memory import Cut, describe_split, is_tiled, plan_vae_split, tile_overlap
from .vae import FlashVideoVAE

SMALLEST = 16  # latent rows and columns
TILES = {"large": (80, 80), "medium": (48, 48), "small": (32, 32)}
TILINGS = ("auto", "off", *TILES)


class FittingVAE:
    """What the core's hand-off and pipeline call a vae, on a FlashVideoVAE whose memory ComfyUI manages.

    Raises ValueError for another VAE, whose temporal groups and tiles would not be ours.
    """

    def __init__(self, vae, tiling: str = "auto"):
        if not isinstance(vae, FlashVideoVAE):
            raise InputError("this VAE was not loaded by FlashVideo Load VAE; use that node, it reads CogVideoX files")
        if tiling not in TILINGS:
            raise InputError(f"tiling is {tiling!r}; choose one of {', '.join(TILINGS)}")
        self.vae, self.tiling = vae, tiling

    def decode(self, z: Tensor, callback: Callable | None = None, phase: str = "decode") -> Tensor:
        """z [1, 16, T, h, w] -> frames [1, 3, 4T-3, 8h, 8w] in -1..1 on the CPU."""
        module = self.vae.first_stage_model

        def run(cut: Cut) -> Tensor:
            if is_tiled(cut):
                return module.decode_tiled(z, cut[1], cut[0], tile_overlap(cut), callback=callback, phase=phase)
            return module.decode(z, callback, phase, torch.empty(module.decode_output_shape(z.shape)), cut)

        return self._step_down("decode", module.decode_output_shape(z.shape)[2:], run)

    def encode(self, frames: Tensor, draw_noise=None, callback: Callable | None = None) -> Tensor:
        """frames [1, 3, F, H, W] in -1..1 on the CPU -> z [1, 16, T, H/8, W/8]."""
        module = self.vae.first_stage_model

        def run(cut: Cut) -> Tensor:
            if is_tiled(cut):
                return module.encode_tiled(frames, 8 * cut[1], 8 * cut[0], 8 * tile_overlap(cut), callback=callback)
            return module.encode(frames, draw_noise, callback, pixels=cut)

        return self._step_down("encode", tuple(frames.shape[2:]), run)

    def _step_down(self, kind: str, clip: tuple[int, int, int], run: Callable[[Cut], Tensor]) -> Tensor:
        for cut in self._cuts(kind, clip):
            with mm.cuda_device_context(self.vae.device):
                result = attempt(run, cut)
            if result is not None:
                return result
            mm.soft_empty_cache()
            logging.warning("FlashVideo: out of memory in VAE %s %s, trying smaller pieces", kind, describe_split(cut))
        raise RuntimeError(f"not enough memory for the VAE {kind} even {describe_split(cut)}")

    def _cuts(self, kind: str, clip: tuple[int, int, int]) -> Iterator[Cut]:
        """The first cut to try, then ever smaller ones."""
        vae, cut = self.vae, TILES.get(self.tiling)
        asked = clip[1:] if cut is None else (8 * cut[0], 8 * cut[1])
        peak = min(vae.peak(kind, (clip[0], *asked), vae.vae_dtype), int(0.8 * mm.get_total_memory(vae.device)))
        mm.load_models_gpu([vae.patcher], memory_required=peak)
        if self.tiling == "auto":
            free = vae.patcher.get_free_memory(vae.device)
            cut = plan_vae_split(vae.first_stage_model.config, kind, clip, vae.vae_dtype, vae.device, free)
        yield cut
        if cut is None:
            yield clip[1] * clip[2]
        tile = cut if is_tiled(cut) else (clip[1] // 8, clip[2] // 8)
        while max(tile) > SMALLEST:
            tile = tuple(max(min(SMALLEST, side), side // 2) for side in tile)
            yield tile


def attempt(run: Callable[[Cut], Tensor], cut: Cut) -> Tensor | None:
    """run(cut), or None when memory ran out. The caller retries outside the except block, whose exception
    would keep the failed pass's tensors alive."""
    try:
        return run(cut)
    except Exception as error:
        mm.raise_non_oom(error)
    return None
