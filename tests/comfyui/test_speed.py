"""FlashVideo Speed in a real ComfyUI, over its API: the latents are those of the command line's options."""

import pytest
import torch
from support.comfy_models import with_saved_latents

from flashvideo_core.checkpoint import open_weights
from flashvideo_core.cli.attention_options import named_refine
from flashvideo_core.cli.options import DRAFT, named_settings
from flashvideo_core.cli.parser import build_parser
from flashvideo_core.components import TINY, load_pipeline
from flashvideo_core.phases import decode_draft, sample_draft, sample_refine
from flashvideo_core.settings import DraftSettings, RefineSettings

pytestmark = pytest.mark.comfyui

PROMPT = "a large green square moves right over a white background"
COMMAND = ["generate", PROMPT, "--seed", "3", "--frames", "5", "--height", "32", "--width", "48", "--steps", "12"]
COMMAND += ["--cache", "0.3", "--size", "64x96", "--refine-steps", "4", "--refine-cfg", "4"]
COMMAND += ["--guided-evaluations", "1"]
COMMAND += ["--attention", "windows", "--window", "3x4", "--dense-evaluations", "1"]
SPEED = {"attention": "dense", "window": "custom", "window_width": 4, "window_height": 3}
SPEED |= {"dense_evaluations": 0, "guided_evaluations": 0, "cache": 0.0}
SPARSE = {"attention": "windows", "dense_evaluations": 1, "guided_evaluations": 1}
TOLERANCE = 5e-5  # that of the samplers' golden data


def make_by_command() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents of the draft and of the refined clip, and what it saves: fewer passes than without the options."""
    args, pipe = build_parser().parse_args(COMMAND), load_pipeline()
    settings = DraftSettings.from_defaults(pipe.stage1.config.defaults, **named_settings(args, DRAFT))
    draft, plan = sample_draft(pipe, PROMPT, settings)
    assert plan.passes.cond == plan.passes.uncond < settings.steps
    d = decode_draft(pipe, PROMPT, draft, settings, plan)
    numbers = named_refine(args) | {"seed": settings.seed}
    refined, plan = sample_refine(pipe, d, RefineSettings.from_defaults(pipe.stage2.config.defaults, **numbers))
    assert (plan.passes.cond, plan.passes.uncond) == (4, 1)
    return draft, refined


def test_the_node_makes_what_the_command_line_makes(server, prompt):
    for name in ("1", "2"):
        prompt[f"model{name}"]["inputs"] |= {"model_name": f"tiny stage {name} (embedded)", "weight_dtype": "fp32"}
    prompt["vae"]["inputs"]["vae_name"] = prompt["clip"]["inputs"]["clip_name"] = "tiny (embedded)"
    prompt["text"]["inputs"]["prompt"] = PROMPT
    speed = {"fast1": ("model1", {"cache": 0.3}), "fast2": ("model2", SPARSE)}
    for name, (model, changed) in speed.items():
        prompt[name] = {"class_type": "FlashVideoSpeed", "inputs": {"model": [model, 0], **SPEED, **changed}}
    first, second = (open_weights(TINY / f"stage{stage}.safetensors").config.defaults for stage in (1, 2))
    draft = {"steps": 12, "cfg": first.cfg, "guidance": first.guidance, "seed": 3, "frames": 5}
    prompt["stage1"]["inputs"] |= {**draft, "model": ["fast1", 0], "preset": "custom", "width": 48, "height": 32}
    refined = {"steps": 4, "cfg": 4.0, "shift": second.shift, "noise_step": second.ref_step, "seed": 3}
    prompt["stage2"]["inputs"] |= {**refined, "model": ["fast2", 0]}
    found = server.saved_latents(
        server.complete(with_saved_latents(prompt, draft=["stage1", 0], refined=["stage2", 0]))
    )
    for name, wanted in zip(("draft", "refined"), make_by_command(), strict=True):
        error = float((found[name] - wanted).abs().max() / wanted.abs().max())
        assert error < TOLERANCE, (name, error)


def test_what_does_not_suit_the_stage_is_said(server, prompt):
    prompt["fast"] = {"class_type": "FlashVideoSpeed", "inputs": {"model": ["model1", 0], **SPEED, **SPARSE}}
    prompt["stage1"]["inputs"]["model"] = ["fast", 0]
    result = server.run(prompt)
    assert result.error_node == "fast" and "this is stage 1, whose drafts are smaller than a window" in result.error
