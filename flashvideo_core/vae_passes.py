"""Frames <-> latents with a pipeline's VAE, whole or split as memory asks (memory/)."""

import torch
from torch import Tensor

from .components import Pipeline, require_component
from .device import on_device
from .handoff import resize_to_target
from .memory import VAESplit, free_memory, is_tiled, plan_vae_split, tile_overlap
from .sampling import check_finite
from .sizes import clip_size
from .tiling import map_tiles
from .types import OnTile, ProgressCallback
from .vae_chunks import ChunkSize


def plan_split(pipe: Pipeline, kind: str, clip: tuple[int, int, int]) -> VAESplit:
    """How a pass ("decode" or "encode") over a clip of (frames, height, width) is split with the memory now free."""
    config = require_component(pipe, "vae").config
    return plan_vae_split(config, kind, clip, pipe.dtype, pipe.device, free_memory(pipe.device))


def decode(
    pipe: Pipeline, z: Tensor, phase: str, callback: ProgressCallback | None = None, split: VAESplit = None
) -> Tensor:
    """Latent [1, 16, T, h, w] in VAE units -> frames [F, H, W, 3] in 0..1 on the CPU.

    phase names the pass in the callback: draft_decode or decode. Raises InputError for frames that are not finite.
    """
    with on_device(require_component(pipe, "vae"), pipe.device) as vae:
        if is_tiled(split):
            on_tile = count_tiles(phase, callback)
            frames = map_tiles(
                lambda tile: vae.decode(tile.to(pipe.device)), z.cpu(), split, tile_overlap(split), (8, 1), on_tile
            )
        else:
            frames = torch.empty(1, 3, *clip_size(*z.shape[2:]))  # on the host, group by group
            vae.decode(z.to(pipe.device), callback, phase, frames, ChunkSize(split))
        frames = to_image_range(frames)
    check_finite(frames.sum(), pipe.dtype)  # of the sum, which needs no mask as large as the clip
    return frames


def encode(
    pipe: Pipeline,
    frames: Tensor,
    size: tuple[int, int],
    callback: ProgressCallback | None = None,
    split: VAESplit = None,
) -> Tensor:
    """The hand-off: frames [F, h, w, 3] in 0..1 -> reference latent [1, 16, T, H/8, W/8] on the pipe's device.

    size is (H, W); frames at the end that do not make 4n+1 are left out. Raises InputError for a latent that is not
    finite.
    """
    frames = to_model_range(frames)
    with on_device(require_component(pipe, "vae"), pipe.device) as vae:
        if is_tiled(split):
            on_tile = count_tiles("handoff", callback)
            tile, overlap = (8 * split[0], 8 * split[1]), 8 * tile_overlap(split)
            large = resize_to_target(frames, size)
            z = map_tiles(lambda tile: vae.encode(tile.to(pipe.device)), large, tile, overlap, (1, 8), on_tile)
        else:
            z = vae.encode(
                resize_to_target(frames.to(pipe.device), size), callback=callback, chunk_size=ChunkSize(split)
            )
        z = z.to(pipe.device)
    check_finite(z, pipe.dtype)
    return z


def count_tiles(phase: str, callback: ProgressCallback | None) -> OnTile | None:
    """The tiles of a pass as steps of its phase."""
    return None if callback is None else lambda done, total: callback(phase, done, total, None)


def to_model_range(frames: Tensor) -> Tensor:
    """[F, H, W, 3] in 0..1 -> [1, 3, F, H, W] in -1..1."""
    return (frames.float().permute(3, 0, 1, 2) * 2 - 1)[None]


def to_image_range(frames: Tensor) -> Tensor:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1 on the CPU, in their own memory: a 1080p clip has 1.2 GB."""
    return frames[0].permute(1, 2, 3, 0).float().cpu().add_(1).div_(2)


def crop_to_1080(frames: Tensor) -> Tensor:
    """The 16:9 preset's 1088 rows lose four above and four below; any other size stays. frames [F, H, W, 3]."""
    return frames[:, 4:-4] if frames.shape[1:3] == (1088, 1920) else frames
