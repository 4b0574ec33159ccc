"""FlashVideo Speed on our MODEL: it saves what the core saves, in our samplers and in ComfyUI's, and nothing stays."""

from typing import Any

import comfy.sample
import comfy_extras.nodes_apg as apg
import comfy_extras.nodes_custom_sampler as custom
import comfy_extras.nodes_easycache as caches
import comfy_extras.nodes_torch_compile as torch_compile
import torch
from torch import Tensor

from .by_hand import Case, count_calls, count_passes, denoise, euler, guided, make_case, sample
from .setting import SAMPLING, STAGE1, assert_close, conditioning, load_stage, pack, raises

STEPS = 12  # of stage 1: enough for a cache to save some


def speed_up(model: Any, **numbers: Any) -> Any:
    if "window" in numbers:
        numbers["window"] = pack("flashvideo_core.windows").Window(*numbers["window"])
    return pack("nodes.bridge.savings").apply_speed(model, pack("nodes.bridge.speed").Speed(**numbers))


def draft(model: Any, drafts: int = 1, guidance: str = "constant") -> Tensor:
    """What the node Stage 1 makes."""
    settings = pack("flashvideo_core.settings").DraftSettings(9, 48, 64, STEPS, 5.0, guidance, 3)
    positive, negative = (conditioning(txt) for txt in text())
    return pack("nodes.bridge.runs").sample_drafts(model, positive, negative, settings, drafts)


def text() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(2)
    return torch.randn(1, 10, 32, generator=g), torch.randn(1, 10, 32, generator=g)


def draft_by_core(passes: list[int], seed: int = 3, guidance: str = "constant", **options: Any) -> Tensor:
    sampling, (txt, negative) = pack("flashvideo_core.sampling"), text()
    dit, draw_noise = pack("flashvideo_core.checkpoint").load_transformer(STAGE1), sampling.make_draw_noise(seed)
    numbers = {"steps": STEPS, "cfg": 5.0, "guidance": guidance, "negative": negative, **options}
    noise = draw_noise(torch.empty(1, 16, 3, 6, 8))
    return sampling.sample_stage1(
        dit, noise, txt, draw_noise=draw_noise, on_pass=lambda n: passes.append(len(n)), **numbers
    )


def check_the_cache_of_stage_1_is_that_of_the_core():
    model = load_stage(STAGE1)
    for guidance in ("constant", "released"):
        cached, passes = speed_up(model, cache=0.5), []
        with count_passes(cached) as counted:
            ours = draft(cached, guidance=guidance)
        assert_close(ours, draft_by_core(passes, guidance=guidance, cache=0.5), SAMPLING)
        assert counted == passes and len(passes) < STEPS, (counted, passes)


def check_every_draft_has_a_cache_of_its_own():
    model, passes = speed_up(load_stage(STAGE1), cache=0.5), []
    first, second = draft(model, drafts=2).split(1)
    assert_close(first, draft(model), 0)
    assert_close(second, draft_by_core(passes, seed=4, cache=0.5), SAMPLING)
    assert "flashvideo_cache" not in model.model_options["transformer_options"]


def check_the_cache_serves_comfyuis_samplers_and_a_compiled_network():
    case = make_case(1)
    cached = speed_up(case.model, cache=50.0)
    with count_passes(cached) as counted:
        out = sample_euler(case, cached)
    assert counted == [2] * 5, counted  # of eight: the first five, and the rest is below such a threshold
    compiled = torch_compile.TorchCompileModel.execute(cached, "eager")[0]
    for _ in range(2):
        with count_calls(compiled) as calls:
            assert_close(sample_euler(case, compiled), out, SAMPLING)
        assert len(calls) == 8


def sample_euler(case: Case, model: Any) -> Tensor:
    """ComfyUI's KSampler in eight steps."""
    args = (model, case.noise, 8, 5.0, "euler", "simple", conditioning(case.txt), conditioning(case.negative), case.z)
    return comfy.sample.sample(*args, disable_pbar=True, seed=7)


def check_the_first_evaluations_are_guided():
    """ComfyUI's KSampler on stage 2, by hand: guidance in the first two steps of four."""
    case = make_case(2)
    model = speed_up(case.model, guided_evaluations=2)

    def denoiser(x: Tensor, sigma: float, step: int) -> Tensor:
        return guided(case)(x, sigma, step) if step < 2 else denoise(case, x, sigma, case.txt)

    with count_passes(model) as counted:
        ours = sample(case, model)
    assert counted == [2, 2, 1, 1], counted
    assert_close(ours, euler(case, denoiser), SAMPLING)
    every = speed_up(case.model, guided_evaluations=9)
    assert torch.equal(sample(case, every), sample(case, case.model))


