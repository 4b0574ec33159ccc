"""What latent windows cost in seams and flicker, on rendered clips through the embedded model.

    python benchmarks/latent_windows.py time [--frames 17 33 65 129] [--size 128x192] [--clips 2] [--noise-step 100]
    python benchmarks/latent_windows.py space --frames 9

whole: one pass over everything. windows: ours, averaged in one state. blended, cut: each window refined by itself with
noise of its own, then blended, or cut in the middle of what neighbours share. context: ComfyUI's Context Windows
(Manual) on our MODEL, over time (needs ComfyUI, comfyui.py). seam_measures.py says what gradient, step and difference
are; over time an edge is one between frames. Prints a Markdown table of means over the clips and axes.
"""

import argparse
import functools
import sys
from dataclasses import dataclass, fields, replace
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.context_windows import refine_in_comfyui
from benchmarks.seam_measures import Zone, measure_seams
from flashvideo_core.cli.options import parse_size
from flashvideo_core.components import Pipeline, load_pipeline
from flashvideo_core.handoff import prepare_reference
from flashvideo_core.latent_windows import LatentWindows, Range, find_shared, ramp_weights
from flashvideo_core.markdown import format_table
from flashvideo_core.phases import draw_start_noise, embed, refine_reference
from flashvideo_core.sampling import sample_stage2
from flashvideo_core.settings import RefineSettings
from flashvideo_core.tiny.held_out import HeldOutPrompt, sample_held_out
from flashvideo_core.tiny.quality import compute_psnr, measure_sharpness
from flashvideo_core.tiny.render import render
from flashvideo_core.tiny.scene import FRAMES
from flashvideo_core.vae_passes import to_image_range

SEED = 5
WINDOWS = {
    "time": {"windows": "time", "time_window": 5, "time_overlap": 2},  # of the frames that the model was trained on
    "space": {"windows": "space", "space_window_height": 64, "space_window_width": 96, "space_overlap": 32},
}
NUMBERS = {"windows", *WINDOWS["time"], *WINDOWS["space"]}
FIGURES = ("gradient", "step", "difference", "PSNR", "sharpness")


class Refined(NamedTuple):
    """A latent of one way, what it is compared with, and whether its parts are cut hard."""

    z: Tensor
    whole: Tensor
    is_cut: bool = False


def render_long(prompt: HeldOutPrompt, frames: int, size: tuple[int, int]) -> Tensor:
    """[1, 3, frames, h, w] in -1..1: the scene's motion forth and back."""
    last = FRAMES - 1
    order = [last - abs(i % (2 * last) - last) for i in range(frames)]
    known = {i: render(prompt.scene, height=size[0], width=size[1], first=i, frames=1) for i in set(order)}
    return torch.cat([known[i] for i in order], dim=1)[None]


def refine_in_all_ways(pipe: Pipeline, z_ref: Tensor, txt: Tensor, settings: RefineSettings) -> dict[str, Refined]:
    """settings: with windows over time or space. Windows are compared with one pass from the same noise."""
    off = {field.name: field.default for field in fields(settings) if field.name in NUMBERS}
    windows, alone = settings.latent_windows, replace(settings, **off)
    places = list(product(*windows.split(tuple(z_ref.shape[2:]))))
    parts = [z_ref[cut_out(place)] for place in places]
    parts = [
        refine_reference(pipe, pipe.stage2, part, txt, replace(alone, seed=SEED + i)) for i, part in enumerate(parts)
    ]
    whole = refine_reference(pipe, pipe.stage2, z_ref, txt, alone)
    numbers = {name: getattr(alone, name) for name in ("steps", "cfg", "shift", "ref_step")}
    same_noise = sample_stage2(pipe.stage2, z_ref, txt, noise=draw_start_noise(z_ref, settings), **numbers)
    return {
        "whole": Refined(whole, whole),
        "windows": Refined(refine_reference(pipe, pipe.stage2, z_ref, txt, settings), same_noise),
        "blended": Refined(join(z_ref, windows, parts, is_cut=False), whole),
        "cut": Refined(join(z_ref, windows, parts, is_cut=True), whole, is_cut=True),
    }


def cut_out(place: tuple[Range, Range, Range]) -> tuple[slice, ...]:
    return (slice(None), slice(None), *(slice(*ranges) for ranges in place))


def join(z: Tensor, windows: LatentWindows, parts: list[Tensor], is_cut: bool) -> Tensor:
    """The parts in one latent like z, in the order of their places."""
    axes = windows.split(tuple(z.shape[2:]))
    weights = [cut_weights(ranges) if is_cut else ramp_weights(ranges) for ranges in axes]
    out = torch.zeros_like(z)
    for part, place, (t, h, w) in zip(parts, product(*axes), product(*weights), strict=True):
        out[cut_out(place)] += part * (t[:, None, None] * h[:, None] * w)
    return out


