"""A refined clip of any length, decoded span by span: neither its frames nor its draft's are ever whole."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .components import Pipeline
from .faithful import CHUNK, AddedColor, match_chunks
from .memory import VAESplit
from .memory.exhausted import name_phase
from .phases import Draft
from .plans import RefinePlan
from .settings import RefineSettings
from .sizes import frame_range
from .types import Frames, ProgressCallback
from .vae_passes import crop_to_1080, read_ranges, stream_frames
from .vae_stream import decode_spans


@dataclass(frozen=True)
class Span:
    """Some frames of a refined clip [f, H, W, 3], those of its draft, and their drift [f, 2] (faithful.py)."""

    frames: Tensor
    draft: Tensor
    drift: Tensor


def stream_clip(
    pipe: Pipeline,
    d: Draft,
    latent: Tensor,
    settings: RefineSettings,
    plan: RefinePlan,
    *,
    start: int = 0,
    added: AddedColor | None = None,
    callback: ProgressCallback | None = None,
) -> Generator[Span, None, None]:
    """What `decode_clip` makes, span by span (vae_stream.decode_spans) from number `start` on, where the frames before
    had `added`. The draft's frames are read as they are needed."""
    with name_phase("decode"):
        decoded = stream_frames(pipe, latent, "decode", callback, plan.decode, start)
        yield from match_spans(decoded, d.frames, latent.shape[2], plan.decode, settings.match, start, added)


def match_spans(
    decoded: Iterator[Tensor],
    draft: Frames,
    t: int,
    split: VAESplit,
    match: str,
    start: int = 0,
    added: AddedColor | None = None,
) -> Generator[Span, None, None]:
    """Spans of refined frames [f, H, W, 3] in 0..1, decoded from number `start` on of t latent frames, with what they
    are to take from the draft's frames (`match`, faithful.py), at 1080 rows where they are 1088."""
    ranges = (frame_range(groups[0][0], groups[-1][1]) for groups in decode_spans(t, split)[start:])
    for frames, own in zip(decoded, read_ranges(draft, ranges), strict=True):
        pairs = zip(frames.split(CHUNK), own.split(CHUNK), strict=True)
        matched, drift = zip(*match_chunks(pairs, match, added), strict=True)
        frames = frames if match == "none" else torch.cat(matched)
        yield Span(crop_to_1080(frames), own, torch.cat(drift))