def check_between_two_sigmas_is_the_step_of_the_larger_one():
    """Heun's method evaluates each step twice: at its own sigma and at the next."""
    case = make_case(2)
    with count_passes(speed_up(case.model, guided_evaluations=1)) as counted:
        sample(case, speed_up(case.model, guided_evaluations=1), "heun")
    assert counted == [2, 1, 1, 1, 1, 1, 1], counted


def check_guidance_of_other_nodes_ends_with_it():
    """APG compares both branches by a function before guidance; after the first step there is nothing to compare."""
    case = make_case(2)
    model = speed_up(apg.APG.execute(case.model, 1.0, 5.0, 0.0)[0], guided_evaluations=1)
    with count_passes(model) as counted:
        sample(case, model)
    assert counted == [2, 1, 1, 1], counted


def check_all_of_stage_2_is_that_of_the_core():
    case, sampling = make_case(2), pack("flashvideo_core.sampling")
    model = speed_up(case.model, window=(2, 3), dense_evaluations=1, guided_evaluations=2)
    settings = pack("flashvideo_core.settings").RefineSettings(64, 64, 4, 5.0, 2.5, 675, 7)
    positive, negative = conditioning(case.txt), conditioning(case.negative)
    ours = pack("nodes.bridge.runs").refine_latents(model, positive, negative, case.z, settings)
    numbers = {"cfg": 5.0, "dense_evaluations": 1, "guided_evaluations": 2}
    numbers["window"] = pack("flashvideo_core.windows").Window(2, 3)
    noise = sampling.make_draw_noise(7)(case.z)
    wanted = sampling.sample_stage2(case.dit, case.z, case.txt, noise=noise, negative=case.negative, **numbers)
    assert_close(ours, wanted, SAMPLING)


def check_the_last_speed_of_several_counts():
    case = make_case(2)
    model = speed_up(speed_up(case.model, guided_evaluations=1, window=(2, 3)), guided_evaluations=3)
    with count_passes(model) as counted:
        out = sample(case, model)
    assert counted == [2, 2, 2, 1], counted
    assert torch.equal(out, sample(case, speed_up(case.model, guided_evaluations=3)))
    assert torch.equal(sample(case, speed_up(model)), sample(case, case.model))


def check_easy_cache_beside_it():
    """Of stage 2, where it then saves nothing; of stage 1 there is one cache."""
    case, drafts = make_case(2), make_case(1)
    model = caches.EasyCacheNode.execute(speed_up(case.model, guided_evaluations=1), 3.0, 0.0, 1.0, False)[0]
    with count_passes(model) as counted:
        assert torch.isfinite(sample(case, model)).all()
    assert counted == [2, 1, 1, 1], counted  # EasyCache decides by the first branch of a batch, which has ended
    both = caches.EasyCacheNode.execute(speed_up(drafts.model, cache=0.1), 3.0, 0.0, 1.0, False)[0]
    with raises(ValueError, "EasyCache and the cache of FlashVideo Speed save the same evaluations"):
        sample(drafts, both)


def check_what_does_not_suit_is_refused():
    first, second = load_stage(STAGE1), make_case(2)
    for numbers in ({"window": (24, 40)}, {"guided_evaluations": 1}, {"window": (24, 40), "cache": 0.1}):
        with raises(ValueError, "this is stage 1, whose drafts are smaller than a window"):
            speed_up(first, **numbers)
    with raises(ValueError, "cache is for stage 1"):
        speed_up(second.model, cache=0.1)
    with raises(ValueError, "dense_evaluations is 1, but all are dense"):
        speed_up(second.model, dense_evaluations=1)
    model = speed_up(second.model, guided_evaluations=1)
    dual = custom.Guider_DualCFG(model)
    dual.set_conds(conditioning(second.txt), conditioning(second.txt), conditioning(second.negative))
    dual.set_cfg(5.0, 3.0)
    with raises(ValueError, "Guider_DualCFG guides by more than one scale"):
        sample(second, dual)


def check_a_basic_guider_has_nothing_to_end():
    case = make_case(2)
    model = speed_up(case.model, guided_evaluations=1)
    basic = custom.Guider_Basic(model)
    basic.set_conds(conditioning(case.txt))
    with count_passes(model) as counted:
        sample(case, basic)
    assert counted == [1, 1, 1, 1], counted
