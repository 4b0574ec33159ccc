"""The rendered world as latents on disk, so that training the stages needs no VAE pass.

A shard is a safetensors file of SHARD clips; clip i is always the same scene, so its captions can be drawn
again. A shard is written whole or not at all, and one that exists is kept: building resumes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..handoff import resize
from ..training.degradation import Degradation, degrade, draft_of
from ..training.distributed import ALONE, World
from ..training.precision import device_of, fast_bf16
from ..vae import VAE
from ..weights.atomic import atomic_write
from .world import FRAMES, Scene, centre, crop_around, render, sample_scene

SHARD = 64
DRAFT, FULL = (64, 96), (256, 384)  # height, width of a draft and of a refined clip of the embedded model
PATCH = (128, 192)


def scene_of(index: int) -> Scene:
    """The scene of training clip `index`; never a held-out combination."""
    return sample_scene(np.random.default_rng([20250211, index]))


def draft_clip(vae: VAE, index: int) -> dict[str, Tensor]:
    """The clip rendered at draft size: what stage 1 learns to draw."""
    return {"z": encode(vae, render(scene_of(index), height=DRAFT[0], width=DRAFT[1]))}


def pair_clip(vae: VAE, index: int) -> dict[str, Tensor]:
    """The clip at full size, and the reference that its degraded draft gives: what stage 2 learns to join.

    The draft is the full clip reduced by area averaging, so that both show the same scene exactly.
    """
    return _pair(vae, whole_frames(index), index)


def patch_clip(vae: VAE, index: int) -> dict[str, Tensor]:
    """The same of a quarter of the picture around the shape: four times as many scenes for the time.

    A patch's latents differ from those of the whole picture by about 1 % (group norm statistics; measured).
    """
    return _pair(vae, patch_frames(index), index)


def whole_frames(index: int) -> Tensor:
    """The training clip at full size, [3, F, H, W] in -1..1."""
    return render(scene_of(index), height=FULL[0], width=FULL[1])


def patch_frames(index: int) -> Tensor:
    """Its patch around the shape."""
    scene = scene_of(index)
    crop = crop_around(centre(scene, FRAMES // 2), FULL, PATCH)
    return render(scene, height=FULL[0], width=FULL[1], crop=crop)


@torch.no_grad()
def _pair(vae: VAE, clip: Tensor, index: int) -> dict[str, Tensor]:
    """Of four drafts one is degraded, one comes from the VAE and is degraded, and two come from the VAE.

    What stage 1 draws has been through the VAE, and a tiny one blurs a draft more than any degradation does.
    """
    small = draft_of(clip, draft_size(clip))
    if index % 4:
        small = vae.decode(encode(vae, small)[None].float())[0].to(small)
    if index % 4 < 2:
        small = degrade(small, Degradation(), torch.Generator().manual_seed(index))
    return {"z": encode(vae, clip), "z_ref": reference(vae, small)}


def draft_size(clip: Tensor) -> tuple[int, int]:
    return clip.shape[-2] // 4, clip.shape[-1] // 4


def reference(vae: VAE, draft: Tensor) -> Tensor:
    """What the hand-off makes of a draft [3, F, h, w]: the latent [16, T, H/8, W/8] of it at four times the size."""
    height, width = draft.shape[-2:]
    return encode(vae, resize(draft[None], (4 * height, 4 * width))[0])


@torch.no_grad()
def encode(vae: VAE, clip: Tensor) -> Tensor:
    kind = device_of(vae).type
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=fast_bf16(kind)):
        return vae.encode(clip[None])[0].half()


def build(
    folder: Path,
    kind: str,
    clip_of: Callable[[int], dict[str, Tensor]],
    *,
    count: int,
    on_shard: Callable[[int, int], None] | None = None,
    world: World = ALONE,
) -> None:
    """Writes the missing shards of the first `count` clips, each process its part."""
    folder.mkdir(parents=True, exist_ok=True)
    files = shards(folder, kind, count)
    for number in range(world.rank, len(files), world.size):
        path, indices = files[number]
        if not path.exists():
            clips = [clip_of(index) for index in indices]
            with atomic_write(path) as partial:
                save_file({name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}, partial)
        if on_shard is not None:
            on_shard(number + 1, len(files))


def load(folder: Path, kind: str, *, count: int) -> dict[str, Tensor]:
    """The first `count` clips as one table of float16 tensors [N, 16, T, H, W]."""
    tables = [load_file(path) for path, _ in shards(folder, kind, count)]
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]}


def shards(folder: Path, kind: str, count: int) -> list[tuple[Path, range]]:
    """The files of the first `count` clips, and which clips are in each; one that is not full says so in its name."""
    out = []
    for number, first in enumerate(range(0, count, SHARD)):
        indices = range(first, min(first + SHARD, count))
        part = "" if len(indices) == SHARD else f"-{len(indices)}"
        out.append((folder / f"{kind}-{number:05d}{part}.safetensors", indices))
    return out
