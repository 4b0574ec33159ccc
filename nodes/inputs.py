"""Inputs that several nodes have, with the released defaults, and what is checked of them."""

from comfy_api.latest import io
from torch import Tensor

from ..flashvideo_core.config import STAGE1_DEFAULTS, STAGE2_DEFAULTS
from ..flashvideo_core.errors import InputError
from ..flashvideo_core.guidance import CFG_SCHEDULES
from ..flashvideo_core.setting_rules import WINDOWS


def seed_input(tooltip: str) -> io.Int.Input:
    return io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True, tooltip=tooltip)


def side_input(name: str, default: int, tooltip: str) -> io.Int.Input:
    """Width or height of a custom size."""
    return io.Int.Input(name, default=default, min=16, max=8192, step=16, tooltip=tooltip)


def negative_input(tooltip: str) -> io.Conditioning.Input:
    return io.Conditioning.Input("negative", optional=True, tooltip=tooltip)


def steps_input(default: int, minimum: int, maximum: int, tooltip: str) -> io.Int.Input:
    """How often the network is evaluated."""
    return io.Int.Input("steps", default=default, min=minimum, max=maximum, tooltip=tooltip)


def cfg_input(default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input("cfg", default=default, min=0.0, max=30.0, step=0.1, tooltip=tooltip)


def guidance_input(tooltip: str) -> io.Combo.Input:
    """How stage 1's guidance scale follows the steps."""
    options, default = list(CFG_SCHEDULES), STAGE1_DEFAULTS.guidance
    return io.Combo.Input("guidance", options=options, default=default, tooltip=tooltip)


def shift_input(tooltip: str, advanced: bool | None = None) -> io.Float.Input:
    """Time shift of stage 2."""
    default = STAGE2_DEFAULTS.shift
    return io.Float.Input("shift", default=default, min=0.1, max=20.0, step=0.01, tooltip=tooltip, advanced=advanced)


def noise_step_input(tooltip: str) -> io.Int.Input:
    """Noise step of stage 2's reference."""
    default = STAGE2_DEFAULTS.ref_step
    return io.Int.Input("noise_step", default=default, min=0, max=999, tooltip=tooltip)


def windows_input(tooltip: str) -> io.Combo.Input:
    """Along which axes stage 2 goes over windows of the latent."""
    return io.Combo.Input(
        "windows", options=list(WINDOWS), default="off", optional=True, advanced=True, tooltip=tooltip
    )


def check_video_latent(z: Tensor) -> None:
    """Raises InputError unless z is [B, 16, T, H, W]."""
    if z.ndim != 5 or z.shape[1] != 16:
        raise InputError(f"the latent has the shape {list(z.shape)}; a video latent [B, 16, T, H, W] is needed")
