"""How near a small decoder comes to the VAE's own, and what it saves, on scenes that training never held."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from torch import Tensor

from ..markdown import format_table
from ..small_decoder import SmallDecoder
from ..training.device import get_device
from ..types import Clock, ProgressCallback
from ..vae import VAE
from ..vae_passes import to_image_range, to_model_range
from .clips import DRAFT_SIZE, FULL_SIZE
from .held_out import sample_held_out
from .quality import compute_psnr, measure_sharpness
from .scores import average_scores, render_frames

SEED = 3
SIZES = {"draft": DRAFT_SIZE, "refined clip": FULL_SIZE}
FRAMES = 9  # of a clip, as where refined clips are measured


class Decoder(Protocol):
    """The VAE or a small decoder."""

    def decode(self, z: Tensor) -> Tensor:
        """z [1, 16, T, h, w] -> frames [1, 3, 4T-3, 8h, 8w] in -1..1."""


class DecoderScores(TypedDict):
    """Means over clips: PSNR in dB, sharpness as quality.measure_sharpness, seconds of processor time a clip."""

    clips: str
    size: tuple[int, int]
    psnr: float  # small against whole
    psnr_whole: float  # whole against the original
    psnr_small: float
    edges_whole: float
    edges_small: float
    seconds_whole: float
    seconds_small: float


@dataclass(frozen=True)
class Shown:
    """One clip [F, H, W, 3] in 0..1 as it was drawn, and as both decoders show it."""

    original: Tensor
    whole: Tensor
    small: Tensor
    seconds_whole: float
    seconds_small: float


def measure_decoder(
    vae: VAE, decoder: SmallDecoder, count: int, callback: ProgressCallback | None = None
) -> tuple[list[DecoderScores], list[Shown]]:
    """A row for each size of clip, and the drafts themselves to be looked at. callback: phase "decoded clips"."""
    rows, drafts, scenes = [], [], [held.scene for held in sample_held_out(count, SEED)]
    for number, (name, size) in enumerate(SIZES.items()):
        shown = []
        for i, scene in enumerate(scenes):
            shown.append(show_clip(vae, decoder, render_frames(scene, size, FRAMES)))
            if callback is not None:
                callback("decoded clips", number * count + i + 1, len(SIZES) * count, None)
        rows.append({"clips": name, "size": size, **average_scores([score_clip(clip) for clip in shown])})
        drafts = drafts or shown
    return rows, drafts


@torch.no_grad()
def show_clip(vae: VAE, decoder: SmallDecoder, original: Tensor) -> Shown:
    z = vae.encode(to_model_range(original).to(get_device(vae)))
    whole, seconds_whole = time_decode(vae, z)
    small, seconds_small = time_decode(decoder, z)
    return Shown(original, whole, small, seconds_whole, seconds_small)


def time_decode(decoder: Decoder, z: Tensor, clock: Clock = time.process_time) -> tuple[Tensor, float]:
    """The frames [F, H, W, 3] in 0..1, and the seconds that they took: by default the processor's, which other programs
    do not change."""
    begin = clock()
    frames = to_image_range(decoder.decode(z))
    return frames, clock() - begin


def score_clip(shown: Shown) -> dict[str, float]:
    return {
        "psnr": compute_psnr(shown.small, shown.whole),
        "psnr_whole": compute_psnr(shown.whole, shown.original),
        "psnr_small": compute_psnr(shown.small, shown.original),
        "edges_whole": measure_sharpness(shown.whole),
        "edges_small": measure_sharpness(shown.small),
        "seconds_whole": shown.seconds_whole,
        "seconds_small": shown.seconds_small,
    }


def format_decoder(rows: Sequence[DecoderScores]) -> str:
    """The table of both decoders side by side."""
    head = ["", "small against whole, dB", "against the original, dB: whole", "small"]
    head += ["edge sharpness: whole", "small", "seconds a clip: whole", "small", "times quicker"]
    cells = [
        [
            f"{row['clips']} {row['size'][0]}x{row['size'][1]}",
            *(f"{row[name]:.1f}" for name in ("psnr", "psnr_whole", "psnr_small")),
            *(f"{row[name]:.3f}" for name in ("edges_whole", "edges_small")),
            *(f"{row[name]:.2f}" for name in ("seconds_whole", "seconds_small")),
            f"{row['seconds_whole'] / row['seconds_small']:.0f}",
        ]
        for row in rows
    ]
    return format_table(head, cells)