def cut_weights(ranges: list[Range]) -> list[Tensor]:
    """1 up to the middle of what neighbours share, then 0."""
    weights = [torch.ones(stop - start) for start, stop in ranges]
    for (left, right), (start, stop) in zip(pairwise(weights), find_shared(ranges), strict=True):
        left[len(left) - (stop - start) + (stop - start) // 2 :] = 0
        right[: (stop - start) // 2] = 0
    return weights


def find_edges(ranges: list[Range], is_cut: bool, is_time: bool) -> list[Zone]:
    """Where neighbours give way to each other, in frames or pixels."""
    shared = find_shared(ranges)
    edges = [((start + stop) // 2,) * 2 for start, stop in shared] if is_cut else shared
    return [tuple(max(0, 4 * i - 3) if is_time else 8 * i for i in edge) for edge in edges]


def measure(frames: Tensor, whole: Tensor, axes: tuple[list[Range], ...], is_cut: bool) -> dict[str, float]:
    """The figures of seam_measures.py over the axes that are divided, of frames [1, 3, F, H, W]."""
    time, rows, columns = (find_edges(ranges, is_cut, i == 0) for i, ranges in enumerate(axes))
    if time:
        return measure_seams(frames.transpose(2, 4), whole.transpose(2, 4), [], time)
    return measure_seams(frames, whole, rows, columns) if rows or columns else {}


@dataclass(frozen=True)
class Case:
    """A rendered clip [1, 3, F, H, W] in -1..1, the reference latent of its draft, its text and how it is refined."""

    original: Tensor
    z_ref: Tensor
    txt: Tensor
    settings: RefineSettings


def make_case(pipe: Pipeline, prompt: HeldOutPrompt, frames: int, given: dict[str, object]) -> Case:
    """The draft is half as large, and went through the VAE as a draft does."""
    settings = RefineSettings.from_defaults(pipe.stage2.config.defaults, seed=SEED, **given)
    half = (settings.height // 2, settings.width // 2)
    draft = pipe.vae.decode(pipe.vae.encode(render_long(prompt, frames, half)))
    z_ref = prepare_reference(frames=draft, vae=pipe.vae, size=settings.size)
    return Case(render_long(prompt, frames, settings.size), z_ref, embed(pipe, prompt.prompt, None, 2)[0], settings)


def compare(pipe: Pipeline, case: Case, context: Tensor | None) -> dict[str, dict[str, float]]:
    """Figures by way; context: what ComfyUI made of the case."""
    refined, figures = refine_in_all_ways(pipe, case.z_ref, case.txt, case.settings), {}
    refined |= {} if context is None else {"context": Refined(context, refined["whole"].z)}
    axes = case.settings.latent_windows.split(tuple(case.z_ref.shape[2:]))
    decode = functools.cache(pipe.vae.decode)
    for way, (z, whole, is_cut) in refined.items():
        frames = decode(z)
        clip, wanted = (to_image_range(x.clone()) for x in (frames, case.original))  # it works in place
        quality = {"PSNR": compute_psnr(clip, wanted), "sharpness": measure_sharpness(clip)}
        figures[way] = measure(frames, decode(whole), axes, is_cut) | quality
    return figures


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("axis", choices=WINDOWS)
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 33, 65, 129])
    parser.add_argument("--size", type=parse_size, default=(128, 192), help="HEIGHTxWIDTH, of the refined clips")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--noise-step", type=int, default=100)
    args = parser.parse_args()
    pipe, rows = load_pipeline(device="cpu"), []
    given = {"size": args.size, "ref_step": args.noise_step, **WINDOWS[args.axis]}
    prompts = sample_held_out(args.clips, SEED)
    cases = {frames: [make_case(pipe, prompt, frames, given) for prompt in prompts] for frames in args.frames}
    every = [case for made in cases.values() for case in made]
    contexts = iter([None] * len(every))
    if args.axis == "time":
        contexts = iter(refine_in_comfyui([(case.z_ref, case.txt) for case in every], every[0].settings))
    for frames, made in cases.items():
        clips = [compare(pipe, case, next(contexts)) for case in made]
        for way, figures in clips[0].items():
            means = {name: sum(clip[way][name] for clip in clips) / len(clips) for name in figures}
            rows.append([str(frames), way, *(f"{means[name]:.3f}" if name in means else "" for name in FIGURES)])
            print(*rows[-1], file=sys.stderr, flush=True)
    print(format_table(["frames", "way", *FIGURES], rows))


if __name__ == "__main__":
    main()
