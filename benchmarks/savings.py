"""What the evaluations that are saved cost, on the embedded model: detectors, and the distance from the whole result.

    python benchmarks/savings.py --clips 6                  # stage 2, the first k evaluations guided (cfg 4)
    python benchmarks/savings.py --clips 6 --stage1         # stage 1, thresholds of the step cache (51 steps)

Prompts are held-out ones; error: root mean square over that of the whole result, of the latent, the mean and the
largest over the clips. Prints a Markdown table; a row as soon as it is measured.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flashvideo_core.components import Pipeline, load_pipeline
from flashvideo_core.phases import Draft, decode_clip, decode_draft, sample_draft, sample_refine
from flashvideo_core.settings import DraftSettings, RefineSettings
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.evaluate import PROMPT_SEED
from flashvideo_core.tiny.evaluate_drafts import get_refine_settings
from flashvideo_core.tiny.held_out import HeldOutPrompt, sample_held_out
from flashvideo_core.tiny.results import Scores
from flashvideo_core.tiny.scores import average_scores, name_attributes, score_attributes, score_refined

CFG = 4.0  # the embedded stage 2 runs without guidance by itself
STEPS = 51  # of the embedded stage 1, which has 25 by itself
CACHES = (0.0, 0.1, 0.2, 0.05, 0.4)


@dataclass(frozen=True)
class Made:
    """A clip or draft: its latent, the passes of both branches, its scores."""

    latent: Tensor
    passes: tuple[int, int]
    scores: Scores


def refine_each(
    pipe: Pipeline, prompts: Sequence[HeldOutPrompt], drafts: Sequence[Draft], settings: RefineSettings
) -> list[Made]:
    made = []
    for prompt, d in zip(prompts, drafts, strict=True):
        numbers = replace(settings, seed=d.seed)
        latent, plan = sample_refine(pipe, d, numbers)
        clip = decode_clip(pipe, d, latent, numbers, plan)
        passes = (plan.passes.cond, plan.passes.uncond)
        made.append(Made(latent, passes, score_refined(prompt.scene, clip.frames, d.frames)))
    return made


def draft_each(pipe: Pipeline, prompts: Sequence[HeldOutPrompt], settings: DraftSettings) -> list[tuple[Made, Draft]]:
    made = []
    for seed, prompt in enumerate(prompts):
        numbers = replace(settings, seed=seed)
        latent, plan = sample_draft(pipe, prompt.prompt, numbers)
        d = decode_draft(pipe, prompt.prompt, latent, numbers, plan)
        passes = (plan.passes.cond, plan.passes.uncond)
        made.append((Made(latent, passes, score_attributes(prompt.scene, name_attributes(detect(d.frames)))), d))
    return made


def print_table(head: str, rows: Iterable[tuple[str, Callable[[], list[Made]]]]) -> None:
    """The first row is the whole result, from which the others' distance is measured."""
    whole, names = None, None
    for name, make in rows:
        made = make()
        whole, scores = whole or made, average_scores([clip.scores for clip in made])
        if names is None:
            names = [key for key in scores if key != "all"]
            print(f"| {head} | passes, cond + uncond | error | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}")
        errors = [distance(a.latent, b.latent) for a, b in zip(made, whole, strict=True)]
        cond, uncond = (sum(clip.passes[i] for clip in made) / len(made) for i in (0, 1))
        cells = [f"{cond:.1f} + {uncond:.1f}", f"{sum(errors) / len(errors):.3f} ({max(errors):.3f})"]
        print(f"| {name} | {' | '.join(cells + [f'{scores[key]:.3f}' for key in names])} |", flush=True)


def distance(latent: Tensor, whole: Tensor) -> float:
    return float((latent - whole).square().mean().sqrt() / whole.square().mean().sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--stage1", action="store_true")
    args = parser.parse_args()
    pipe, prompts = load_pipeline(), sample_held_out(args.clips, PROMPT_SEED)
    defaults = pipe.stage1.config.defaults
    if args.stage1:
        settings = DraftSettings.from_defaults(defaults, steps=STEPS)
        whole = [(f"{cache:g}", replace(settings, cache=cache)) for cache in CACHES]
        rows = [(name, lambda s=s: [made for made, _ in draft_each(pipe, prompts, s)]) for name, s in whole]
        print_table("cache", rows)
        return
    drafts = [d for _, d in draft_each(pipe, prompts, DraftSettings.from_defaults(defaults))]
    settings = replace(get_refine_settings(pipe), cfg=CFG)
    counts = [0, *range(1, settings.steps)]
    guided = [(str(k or "all"), replace(settings, guided_evaluations=k)) for k in counts]
    guided.append(("none (cfg 1)", replace(settings, cfg=1.0)))
    print_table("guided", [(name, lambda s=s: refine_each(pipe, prompts, drafts, s)) for name, s in guided])


if __name__ == "__main__":
    main()
