"""What the phases of a clip cost, in floating point operations, before any of them has run: for the time left.

Reading and writing of videos is not counted; the time that it takes shows once the phase has begun.
"""

from ..bench.operations import count_decode, count_encode, count_transformer
from ..components import Pipeline
from ..settings import DraftSettings, RefineSettings
from ..sizes import floor_frame_count, latent_size

QUICKER = 20  # a small decoder than the VAE's; 14 to 27 times were measured (docs/embedded-model.md)


def count_draft(pipe: Pipeline, settings: DraftSettings) -> dict[str, float]:
    """Operations of the draft's phases. Evaluations that a cache or cfg_epsilon saves are counted."""
    branches = 1 if settings.cfg == 1 else 2
    evaluation = count_transformer(pipe.stage1.config, settings.latent_shape)
    return {"stage1": settings.steps * branches * evaluation} | count_draft_decode(pipe, settings.latent_shape)


def count_draft_decode(pipe: Pipeline, latent: tuple[int, int, int]) -> dict[str, float]:
    """Operations of showing a draft's latent (T, H, W)."""
    return {"draft_decode": count_decode(pipe.vae.config, latent) / find_speed(pipe)}


def count_refine(pipe: Pipeline, frames: int, settings: RefineSettings) -> dict[str, float]:
    """Operations of the refined clip's phases, for a draft of so many frames."""
    latent = latent_size(floor_frame_count(frames), *settings.size)
    return {
        "handoff": count_encode(pipe.vae.config, latent),
        "stage2": count_stage2(pipe, latent, settings),
        "decode": count_decode(pipe.vae.config, latent) / find_speed(pipe),
    }


def count_stage2(pipe: Pipeline, latent: tuple[int, int, int], settings: RefineSettings) -> float:
    """Of all evaluations, over all windows of the latent and for both branches where they are guided."""
    windows = settings.latent_windows
    seen, count = (latent, 1) if windows is None else (windows.fit(latent), windows.count(latent))
    guided = 0 if settings.cfg == 1 else settings.guided_evaluations or settings.steps
    dense, windowed = (count_transformer(pipe.stage2.config, seen, window) for window in (None, settings.window))
    evaluations = (
        (2 if i < guided else 1) * (dense if i < settings.dense_evaluations else windowed)
        for i in range(settings.steps)
    )
    return count * sum(evaluations)


def find_speed(pipe: Pipeline) -> float:
    """By how much latents are decoded more quickly than the VAE does it."""
    return 1 if pipe.decoder is None else QUICKER
