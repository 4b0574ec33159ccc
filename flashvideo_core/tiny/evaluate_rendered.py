"""Rendered clips through the hand-off and stage 2: what comes back, against the original, at many settings."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from ..components import Pipeline, require_component
from ..vae_passes import decode, encode
from .evaluate_drafts import get_refine_settings, refine_latent
from .extent import Extent
from .held_out import HeldOutPrompt
from .kept import Found, Task
from .quality import measure_sharpness
from .results import HeldOutResult, QualityRow, Scores
from .scene import Scene
from .scores import downsample, render_frames, score_against, summarize_scores, upsample

CLEAN = ", from clean frames"  # rows of a draft that did not go through the VAE, as a video handed to refine
CEILING = "original through the VAE"
ROWS = ("original", CEILING, "bilinear", "refined", f"bilinear{CLEAN}", f"refined{CLEAN}")


class Stage2Setting(NamedTuple):
    """Evaluations, noise step and guidance."""

    steps: int
    ref_step: int
    cfg: float


def list_rendered_tasks(pipe: Pipeline, prompts: Sequence[HeldOutPrompt], extent: Extent) -> list[Task]:
    """Scores of each clip; of the first ones at every setting."""
    default, tasks = get_default_setting(pipe), []
    every = {setting for sweep in list_sweeps(default, extent).values() for setting in sweep}
    for i, prompt in enumerate(prompts):
        name, settings = ("swept", every) if i < extent.swept else ("rendered", {default})
        tasks.append(Task(f"{name}-{i:04}", partial(score_rendered, pipe, prompt, i, settings, extent.latent_frames)))
    return tasks


def get_default_setting(pipe: Pipeline) -> Stage2Setting:
    stored = get_refine_settings(pipe)
    return Stage2Setting(stored.steps, stored.ref_step, stored.cfg)


def list_sweeps(default: Stage2Setting, extent: Extent) -> dict[str, list[Stage2Setting]]:
    """Three ways through the default, by their names in the result."""
    return {
        "evaluations": [default._replace(steps=n) for n in sorted({*extent.evaluations, default.steps})],
        "noise_steps": [default._replace(ref_step=n) for n in sorted({*extent.noise_steps, default.ref_step})],
        "guidance": [default._replace(cfg=cfg) for cfg in sorted({*extent.guidance, default.cfg})],
    }


def summarize_rendered(pipe: Pipeline, found: Sequence[Found], extent: Extent) -> HeldOutResult:
    """Rows against the original: at the default setting, and along the sweeps through it."""
    default, swept = get_default_setting(pipe), found[: extent.swept]
    return {
        "count": len(found),
        "sweep_count": len(swept),
        "frames": count_compared_frames(pipe, extent.latent_frames),
        "default": default._asdict(),
        "rows": [{"name": name, **summarize_scores([clip["rows"][name] for clip in found])} for name in ROWS],
        **{name: summarize_sweep(sweep, swept) for name, sweep in list_sweeps(default, extent).items()},
    }


def summarize_sweep(sweep: Sequence[Stage2Setting], found: Sequence[Found]) -> list[QualityRow]:
    """A row for each setting."""
    clips = [{Stage2Setting(*entry["setting"]): entry["scores"] for entry in clip["settings"]} for clip in found]
    return [{**setting._asdict(), **summarize_scores([clip[setting] for clip in clips])} for setting in sweep]


def score_rendered(
    pipe: Pipeline, prompt: HeldOutPrompt, seed: int, settings: Collection[Stage2Setting], latent_frames: int
) -> dict[str, Any]:
    """Scores of one clip: "rows", by name, at the default setting, which has to be one of the settings, and "settings",
    what stage 2 makes of the draft at each.

    Bilinear upsampling and stage 2 get the same draft; and once more the clean frames that the VAE has not touched, as
    a video to refine.
    """
    stored, default = get_refine_settings(pipe, seed=seed), get_default_setting(pipe)
    size, n = stored.size, count_compared_frames(pipe, latent_frames)
    original, clean, seen = render_draft(pipe, prompt.scene)
    z_ref, found = encode(pipe, seen, size), {}
    for setting in sorted(settings):
        chosen = get_refine_settings(pipe, seed=seed, **setting._asdict())
        found[setting] = score_against(original, refine_latent(pipe, z_ref, prompt.prompt, chosen, latent_frames))
    from_clean = refine_latent(pipe, encode(pipe, clean, size), prompt.prompt, stored, latent_frames)
    rows: dict[str, Scores] = {
        "original": {"edges": measure_sharpness(original[:n])},
        CEILING: score_against(original, decode(pipe, encode(pipe, original, size)[:, :, :latent_frames], "decode")),
        "bilinear": score_against(original, upsample(seen[:n], size)),
        "refined": found[default],
        f"bilinear{CLEAN}": score_against(original, upsample(clean[:n], size)),
        f"refined{CLEAN}": score_against(original, from_clean),
    }
    entries = [{"setting": list(setting), "scores": scores} for setting, scores in found.items()]
    return {"rows": rows, "settings": entries}


def render_draft(pipe: Pipeline, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """(original, draft without the VAE, draft) of a scene, each [F, H, W, 3].

    The draft is the original reduced by area averaging, through the VAE as every draft is.
    """
    size, draft_size = (require_component(pipe, stage).config.defaults.size for stage in ("stage2", "stage1"))
    original = render_frames(scene, size, require_component(pipe, "stage2").config.defaults.frames)
    clean = downsample(original, draft_size)
    return original, clean, decode(pipe, encode(pipe, clean, draft_size), "draft_decode")


def count_compared_frames(pipe: Pipeline, latent_frames: int) -> int:
    """Frames that so many latent frames decode to, if a clip has as many."""
    return min(4 * latent_frames - 3, require_component(pipe, "stage2").config.defaults.frames)
