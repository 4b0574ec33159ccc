"""Rendered clips to train on: which scene a number stands for, whole clips, and crops around the shape.

Clips are [3, F, h, w] float32 in -1..1, sizes (height, width) in pixels.
"""

import numpy as np
import torch
from torch import Tensor

from .render import crop_around, render
from .scene import FRAMES, Scene, locate_shape, sample_scene

DRAFT_SIZE, FULL_SIZE = (64, 96), (256, 384)  # of a draft and of a refined clip of the embedded model
PATCH_SIZE = (128, 192)  # of the patches that stage 2 learns from
SCENE_SEED = 20250211


def get_scene(index: int) -> Scene:
    """The scene of training clip `index`; never a held-out combination."""
    return sample_scene(np.random.default_rng([SCENE_SEED, index]))


def render_draft(index: int) -> Tensor:
    """The training clip at draft size."""
    return render(get_scene(index), height=DRAFT_SIZE[0], width=DRAFT_SIZE[1])


def render_whole(index: int) -> Tensor:
    """The training clip at full size."""
    return render(get_scene(index), height=FULL_SIZE[0], width=FULL_SIZE[1])


def render_patch(index: int) -> Tensor:
    """A quarter of the training clip at full size, around its shape."""
    return render_near_shape(get_scene(index), FULL_SIZE, PATCH_SIZE)


def quantize(clip: Tensor) -> Tensor:
    """A clip in -1..1 as a file holds it: uint8, 0..255. What waits in memory, or goes to another process."""
    return ((clip + 1) * 127.5).round().to(torch.uint8)


def dequantize(clip: Tensor) -> Tensor:
    """A clip in -1..1 of one in 0..255; one that is in -1..1 stays."""
    return clip.float() / 127.5 - 1 if clip.dtype == torch.uint8 else clip


def render_near_shape(scene: Scene, size: tuple[int, int], crop: tuple[int, int]) -> Tensor:
    """The clip at a size, cropped around where the shape is in the middle of it."""
    region = crop_around(locate_shape(scene, FRAMES // 2), size, crop)
    return render(scene, height=size[0], width=size[1], crop=region)
