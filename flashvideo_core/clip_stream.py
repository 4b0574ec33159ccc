"""A refined clip of any length, decoded span by span: neither its frames nor its draft's are ever whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .components import Pipeline
from .faithful import CHUNK, AddedColor, match_chunks
from .memory.exhausted import name_phase
from .phases import Draft
from .plans import RefinePlan
from .settings import RefineSettings
from .sizes import frame_range
from .types import ProgressCallback
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
) -> Iterator[Span]:
    """What `decode_clip` makes, span by span (vae_stream.decode_spans) from number `start` on, where the frames before
    had `added`. The draft's frames are read as they are needed."""
    spans = [(groups[0][0], groups[-1][1]) for groups in decode_spans(latent.shape[2], plan.decode)[start:]]
    drafts = read_ranges(d.frames, (frame_range(first, stop) for first, stop in spans))
    with name_phase("decode"):
        decoded = stream_frames(pipe, latent, "decode", callback, plan.decode, start)
        for frames, draft in zip(decoded, drafts, strict=True):
            pairs = zip(frames.split(CHUNK), draft.split(CHUNK), strict=True)
            matched, drift = zip(*match_chunks(pairs, settings.match, added), strict=True)
            frames = frames if settings.match == "none" else torch.cat(matched)
            yield Span(crop_to_1080(frames), draft, torch.cat(drift))
