"""A VAE that falls back to smaller pieces, and in the end to tiles, when memory runs out."""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import comfy.model_management as mm
import torch
from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.memory import VAESplit, describe_split, is_tiled, tile_overlap
from ...flashvideo_core.sizes import floor_frame_count
from ...flashvideo_core.types import DrawNoise, Frames, ProgressCallback
from ...flashvideo_core.vae_chunks import ChunkSize
from ...flashvideo_core.vae_passes import encode_frames, report_steps, to_finite_frames
from ...flashvideo_core.vae_stream import stream_decode
from .decoder import ONLY_DECODES
from .vae import FlashVideoDecoder, FlashVideoVAE

MIN_TILE = 16  # latent rows and columns
TILE_SIZES = {"large": (80, 80), "medium": (48, 48), "small": (32, 32)}  # latent (height, width)
TILINGS = ("auto", "off", *TILE_SIZES)
T = TypeVar("T")
MAX_MEMORY_SHARE = 0.8  # of the device's memory, that ComfyUI is asked to make free for one pass


class FallbackVAE:
    """What the core's hand-off and pipeline call a vae, on a FlashVideoVAE whose memory ComfyUI manages.

    tiling: how large the first pass is tried ("auto": what the plan says fits). Raises InputError for another VAE,
    whose temporal groups and tiles would not be ours, and for a small decoder where it also has to encode.
    """

    def __init__(self, vae: FlashVideoVAE, tiling: str = "auto", encodes: bool = False):
        if not isinstance(vae, FlashVideoVAE):
            raise InputError("this VAE was not loaded by FlashVideo Load VAE; use that node, it reads CogVideoX files")
        if encodes and isinstance(vae, FlashVideoDecoder):
            raise InputError(ONLY_DECODES)
        if tiling not in TILINGS:
            raise InputError(f"tiling is {tiling!r}; choose one of {', '.join(TILINGS)}")
        self.vae, self.tiling = vae, tiling

    def decode(self, z: Tensor, callback: ProgressCallback | None = None, phase: str = "decode") -> Tensor:
        """z [1, 16, T, h, w] -> frames [1, 3, 4T-3, 8h, 8w] in -1..1 on the CPU."""
        module = self.vae.first_stage_model

        def run_pass(split: VAESplit) -> Tensor:
            if is_tiled(split):
                return module.decode_tiled(z, split[1], split[0], tile_overlap(split), callback=callback, phase=phase)
            return module.decode(z, callback, phase, torch.empty(module.decode_output_shape(z.shape)), ChunkSize(split))

        clip = module.decode_output_shape(z.shape)[2:]
        return self.run_with_fallback("decode", clip, self.first_split("decode", clip), run_pass)

    def encode(
        self, frames: Tensor, draw_noise: DrawNoise | None = None, callback: ProgressCallback | None = None
    ) -> Tensor:
        """frames [1, 3, F, H, W] in -1..1 on the CPU -> z [1, 16, T, H/8, W/8]."""
        module = self.vae.first_stage_model

        def run_pass(split: VAESplit) -> Tensor:
            if is_tiled(split):
                tile_y, tile_x = 8 * split[0], 8 * split[1]
                return module.encode_tiled(frames, tile_x, tile_y, 8 * tile_overlap(split), callback=callback)
            return module.encode(frames, draw_noise, callback, chunk_size=ChunkSize(split))

        clip = tuple(frames.shape[2:])
        return self.run_with_fallback("encode", clip, self.first_split("encode", clip), run_pass)

    def encode_frames(self, frames: Frames, size: tuple[int, int], callback: ProgressCallback) -> Tensor:
        """frames [F, h, w, 3] in 0..1, of any number -> z [1, 16, T, H/8, W/8] of the first 4n+1, resized to size
        (H, W) some at a time."""

        def run_pass(split: VAESplit) -> Tensor:
            on_step = report_steps("handoff", callback)
            return encode_frames(self.vae.first_stage_model, frames, size, split, self.vae.device, on_step)

        clip = floor_frame_count(len(frames)), *size
        return self.run_with_fallback("encode", clip, self.first_split("encode", clip), run_pass)

    def stream_decode(self, z: Tensor, split: VAESplit, start: int, callback: ProgressCallback) -> Iterator[Tensor]:
        """The spans of z [1, 16, T, h, w] from number `start` on (vae_stream.py): frames [f, 8h, 8w, 3] in 0..1 on the
        CPU. Raises InputError for frames that are not finite."""
        vae, on_step = self.vae, report_steps("decode", callback)
        z = z if is_tiled(split) else z.to(vae.device)
        for span in stream_decode(vae.first_stage_model, z, split, vae.device, on_step, start):
            yield to_finite_frames(span, vae.vae_dtype)

    def run_with_fallback(
        self, kind: str, clip: tuple[int, int, int], first: VAESplit, run_pass: Callable[[VAESplit], T]
    ) -> T:
        """The result of the first split of the clip (frames, height, width), from `first` on to ever smaller ones,
        whose pass does not run out of memory."""
        for split in self._splits(clip, first):
            with mm.cuda_device_context(self.vae.device):
                result = run_unless_oom(run_pass, split)
            if result is not None:
                return result
            mm.soft_empty_cache()
            logging.warning(
                "FlashVideo: out of memory in VAE %s %s, trying smaller pieces", kind, describe_split(split)
            )
        raise RuntimeError(f"not enough memory for the VAE {kind} even {describe_split(split)}")

    def _splits(self, clip: tuple[int, int, int], split: VAESplit) -> Iterator[VAESplit]:
        """The split, then ever smaller ones."""
        yield split
        if split is None:
            yield clip[1] * clip[2]
        tile = split if is_tiled(split) else (clip[1] // 8, clip[2] // 8)
        while max(tile) > MIN_TILE:
            tile = tuple(max(min(MIN_TILE, side), side // 2) for side in tile)
            yield tile

    def first_split(self, kind: str, clip: tuple[int, int, int]) -> VAESplit:
        """The tiling that was chosen, or for "auto" what fits once ComfyUI has made room for the pass."""
        self.make_room(kind, clip)
        if self.tiling != "auto":
            return TILE_SIZES.get(self.tiling)
        free = self.vae.patcher.get_free_memory(self.vae.device)
        return self.vae.plan_split(kind, clip, free)

    def make_room(self, kind: str, clip: tuple[int, int, int]) -> None:
        """Has ComfyUI put the VAE on its device, with memory free for a pass, or as much as may be asked for."""
        vae, tile = self.vae, TILE_SIZES.get(self.tiling)
        pass_size = clip[1:] if tile is None else (8 * tile[0], 8 * tile[1])
        peak = vae.peak(kind, (clip[0], *pass_size), vae.vae_dtype)
        limit = int(MAX_MEMORY_SHARE * mm.get_total_memory(vae.device))
        mm.load_models_gpu([vae.patcher], memory_required=min(peak, limit))


def run_unless_oom(run_pass: Callable[[VAESplit], T], split: VAESplit) -> T | None:
    """run_pass(split), or None when memory ran out.

    The caller retries after the except block, whose exception would keep the failed pass's tensors alive.
    """
    try:
        return run_pass(split)
    except Exception as error:
        mm.raise_non_oom(error)
    return None
