"""The memory plan of a workflow before it runs, as `info --plan` has it: a line for each node that samples or decodes.

A prompt is followed from a node back to the files and sizes that it will get. What only a run can tell (the size of a
video, a value that another pack computes) leaves its node without a line.
"""

from collections.abc import Callable

from ..flashvideo_core.cli.tables import format_bytes
from ..flashvideo_core.errors import InputError
from ..flashvideo_core.memory import PhasePlan
from ..flashvideo_core.sizes import floor_size
from .bridge.plans import plan_sampling, plan_vae
from .bridge.types import Prompt
from .inputs import target_size
from .loaders import WEIGHT_DTYPES, find_file
from .stages import DRAFT_SIZES

LATENTS = ("latent", "samples", "latent_image")  # inputs whose size a node's latent has
ClipSize = tuple[int, int, int]


class UnknownError(Exception):
    """What only a run can tell."""


def plan_prompt(prompt: Prompt) -> dict[str, str]:
    """The line of each node of ours, by node id."""
    lines = {}
    for node_id, node in prompt.items():
        if node["class_type"] in PLANNERS:
            try:
                lines[node_id] = describe_plan(PLANNERS[node["class_type"]](prompt, node_id))
            except (
                UnknownError,
                InputError,
                OSError,
                RecursionError,
            ):  # a wrong input is said when the workflow is queued
                continue
    return lines


def describe_plan(plan: PhasePlan) -> str:
    return f"{format_bytes(plan.weights)} weights + {format_bytes(plan.work)} work, {plan.describe()}"


def plan_stage_node(prompt: Prompt, node_id: str) -> PhasePlan:
    clip = find_clip(prompt, node_id)
    loader = find_loader(prompt, node_id, "model", "FlashVideoModelLoader")
    path = find_file("diffusion_models", read_input(prompt, loader, "model_name"))
    dtype = WEIGHT_DTYPES[read_input(prompt, loader, "weight_dtype")]
    windows = read_input(prompt, node_id, "windows") if "windows" in prompt[node_id]["inputs"] else "off"
    return plan_sampling(path, dtype, clip, windows)


def plan_handoff_node(prompt: Prompt, node_id: str) -> PhasePlan:
    return plan_vae(find_vae(prompt, node_id), "encode", find_clip(prompt, node_id))


def plan_decode_node(prompt: Prompt, node_id: str) -> PhasePlan:
    clip = find_clip(prompt, find_source(prompt, node_id, "latent"))
    return plan_vae(find_vae(prompt, node_id), "decode", clip, read_input(prompt, node_id, "tiling"))


PLANNERS: dict[str, Callable[[Prompt, str], PhasePlan]] = {
    "FlashVideoStage1": plan_stage_node,
    "FlashVideoHandoff": plan_handoff_node,
    "FlashVideoStage2": plan_stage_node,
    "FlashVideoDecode": plan_decode_node,
}


def find_clip(prompt: Prompt, node_id: str) -> ClipSize:
    """(frames, height, width) of the latent that a node gives."""
    kind = prompt[node_id]["class_type"]
    if kind == "FlashVideoStage1":
        custom = read_input(prompt, node_id, "height"), read_input(prompt, node_id, "width")
        size = DRAFT_SIZES.get(read_input(prompt, node_id, "preset"), custom)
        return read_input(prompt, node_id, "frames"), *floor_size(size)
    source = next((name for name in LATENTS if name in prompt[node_id]["inputs"]), None)
    if source is None:
        raise UnknownError
    frames, *draft = find_clip(prompt, find_source(prompt, node_id, source))
    if kind != "FlashVideoHandoff":
        return frames, *draft
    custom = read_input(prompt, node_id, "height"), read_input(prompt, node_id, "width")
    return frames, *floor_size(target_size(read_input(prompt, node_id, "target"), tuple(draft), custom))


def find_vae(prompt: Prompt, node_id: str) -> str:
    loader = find_loader(prompt, node_id, "vae", "FlashVideoVAELoader")
    return find_file("vae", read_input(prompt, loader, "vae_name"))


def find_loader(prompt: Prompt, node_id: str, name: str, kind: str) -> str:
    """The loader from which a node's input comes, through nodes that change what was loaded."""
    for _ in prompt:
        node_id = find_source(prompt, node_id, name)
        if prompt[node_id]["class_type"] == kind:
            return node_id
    raise UnknownError  # wired in a circle


def find_source(prompt: Prompt, node_id: str, name: str) -> str:
    """The node that a node's input is wired to."""
    value = prompt[node_id]["inputs"].get(name)
    if not isinstance(value, list) or str(value[0]) not in prompt:
        raise UnknownError
    return str(value[0])


def read_input(prompt: Prompt, node_id: str, name: str) -> int | float | str:
    """The value of an input, or of the primitive node that it is wired to."""
    if isinstance(prompt[node_id]["inputs"].get(name), list):
        node_id, name = find_source(prompt, node_id, name), "value"
    value = prompt[node_id]["inputs"].get(name)
    if value is None or isinstance(value, list):
        raise UnknownError
    return value
