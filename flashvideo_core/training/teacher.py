"""The teacher of a distillation: stage 2 as it stands, whose states on the way from draft to clip are what is learnt.

A student sees nothing else, so they are computed once and kept:

    states/HASH.safetensors   states [n + 1, 16, T, H, W] float16, scaled: the noised reference, ..., the end point
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_transformer
from ..components import Pipeline
from ..dit import Transformer
from ..phases import refine_reference
from ..sampling import make_draw_noise
from ..schedule import add_noise, stage2_times, zero_snr_sqrt_alphas
from ..settings import RefineSettings
from ..types import Preview, ProgressCallback
from .cache import hash_json, read_tensor, write_tensor
from .drafts import CachedDraft
from .prepare import WeightFiles


@dataclass(frozen=True)
class CachedLesson:
    """A draft, and the files of the teacher's states from it, each begun with other noise."""

    draft: CachedDraft
    states: tuple[Path, ...]


def prepare_lessons(
    drafts: Sequence[CachedDraft],
    cache: Path,
    teacher: RefineSettings,
    variants: int,
    weights: WeightFiles,
    progress: ProgressCallback,
) -> list[CachedLesson]:
    """The teacher's states from each draft and `variants` noises; what is not in the cache yet is made.

    The phase of progress is "teacher". Raises InputError for weights that give NaN.
    """
    lessons = [CachedLesson(draft, name_states(cache, draft, teacher, variants, weights)) for draft in drafts]
    missing = {path: lesson.draft for lesson in lessons for path in lesson.states if not path.exists()}
    dit = load_transformer(weights.files["stage2"], dtype=weights.dtype).to(weights.device) if missing else None
    for done, (path, draft) in enumerate(missing.items(), 1):
        z_ref, txt = (read_tensor(file)[None].to(weights.device) for file in (draft.z_ref, draft.txt))
        states = trace_states(dit, z_ref, txt, replace(teacher, seed=get_seed(path)))
        write_tensor(path, "states", states.half())
        progress("teacher", done, len(missing), None)
    return lessons


def name_states(
    cache: Path, draft: CachedDraft, teacher: RefineSettings, variants: int, weights: WeightFiles
) -> tuple[Path, ...]:
    """Where the teacher's states from a draft are, or will be, one file for each noise."""
    made_of = [weights.hashes["stage2"], str(weights.dtype), teacher.to_json(), draft.z_ref.name, draft.txt.name]
    names = (hash_json("states", made_of, variant) for variant in range(variants))
    return tuple(cache / "states" / f"{name}.safetensors" for name in names)


def get_seed(path: Path) -> int:
    """Of the noise, from the file's own hash: the same states whoever makes them, and in which order."""
    return int(path.stem[:15], 16)


def trace_states(dit: Transformer, z_ref: Tensor, txt: Tensor, settings: RefineSettings) -> Tensor:
    """The states of stage 2's sampler [steps + 1, 16, T, H, W], scaled, from a reference [1, 16, T, H, W] in VAE units.

    The sampler tells its estimate of the end after each evaluation, and its state moves straight towards it.
    """
    scale, noise = dit.config.latent_scale, make_draw_noise(settings.seed)(z_ref)
    times = stage2_times(settings.steps, settings.shift).tolist()
    states = [add_noise(scale * z_ref.float(), noise, float(zero_snr_sqrt_alphas()[settings.ref_step]))]

    def on_evaluation(phase: str, step: int, total: int, preview: Preview) -> None:
        t, t_next = times[step - 1 : step + 1]
        states.append(torch.lerp(states[-1], scale * preview(), (t_next - t) / (1 - t)))

    refine_reference(Pipeline(None, dit, None, None), dit, z_ref, txt, settings, callback=on_evaluation)
    return torch.cat(states)
