"""ComfyUI's progress bar and live preview for our phases; its update raises when the user interrupts."""

from collections.abc import Callable

import comfy.utils
import latent_preview


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


def phase_callback(bar: comfy.utils.ProgressBar) -> Callable:
    """callback(phase, step, total, preview) of the core as one tick of a bar that spans several phases."""
    return lambda phase, step, total, preview: bar.update(1)
