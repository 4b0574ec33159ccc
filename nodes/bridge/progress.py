"""ComfyUI's progress bar, live preview and remarks under a node; every tick raises when the user interrupts."""

import logging

import comfy.model_management as mm
import comfy.utils
import latent_preview
from server import PromptServer
from torch import Tensor

from ...flashvideo_core.types import Preview, ProgressCallback
from .animation import can_animate, send_animation
from .preview_decoder import make_decoder_previewer
from .types import Model, SamplerCallback


def make_sampler_callbacks(model: Model, samplings: int, steps: int) -> list[SamplerCallback]:
    """One callback for each of several samplings of `steps` that share a bar, with the user's preview method.

    latent_preview is asked for its previewer here, so packs that replace it (animated previews) take part; where the
    method is TAESD, a small decoder comes first.
    """
    device, latent_format = model.load_device, model.model.latent_format
    previewer = make_decoder_previewer(latent_format, device) or latent_preview.get_previewer(device, latent_format)
    bar = comfy.utils.ProgressBar(samplings * steps)

    def make(start: int) -> SamplerCallback:
        def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            image = previewer.decode_latent_to_preview_image("JPEG", denoised) if previewer else None
            bar.update_absolute(start + step + 1, samplings * steps, image)
            if can_animate(previewer, denoised):
                send_animation(previewer, denoised)

        return callback

    return [make(i * steps) for i in range(samplings)]


def make_phase_callbacks(phases: int) -> list[ProgressCallback]:
    """One progress callback of the core for each of several phases that share a bar."""
    bar = comfy.utils.ProgressBar(100 * phases)

    def make(phase_index: int) -> ProgressCallback:
        def callback(phase: str, step: int, total: int, preview: Preview | None) -> None:
            mm.throw_exception_if_processing_interrupted()  # the bar itself looks only when it is redrawn
            bar.update_absolute(round(100 * (phase_index + step / total)))

        return callback

    return [make(i) for i in range(phases)]


def make_progress_callback() -> ProgressCallback:
    """A progress callback with a bar of its own."""
    return make_phase_callbacks(1)[0]


def make_tile_callbacks(callback: ProgressCallback, tiles: int) -> list[ProgressCallback]:
    """One progress callback for each tile of a pass, whose steps count as steps of the whole pass."""

    def make(tile: int) -> ProgressCallback:
        return lambda phase, step, total, preview: callback(phase, tile * total + step, tiles * total, preview)

    return [make(i) for i in range(tiles)]


def notify(text: str, node_id: str | None, level: int = logging.WARNING) -> None:
    """Shows a remark in the log, at that level, and, in a server, under the node."""
    logging.log(level, "FlashVideo: %s", text)
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)
