"""The memory plan of a workflow, followed through its prompt before it runs."""

import json
import re

import comfy.model_management as mm
import torch

from .setting import PACK, pack

CPU = torch.device("cpu")
MODEL, STAGE1, DRAFT_DECODE, HANDOFF, STAGE2, DECODE = "2", "7", "8", "10", "11", "12"  # nodes of the workflow below


def read_prompt():
    return json.loads((PACK / "workflows/api/tiny-two-stage.json").read_text())


def plan(prompt):
    return pack("nodes.plan").plan_prompt(prompt)


def find_tokens(line):
    return int(re.search(r"(\d+) tokens", line)[1])


def check_every_node_that_samples_or_decodes_has_its_line():
    """As the core plans the clip, with the memory and the dtype that ComfyUI gives."""
    lines, configs = plan(read_prompt()), {}
    for name in ("stage1", "stage2", "vae"):
        path = pack("flashvideo_core.components").TINY / f"{name}.safetensors"
        configs[name] = pack("flashvideo_core.checkpoint").open_weights(path).config
    free = mm.get_free_memory(CPU)
    first, size = configs["stage1"].defaults, configs["stage2"].defaults.size
    plan_run = pack("flashvideo_core.memory").plan_run
    phases = plan_run(configs, (first.frames, *first.size), size, torch.float32, CPU, free)
    describe = pack("nodes.plan").describe_plan
    nodes = (STAGE1, DRAFT_DECODE, HANDOFF, STAGE2, DECODE)
    wanted = {node: describe(phase) for node, phase in zip(nodes, phases, strict=True)}
    assert lines == wanted, (lines, wanted)
    assert lines[DECODE].endswith("MB work, in one piece")


def check_sizes_and_files_are_followed_through_wires():
    """A frame count from a primitive node, weights in fp8, a LoRA between loader and stage, tiles by name."""
    prompt = read_prompt()
    before = plan(prompt)
    prompt["900"] = {"class_type": "PrimitiveInt", "inputs": {"value": 9}}
    prompt["901"] = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": [MODEL, 0], "lora_name": "x"}}
    prompt[STAGE1]["inputs"] |= {"frames": ["900", 0], "model": ["901", 0]}
    prompt[MODEL]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    prompt[DECODE]["inputs"]["tiling"] = "small"
    after = plan(prompt)
    assert find_tokens(before[STAGE1]) - find_tokens(after[STAGE1]) == 2 * 4 * 6, (before, after)
    assert find_tokens(before[STAGE2]) - find_tokens(after[STAGE2]) == 2 * 16 * 24
    weights = [float(lines[STAGE1].split()[0]) for lines in (after, before)]
    assert 0.2 < weights[0] / weights[1] < 0.3, (before, after)
    assert after[DECODE].endswith("in tiles of 256x256 pixels"), after


def check_windows_of_stage_2_take_the_memory_of_one():
    prompt = read_prompt()
    prompt[HANDOFF]["inputs"] |= {"target": "custom", "width": 1920, "height": 1088}
    prompt[STAGE2]["inputs"]["windows"] = "space"
    many = pack("nodes.plan").plan_stage_node(prompt, STAGE2)
    prompt[HANDOFF]["inputs"] |= {"width": 960, "height": 544}
    one = pack("nodes.plan").plan_stage_node(prompt, STAGE2)
    assert (many.work, many.tokens, many.windows) == (one.work, one.tokens, 9), (many, one)
    assert "in each of 9 windows" in many.describe() and "windows" not in one.describe()


def check_what_only_a_run_tells_has_no_line():
    """A value that is computed, a file that is not there, wires in a circle."""
    unknown, absent, circle = read_prompt(), read_prompt(), read_prompt()
    unknown[STAGE1]["inputs"]["frames"] = ["6", 0]
    assert plan(unknown) == {}
    absent["3"]["inputs"]["model_name"] = "../absent.safetensors"
    assert plan(absent).keys() == {STAGE1, DRAFT_DECODE, HANDOFF, DECODE}
    circle[HANDOFF]["inputs"]["latent"] = [HANDOFF, 0]
    circle["3"] = {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["3", 0]}}
    assert plan(circle).keys() == {STAGE1, DRAFT_DECODE}


def check_a_request_of_another_form_is_refused():
    check = pack("nodes.bridge.plans").check_prompt
    for wrong in (None, [], "x", {"1": None}, {"1": {"class_type": "x"}}, {"1": {"inputs": {}}}):
        try:
            check(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)
    check(read_prompt())
