"""Every sampler and scheduler of ComfyUI on our MODEL, its network replaced by the exact answer for normal latents.

Then the end is known: stage 1's latents have mean 0 and deviation 0.5, stage 2's differ from the reference by as much
and by nothing that depends on it. A sampler that adds too much noise, or none where it takes some away, misses it.
Whether a sampler suits what a real network does in few steps is another question: the verdict "warned" of core_table.py
was seen with the embedded model.
"""

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
from comfy.patcher_extension import WrappersMP
from core_table import SAMPLERS, SCHEDULERS
from torch import Tensor

from .by_hand import SEED, Case, collect_remarks, conditioning, make_case
from .setting import pack, raises

STEPS, SPREAD = 30, 0.5
SLACK = 0.25  # of the deviation: ancestral samplers lose 0.16 to 0.22 in 30 steps, whatever the model


def predict_exactly(case: Case) -> Callable[..., Tensor]:
    """A wrapper in place of the network: its best prediction where latents are normal."""
    a = float(pack("flashvideo_core.schedule").zero_snr_sqrt_alphas()[675])
    reference = case.dit.config.latent_scale * case.z

    def network(
        executor: Any, x: Tensor, timestep: Tensor, context: Tensor, ref_step: Any, options: Any, **kw: Any
    ) -> Tensor:
        sigma = float(options["sigmas"][0])
        if not case.flow:
            alpha, noise = 1 / (1 + sigma**2) ** 0.5, sigma / (1 + sigma**2) ** 0.5
            share = alpha * SPREAD**2 / ((alpha * SPREAD) ** 2 + noise**2)
            return (alpha - share) / noise * x
        signal, noise = (1 - sigma) * SPREAD, sigma * (1 - a * a) ** 0.5
        deviation = x - sigma * a * reference - (1 - sigma) * reference
        denoised = reference + signal * SPREAD / (signal**2 + noise**2) * deviation
        return (x - denoised) / sigma

    return network


def sample_exactly(case: Case, sampler: str, scheduler: str) -> Tensor:
    """What should have deviation 1: the latent of stage 1 or the change of stage 2, over SPREAD."""
    model = case.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "exact", predict_exactly(case))
    txt = conditioning(case.txt)
    args = (model, case.noise, STEPS, 1.0, sampler, scheduler, txt, txt, case.z)
    out = comfy.sample.sample(*args, disable_pbar=True, seed=SEED) * case.dit.config.latent_scale
    return (out - case.dit.config.latent_scale * case.z) / SPREAD


def compare_end(case: Case, end: Tensor) -> None:
    assert abs(float(end.std()) - 1) < SLACK, f"the deviation is {float(end.std()):.2f} times what it should be"
    assert abs(float(end.mean())) < 0.1, f"the mean is off by {float(end.mean()):.2f}"
    if case.flow:
        share = float((end * case.z).mean())
        assert abs(share) < 0.1, f"{share:.2f} of the reference are too much"


def run(verdict: str, stage: int, sampler: str, scheduler: str) -> None:
    case = make_case(stage)
    if verdict == "refused":
        with raises(ValueError, "euler" if sampler != "euler" else "sgm_uniform or simple"):
            sample_exactly(case, sampler, scheduler)
        return
    with collect_remarks() as said:
        end = sample_exactly(case, sampler, scheduler)
    if verdict == "works":
        compare_end(case, end)
    assert bool(said) == (verdict == "warned"), said


def check_every_sampler_and_scheduler_has_a_verdict():
    assert set(SAMPLERS) == set(comfy.samplers.SAMPLER_NAMES)
    assert set(SCHEDULERS) == set(comfy.samplers.SCHEDULER_NAMES)


def check_uncentered_noise_would_miss_the_end():
    """What the centered form is for: without it ancestral noise leaves the wrong latents."""
    case = make_case(2)
    case.model.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, "flashvideo")
    with raises(AssertionError, ""):
        compare_end(case, sample_exactly(case, "euler_ancestral", "simple"))


CASES: dict[str, Callable[[], None]] = {}
for name, verdicts in SAMPLERS.items():
    for stage, verdict in zip((1, 2), verdicts, strict=True):
        CASES[f"sampler {name} on stage {stage}"] = lambda v=verdict, s=stage, n=name: run(v, s, n, "simple")
for name, verdicts in SCHEDULERS.items():
    for stage, verdict in zip((1, 2), verdicts, strict=True):
        CASES[f"scheduler {name} on stage {stage}"] = lambda v=verdict, s=stage, n=name: run(v, s, "euler", n)
