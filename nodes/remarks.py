"""What a node remarks under itself: sizes outside the trained range, inputs that had to be adjusted."""

import logging
from collections.abc import Sized

from comfy_api.latest import io

from ..flashvideo_core.config import TransformerConfig
from ..flashvideo_core.faithful import Drift
from ..flashvideo_core.sizes import floor_frame_count
from .bridge.progress import notify

TRAINED_MARGIN = 1.1  # times the trained number of pixels, before a size is remarked on


def remark(node: type[io.ComfyNode], *texts: str | None) -> None:
    """Shows texts as one warning in the log and under the node; without any but None it shows nothing."""
    show(node, logging.WARNING, *texts)


def report(node: type[io.ComfyNode], *texts: str | None) -> None:
    """`remark`, of what is as it should be."""
    show(node, logging.INFO, *texts)


def show(node: type[io.ComfyNode], level: int, *texts: str | None) -> None:
    said = "; ".join(text for text in texts if text is not None)
    if said:
        notify(said, node.hidden.unique_id if node.hidden else None, level)


def drift_remark(drift: Drift) -> str:
    """How far a decoded clip is from its draft, and what to do where that is far."""
    advice = "; match takes its colours back, and a lower noise_step in Stage 2 keeps more of it" * drift.is_large
    return f"away from the draft by {drift}, in levels of 255{advice}"


def training_range_remark(config: TransformerConfig, size: tuple[int, int], frames: int) -> str | None:
    """On a size (height, width) and length that the stage has not seen; None inside the trained range."""
    (height, width), trained = config.defaults.size, config.defaults.frames
    if size[0] * size[1] * frames <= TRAINED_MARGIN * height * width * trained:
        return None
    advice = "raise noise_step with the size and the number of frames" if config.reference else "expect repetition"
    return (
        f"stage {config.stage} was trained at {width}x{height} with {trained} frames, "
        f"this is {size[1]}x{size[0]} with {frames}; {advice}"
    )


def replaced_flow_remark(flow: object, shift: float, noise_step: int) -> str | None:
    """On the model_sampling that a node before Stage 2 has set, whose numbers those of Stage 2 replace.

    None if there is none, or they are equal.
    """
    if flow is None or (getattr(flow, "shift", None), getattr(flow, "ref_step", None)) == (shift, noise_step):
        return None
    return f"shift {shift:g} and noise_step {noise_step} of this node replace what a ModelSampling or Flow node set"


def trim_remark(images: Sized | None) -> str | None:
    """On images [F, H, W, C], or what reads them, whose number is trimmed; None if it is 4n+1."""
    if images is None or floor_frame_count(len(images)) == len(images):
        return None
    return f"{len(images)} frames are trimmed to {floor_frame_count(len(images))} (4n+1)"
