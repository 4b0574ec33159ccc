"""ComfyUI's progress bar and live preview for our phases; every tick raises when the user interrupts."""

import logging
from collections.abc import Callable

import comfy.model_management as mm
import comfy.utils
import latent_preview
from server import PromptServer


def preview_callback(model, total: int) -> Callable:
    """callback(offset, step, clean, x, steps) over a run of several samplings, with the user's preview method.

    latent_preview is asked for its previewer here, so packs that replace it (animated previews) take part.
    """
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    bar = comfy.utils.ProgressBar(total)

    def callback(offset: int, step: int, clean, x, steps: int) -> None:
        image = previewer.decode_latent_to_preview_image("JPEG", clean) if previewer else None
        bar.update_absolute(offset + step + 1, total, image)

    return callback


def phase_callback(phases: int = 1) -> Callable[[int], Callable]:
    """of(k) is the core's callback(phase, step, total, preview) for the k-th of several phases of one bar."""
    bar = comfy.utils.ProgressBar(100 * phases)

    def of(k: int) -> Callable:
        def callback(phase: str, step: int, total: int, preview) -> None:
            mm.throw_exception_if_processing_interrupted()  # the bar itself looks only when it is redrawn
            bar.update_absolute(round(100 * (k + step / total)))

        return callback

    return of


def tell(text: str, node_id: str | None) -> None:
    """Says something in the log and, in a server, under the node."""
    logging.warning("FlashVideo: %s", text)
    server = getattr(PromptServer, "instance", None)
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)
