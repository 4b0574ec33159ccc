"""Frames <-> latents with a pipeline's VAE, whole or split as memory asks (memory/)."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from .components import Pipeline, require_component
from .device import on_device
from .handoff import resize_frames
from .mapped import allocate
from .memory import VAESplit, free_memory, is_tiled, plan_vae_split
from .plans import DraftPlan
from .sampling import check_finite
from .sizes import clip_size, floor_frame_count, floor_size, latent_size
from .types import Frames, OnTile, ProgressCallback
from .vae import VAE
from .vae_stream import encode_spans, stream_decode, stream_encode, stream_small_decode


def plan_split(pipe: Pipeline, kind: str, clip: tuple[int, int, int]) -> VAESplit:
    """How a pass ("decode" or "encode") over a clip of (frames, height, width) is split with the memory now free."""
    config = require_component(pipe, "vae").config
    return plan_vae_split(config, kind, clip, pipe.dtype, pipe.device, free_memory(pipe.device))


def decode(
    pipe: Pipeline, z: Tensor, phase: str, callback: ProgressCallback | None = None, split: VAESplit = None
) -> Tensor:
    """Latent [1, 16, T, h, w] in VAE units -> frames [F, H, W, 3] in 0..1 on the CPU.

    A small decoder, where the pipeline has one, takes the VAE's place. phase names the pass in the callback:
    draft_decode or decode. Raises InputError for frames that are not finite.
    """
    frames, done = allocate((1, 3, *clip_size(*z.shape[2:]))), 0
    for span in stream_spans(pipe, z, phase, callback, split):
        frames[:, :, done : done + span.shape[2]] = span
        done += span.shape[2]
    frames = to_image_range(frames)
    check_finite(frames.sum(), pipe.dtype)  # of the sum, which needs no mask as large as the clip
    return frames


def stream_spans(
    pipe: Pipeline,
    z: Tensor,
    phase: str,
    callback: ProgressCallback | None = None,
    split: VAESplit = None,
    start: int = 0,
) -> Iterator[Tensor]:
    """The spans of `decode` (vae_stream.py) from number `start` on, on either device: [1, 3, f, H, W] in -1..1."""
    on_step = report_steps(phase, callback)
    if pipe.decoder is not None:
        with on_device(pipe.decoder, pipe.device) as decoder:
            yield from stream_small_decode(decoder, z.to(pipe.device), split, on_step, start)
        return
    with on_device(require_component(pipe, "vae"), pipe.device) as vae:
        yield from stream_decode(vae, z if is_tiled(split) else z.to(pipe.device), split, pipe.device, on_step, start)


def stream_frames(
    pipe: Pipeline,
    z: Tensor,
    phase: str,
    callback: ProgressCallback | None = None,
    split: VAESplit = None,
    start: int = 0,
) -> Iterator[Tensor]:
    """`decode` span by span from number `start` on: frames [f, H, W, 3] in 0..1 on the CPU."""
    return (to_finite_frames(span, pipe.dtype) for span in stream_spans(pipe, z, phase, callback, split, start))


def to_finite_frames(span: Tensor, dtype: torch.dtype) -> Tensor:
    """[1, 3, f, H, W] in -1..1 -> [f, H, W, 3] in 0..1 on the CPU. Raises InputError for frames that are not finite,
    by a VAE in this dtype."""
    frames = to_image_range(span)
    check_finite(frames.sum(), dtype)  # of the sum, which needs no mask as large as the clip
    return frames


def get_handoff_frames(
    pipe: Pipeline,
    frames: Frames,
    latent: Tensor | None,
    plan: DraftPlan | None,
    callback: ProgressCallback | None = None,
) -> Frames:
    """What stage 2 starts from, [F, h, w, 3] in 0..1: a draft's frames, but never those of a small decoder.

    latent, plan: the draft's, where it has them. So the latent of a clip does not depend on the decoder.
    """
    if pipe.decoder is None or latent is None:
        return frames
    split = plan.decode if plan else plan_split(pipe, "decode", clip_size(*latent.shape[2:]))
    return decode(replace(pipe, decoder=None), latent, "handoff", callback, split)


def encode(
    pipe: Pipeline,
    frames: Frames,
    size: tuple[int, int],
    callback: ProgressCallback | None = None,
    split: VAESplit = None,
) -> Tensor:
    """The hand-off: frames [F, h, w, 3] in 0..1 -> reference latent [1, 16, T, H/8, W/8] on the pipe's device.

    size is (H, W); frames at the end that do not make 4n+1 are left out. Raises InputError for a latent that is not
    finite.
    """
    with on_device(require_component(pipe, "vae"), pipe.device) as vae:
        z = encode_frames(vae, frames, size, split, pipe.device, report_steps("handoff", callback))
    check_finite(z, pipe.dtype)
    return z


def encode_frames(
    vae: VAE, frames: Frames, size: tuple[int, int], split: VAESplit, device: torch.device, on_step: OnTile
) -> Tensor:
    """`encode` by a VAE that is on this device; on_step as of `stream_encode`."""
    count, size, done = floor_frame_count(len(frames)), floor_size(size), 0
    place = torch.device("cpu") if is_tiled(split) else device  # of the resized frames
    ranges = ((groups[0][0], groups[-1][1]) for groups in encode_spans(count, split))
    large = (resize_frames(to_model_range(some).to(place), size) for some in read_ranges(frames, ranges))
    z = allocate((1, vae.config.latent_channels, *latent_size(count, *size)), device)
    for latent in stream_encode(vae, large, count, size, split, device, on_step):
        z[:, :, done : done + latent.shape[2]] = latent
        done += latent.shape[2]
    return z


def report_steps(phase: str, callback: ProgressCallback | None) -> OnTile:
    """The groups or tiles of a pass as steps of its phase."""
    return lambda done, total: None if callback is None else callback(phase, done, total, None)


def read_ranges(frames: Frames, ranges: Iterable[tuple[int, int]]) -> Iterator[Tensor]:
    """Some frames [n, H, W, 3] of a clip after the other, as `FrameReader.read` gives them."""
    if isinstance(frames, Tensor):
        return (frames[start:stop] for start, stop in ranges)
    return frames.read(ranges)


def to_model_range(frames: Tensor) -> Tensor:
    """[F, H, W, 3] in 0..1 -> [1, 3, F, H, W] in -1..1."""
    return (frames.float().permute(3, 0, 1, 2) * 2 - 1)[None]


def to_image_range(frames: Tensor) -> Tensor:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1 on the CPU, in their own memory: a 1080p clip has 1.2 GB."""
    return frames[0].permute(1, 2, 3, 0).float().cpu().add_(1).div_(2)


def crop_to_1080(frames: Tensor) -> Tensor:
    """The 16:9 preset's 1088 rows lose four above and four below; any other size stays. frames [F, H, W, 3]."""
    return frames[:, 4:-4] if frames.shape[1:3] == (1088, 1920) else frames
