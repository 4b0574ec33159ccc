"""Inputs that several nodes have, with the released defaults, and what is checked of them."""

from comfy_api.latest import io
from torch import Tensor

from ..flashvideo_core.config import STAGE1_DEFAULTS, STAGE2_DEFAULTS
from ..flashvideo_core.errors import InputError
from ..flashvideo_core.guidance import CFG_SCHEDULES
from ..flashvideo_core.setting_rules import WINDOWS

CUSTOM, FOUR_TIMES = "custom", "4x the draft"
TARGET_SIZES = {"released 1920x1072": (1072, 1920), "16:9 1920x1088": (1088, 1920)}  # height, width
MATCHES = {"none": "none", "color": "color", "low frequencies": "low"}  # by RefineSettings' name


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


def windows_input(tooltip: str, default: str = "off") -> io.Combo.Input:
    """Along which axes stage 2 goes over windows of the latent; advanced where it does so only when it is asked to."""
    is_extra = default == "off"
    return io.Combo.Input(
        "windows", options=list(WINDOWS), default=default, optional=is_extra, advanced=is_extra, tooltip=tooltip
    )


def stage2_inputs(seed: str) -> list[io.Int.Input | io.Float.Input]:
    """The numbers of stage 2. seed: the tooltip of its seed."""
    return [
        seed_input(seed),
        steps_input(STAGE2_DEFAULTS.steps, 1, 100, f"Evaluations; paper: {STAGE2_DEFAULTS.steps}, released script: 5."),
        cfg_input(STAGE2_DEFAULTS.cfg, f"Guidance; released: {STAGE2_DEFAULTS.cfg:g}."),
        shift_input(f"How much of the path goes to the first steps; released: {STAGE2_DEFAULTS.shift}.", advanced=True),
        noise_step_input(
            f"Noise on the reference, 0 to 999; trained: {STAGE2_DEFAULTS.ref_step}. More changes the draft "
            "more; raise it with the size and the number of frames.",
        ),
    ]


def target_inputs() -> list[io.Combo.Input | io.Int.Input]:
    """The size of the refined clip."""
    return [
        io.Combo.Input(
            "target",
            options=[*TARGET_SIZES, FOUR_TIMES, CUSTOM],
            default="released 1920x1072",
            tooltip="Size of the refined clip. released 1920x1072 suits drafts of 480x256; 16:9 1920x1088 "
            "those of 480x272, and is cropped to 1080 after decode. A clip of other proportions is stretched, "
            "which is said under the node. custom: width and height below.",
        ),
        side_input("width", 1920, "Pixels, for the target custom; floored to a multiple of 16."),
        side_input("height", 1072, "Pixels, for the target custom; floored to a multiple of 16."),
    ]


def target_size(target: str, draft: tuple[int, int], custom: tuple[int, int]) -> tuple[int, int]:
    """(height, width) that the target's name asks for."""
    return {**TARGET_SIZES, FOUR_TIMES: (4 * draft[0], 4 * draft[1]), CUSTOM: custom}[target]


def match_input(tooltip: str, optional: bool = False) -> io.Combo.Input:
    """What a refined clip takes back from its draft."""
    return io.Combo.Input("match", options=list(MATCHES), default="none", optional=optional, tooltip=tooltip)


def check_video_latent(z: Tensor) -> None:
    """Raises InputError unless z is [B, 16, T, H, W]."""
    if z.ndim != 5 or z.shape[1] != 16:
        raise InputError(f"the latent has the shape {list(z.shape)}; a video latent [B, 16, T, H, W] is needed")
