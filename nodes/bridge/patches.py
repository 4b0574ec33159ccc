"""What ComfyUI's nodes and packs patch inside a transformer: blocks, the output of attention, rotary positions.

Honoured, under the names of ComfyUI's own transformers: `patches_replace["dit"][("double_block", i)]`,
`patches["attn1_output_patch"]`, `rope_options` and `stg_self_attn_blocks`. What patches anything else would change
nothing here and might cost a pass for it, so it is refused by name.
"""

import functools
from types import CellType

import comfy.ldm.modules.attention
import torch
from torch import Tensor

from ...flashvideo_core.attention import rope_rotations
from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.types import AroundBlock, BlockFn
from ...flashvideo_core.windows import Tile, Window, window_attention
from .types import Options, Patch

AXES = ("t", "y", "x")
HONOURED = {"attn1_output_patch"}
FOREIGN_CONDITIONING = ("control", "reference_latents", "concat_latent_image")


def check_patches(options: Options, config: TransformerConfig) -> None:
    """Raises InputError for patches in transformer_options that this transformer has no place for."""
    stage = f"stage {config.stage}"
    unknown = sorted({name for name, patches in options.get("patches", {}).items() if patches} - HONOURED)
    if unknown:
        raise InputError(
            f"a node before this one patches {', '.join(unknown)}, which the transformer of {stage} does not have; "
            "remove that node (docs/core-nodes.md lists what works)"
        )
    replaced = {name: blocks for name, blocks in options.get("patches_replace", {}).items() if blocks}
    foreign = sorted(set(replaced) - {"dit"})
    if foreign:
        raise InputError(
            f"a node before this one (PAG, SAG) replaces {', '.join(foreign)} of a U-Net, which {stage} does not have; "
            "LTXV Spatio-Temporal Guidance (STG) perturbs the attention of blocks that you name"
        )
    blocks = {number for kind, number in replaced.get("dit", ()) if kind == "double_block"}
    check_blocks(blocks, "dit" in replaced, "Skip Layer Guidance (double_layers)", config)
    stg = options.get("stg_self_attn_blocks")
    check_blocks(set(stg or ()), bool(stg), "Spatio-Temporal Guidance (blocks)", config)


def check_conditioning(options: Options, config: TransformerConfig) -> None:
    """Raises InputError for what nodes attach to a prompt and this transformer does not take: it would be ignored."""
    foreign = sorted(name for name in FOREIGN_CONDITIONING if options.get(name) is not None)
    if foreign:
        raise InputError(
            f"a node put {', '.join(foreign)} into the prompt's conditioning; stage {config.stage} takes text "
            "alone, and a clip to start from goes through FlashVideo Hand-off"
        )


def check_blocks(blocks: set[int], wanted: bool, node: str, config: TransformerConfig) -> None:
    """Raises InputError if blocks are patched, and none of them exists."""
    if wanted and blocks.isdisjoint(range(config.layers)):
        found = ", ".join(map(str, sorted(blocks))) or "none"
        raise InputError(
            f"{node} names the blocks {found}; stage {config.stage} has the blocks 0 to {config.layers - 1}"
        )


def describe_patches(options: Options, window: Window | None = None) -> str:
    """What differs from the plain network, as a text that differs with it; empty where nothing does.

    A compiled network is compiled again where this text is another: ComfyUI's TorchCompileModel switches off torch's
    guards on transformer_options, and would go on without a patch that came later.
    """
    blocks = options.get("patches_replace", {}).get("dit", {})
    patches = [f"{key}: {describe_function(blocks[key])}" for key in sorted(blocks, key=str)]
    patches += [describe_function(patch) for patch in options.get("patches", {}).get("attn1_output_patch", ())]
    patches += [f"{name}: {options[name]}" for name in ("rope_options", "stg_self_attn_blocks") if name in options]
    patches += [] if window is None else [f"window: {window}"]
    override = options.get("optimized_attention_override")
    return "; ".join(patches if override is None else [*patches, describe_function(override)])


def describe_function(function: Patch) -> str:
    """Its name, identity and the numbers it closes over; an identity alone may be given away again."""
    cells = [cell for cell in getattr(function, "__closure__", None) or () if cell != CellType()]  # not yet filled
    numbers = [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, (int, float, str))]
    return f"{getattr(function, '__qualname__', type(function).__name__)} {id(function)} {numbers}"


def bind_blocks(options: Options, text: int) -> AroundBlock | None:
    """The replacements of blocks as around_block of the transformer; None if there are none. text: number of tokens.

    A replacement gets {"img", "txt", "transformer_options"} and {"original_block": function of the same}, and returns
    "img" and, if it changed them, "txt".
    """
    replaced = options.get("patches_replace", {}).get("dit", {})
    if not replaced:
        return None

    def around_block(i: int, block: BlockFn, x: Tensor) -> Tensor:
        if ("double_block", i) not in replaced:
            return block(x)

        def original_block(args: Options) -> Options:
            return split(block(torch.cat([args["txt"], args["img"]], dim=1)))

        def split(x: Tensor) -> Options:
            return {"txt": x[:, :text], "img": x[:, text:]}

        args = {**split(x), "transformer_options": options}
        out = args | replaced[("double_block", i)](args, {"original_block": original_block})
        return torch.cat([out["txt"], out["img"]], dim=1)

    return around_block


def scaled_rope(options: Options, t: int, h: int, w: int, device: torch.device, text: int) -> Tensor | None:
    """Rotations at the positions that rope_options ask for; None where they are the released ones. h, w in tokens."""
    rope = options.get("rope_options")
    if rope is None:
        return None
    scale = tuple(rope.get(f"scale_{axis}", 1.0) for axis in AXES)
    shift = tuple(rope.get(f"shift_{axis}", 0.0) for axis in AXES)
    return rope_rotations(t, h, w, device, text, scale, shift)


def run_attention(q: Tensor, k: Tensor, v: Tensor, options: Options, tiles: list[Tile] | None = None) -> Tensor:
    """ComfyUI's attention of choice on [B, heads, L, 64], by tiles if there are any, with its patches.

    options["block_index"] says in which block. The patches get [B, L, heads * 64], as ComfyUI's attention returns it,
    with the video's tokens named in "img_slice".
    """
    if options["block_index"] in options.get("stg_self_attn_blocks", ()):
        return v
    attend = functools.partial(call_attention, options=options)
    out = attend(q, k, v) if tiles is None else window_attention(q, k, v, attend, tiles)
    patches = options.get("patches", {}).get("attn1_output_patch", ())
    if not patches:
        return out
    heads, out = q.shape[1], out.transpose(1, 2).flatten(2)
    for patch in patches:
        out = patch(out, options)
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)


def call_attention(q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
    """ComfyUI's attention of choice, which returns [B, L, heads * 64], on [B, heads, L, 64] -> the same shape."""
    heads = q.shape[1]
    out = comfy.ldm.modules.attention.optimized_attention(
        q, k, v, heads, skip_reshape=True, transformer_options=options
    )
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)
