"""Foreign weight names: the released checkpoints and diffusers' CogVideoX VAE, as tables (LoRA: lora_keys.py).

The only place that knows them. A table maps a foreign module name to ours, `{}` stands for an index.
`describe` tells what a file is; `match_names` consumes every name of it once, and reports what no table knows,
what two tables' entries claim, and LoRA matrices without a partner. Source: golden README, section 4.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..attention import HEAD_DIM
from ..config import STAGE1, STAGE2, TransformerConfig, VAEConfig
from ..config import VAE as RELEASED_VAE
from ..errors import InputError

Shapes = dict[str, tuple[int, ...]]

RELEASED_PREFIX = "model.diffusion_model."
RELEASED_OUTER = ("module", "state_dict")  # under one of them lies the table of tensors
RELEASED_LORA_ALPHA = 1  # never set by the released config, so rank 128 scales by 1/128
_UNUSED = re.compile(r"mixins\.pos_embed\.freqs_(sin|cos)|transformer\.position_embeddings\.weight")
_ADAPTER = re.compile(r"(.+)\.matrix_([AB])\.(\d+)")
_VAE_BLOCK = {
    "released": re.compile(r"encoder\.down\.(\d+)\.block\.(\d+)\.conv1\.conv\.weight"),
    "diffusers": re.compile(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.conv\.weight"),
}
SCALE, QUANT = ".weight_scale", ".comfy_quant"  # what ComfyUI keeps beside an fp8 weight

TRANSFORMER = {
    "mixins.patch_embed.proj": "patch_embed",
    "mixins.patch_embed.text_proj": "text_embed",
    "time_embed.0": "time_embed.up",
    "time_embed.2": "time_embed.down",
    "time_size_embedding.0": "frames_embed.up",
    "time_size_embedding.2": "frames_embed.down",
    "ref_step_time_embedding.0": "ref_embed.up",
    "ref_step_time_embedding.2": "ref_embed.down",
    "mixins.adaln_layer.adaLN_modulations.{}.1": "blocks.{}.modulation",
    "mixins.adaln_layer.query_layernorm_list.{}": "blocks.{}.q_norm",
    "mixins.adaln_layer.key_layernorm_list.{}": "blocks.{}.k_norm",
    "transformer.layers.{}.input_layernorm": "blocks.{}.norm1",
    "transformer.layers.{}.post_attention_layernorm": "blocks.{}.norm2",
    "transformer.layers.{}.attention.query_key_value": "blocks.{}.qkv",
    "transformer.layers.{}.attention.dense": "blocks.{}.attn_out",
    "transformer.layers.{}.mlp.dense_h_to_4h": "blocks.{}.mlp_up",
    "transformer.layers.{}.mlp.dense_4h_to_h": "blocks.{}.mlp_down",
    "transformer.final_layernorm": "norm_out",
    "mixins.final_layer.norm_final": "head_norm",
    "mixins.final_layer.adaLN_modulation.1": "head_modulation",
    "mixins.final_layer.linear": "head",
}

_VAE_ENDS = {
    "encoder.conv_in.conv": "encoder.conv_in.conv",
    "encoder.norm_out": "encoder.norm_out.norm",
    "encoder.conv_out.conv": "encoder.conv_out.conv",
    "decoder.conv_in.conv": "decoder.conv_in.conv",
    "decoder.norm_out.norm_layer": "decoder.norm_out.norm",
    "decoder.norm_out.conv_y.conv": "decoder.norm_out.scale",
    "decoder.norm_out.conv_b.conv": "decoder.norm_out.bias",
    "decoder.conv_out.conv": "decoder.conv_out.conv",
}
_RES_BLOCK = {
    "norm{}": "norm{}.norm",
    "norm{}.norm_layer": "norm{}.norm",
    "norm{}.conv_y.conv": "norm{}.scale",
    "norm{}.conv_b.conv": "norm{}.bias",
    "conv{}.conv": "conv{}.conv",
    "nin_shortcut": "skip",
    "conv_shortcut": "skip",
}


def _blocks(foreign: str, ours: str) -> dict[str, str]:
    return {f"{foreign}.{name}": f"{ours}.{target}" for name, target in _RES_BLOCK.items()}


def _released_vae() -> dict[str, str]:
    table = {**_VAE_ENDS, "encoder.down.{}.downsample.conv": "encoder.levels.{}.resample.conv"}
    table |= _blocks("encoder.down.{}.block.{}", "encoder.levels.{}.blocks.{}")
    for i in range(2):
        table |= _blocks(f"encoder.mid.block_{i + 1}", f"encoder.mid.{i}")
        table |= _blocks(f"decoder.mid.block_{i + 1}", f"decoder.mid.{i}")
    for up in range(4):  # the released decoder runs up.3 first; our levels are in running order
        table |= _blocks(f"decoder.up.{up}.block.{{}}", f"decoder.levels.{3 - up}.blocks.{{}}")
        table[f"decoder.up.{up}.upsample.conv"] = f"decoder.levels.{3 - up}.resample.conv"
    return table


def _diffusers_vae() -> dict[str, str]:
    table = dict(_VAE_ENDS)
    for side, part, resample in (("encoder", "down_blocks", "downsamplers"), ("decoder", "up_blocks", "upsamplers")):
        table |= _blocks(f"{side}.mid_block.resnets.{{}}", f"{side}.mid.{{}}")
        table |= _blocks(f"{side}.{part}.{{}}.resnets.{{}}", f"{side}.levels.{{}}.blocks.{{}}")
        table[f"{side}.{part}.{{}}.{resample}.0.conv"] = f"{side}.levels.{{}}.resample.conv"
    return table


def relevant(names: Iterable[str]) -> list[str]:
    """The names of a released file that count. Skipped by name: other modules, unused buffers, the VAE's loss."""
    names = list(names)
    if any(name.startswith(RELEASED_PREFIX) for name in names):
        return [n for n in names if n.startswith(RELEASED_PREFIX) and not _UNUSED.fullmatch(_bare(n))]
    return [n for n in names if not n.startswith("loss")]


def describe(shapes: Shapes) -> tuple[str, TransformerConfig | VAEConfig]:
    """Origin and config of a foreign file, read from names and shapes alone.

    Raises ValueError (without the file's name) for a file that holds neither.
    """
    try:
        if any(name.startswith(RELEASED_PREFIX) for name in shapes):
            return "released", _transformer_config({_bare(name): shape for name, shape in shapes.items()})
        for origin, pattern in _VAE_BLOCK.items():
            blocks = {m.groups(): shape for name, shape in shapes.items() if (m := pattern.fullmatch(name))}
            if blocks:
                return origin, _vae_config(blocks, shapes["encoder.conv_in.conv.weight"][0])
    except KeyError as error:
        raise InputError(f"misses {error.args[0]}, without which its sizes are unknown") from None
    except (IndexError, ZeroDivisionError):
        raise InputError("has tensors of the right names and impossible shapes") from None
    raise InputError(f"holds no FlashVideo transformer and no CogVideoX VAE, but {len(shapes)} other tensors")


def _transformer_config(shapes: Shapes) -> TransformerConfig:
    second = any(name.startswith("ref_step_time_embedding.") for name in shapes)
    hidden = shapes["mixins.patch_embed.proj.weight"][0]
    if hidden < HEAD_DIM or hidden % HEAD_DIM:
        raise InputError(f"has a hidden size of {hidden}, which is no multiple of {HEAD_DIM}")
    return replace(
        STAGE2 if second else STAGE1,
        layers=len({m[1] for name in shapes if (m := re.match(r"transformer\.layers\.(\d+)\.", name))}),
        hidden=hidden,
        time_dim=shapes["time_embed.0.weight"][0],
        text_dim=shapes["mixins.patch_embed.text_proj.weight"][1],
    )


def _vae_config(blocks: dict[tuple[str, str], tuple[int, ...]], channels: int) -> VAEConfig:
    """blocks: (level, block) -> shape of an encoder convolution."""
    widths = [blocks[str(level), "0"][0] for level in range(4)]
    multipliers = tuple(width // channels for width in widths)
    count = len({block for level, block in blocks if level == "0"})
    return replace(RELEASED_VAE, channels=channels, multipliers=multipliers, blocks=count)


@dataclass(frozen=True)
class TensorSource:
    """How one of our tensors is made: a stored weight, an fp8 scale, LoRA pairs (A [r, in], B [out_k, r])."""

    weight: str
    scale: str | None = None
    lora: tuple[tuple[str, str], ...] = ()

    def find_misfits(self, shapes: Shapes, wanted: tuple[int, ...]) -> list[str]:
        found, problems = shapes[self.weight], []
        if found != wanted:
            problems.append(f"misshapen {self.weight} {list(found)} instead of {list(wanted)}")
        if self.scale and math.prod(shapes[self.scale]) != 1:
            problems.append(f"misshapen {self.scale} {list(shapes[self.scale])} instead of one number")
        if self.lora and not self._lora_fits(shapes, wanted):
            problems.append(f"misshapen LoRA {self.lora[0][0]} ... for {list(wanted)}")
        return problems

    def _lora_fits(self, shapes: Shapes, wanted: tuple[int, ...]) -> bool:
        pairs = [(shapes[a], shapes[b]) for a, b in self.lora]
        if any(len(shape) != 2 for pair in pairs for shape in pair):
            return False
        rank = pairs[0][0][0]
        inner = all(a == (rank, wanted[-1]) and b[1] == rank for a, b in pairs)
        return inner and sum(b[0] for _, b in pairs) == wanted[0]


def match_names(shapes: Shapes, origin: str) -> tuple[dict[str, TensorSource], list[str]]:
    """Our parameter names -> their sources, and what is wrong with the names, one short sentence each."""
    if origin == "ours":
        return _match_ours(shapes)
    if origin == "diffusers":
        return _match_by_table({name: name for name in shapes}, _Table(_diffusers_vae()))
    names = relevant(shapes)
    if names and names[0].startswith(RELEASED_PREFIX):
        return _match_released_transformer(names)
    return _match_by_table({name: name for name in names}, _Table(_released_vae()))


def _match_ours(shapes: Shapes) -> tuple[dict[str, TensorSource], list[str]]:
    extra = {name for name in shapes if name.endswith((SCALE, QUANT))}
    weights = [name for name in shapes if name not in extra]
    out = {name: TensorSource(name, scale if (scale := f"{name}_scale") in extra else None) for name in weights}
    homeless = [name for name in extra if name.removesuffix(SCALE).removesuffix(QUANT) + ".weight" not in out]
    return out, [f"unexpected {name}" for name in homeless]


def _match_released_transformer(names: list[str]) -> tuple[dict[str, TensorSource], list[str]]:
    table, adapters, weights = _Table(TRANSFORMER), {}, {}
    for name in names:
        if match := _ADAPTER.fullmatch(_bare(name)):
            layer, side, k = match.groups()
            adapters.setdefault(layer, {})[side, int(k)] = name
        else:
            weights[name] = _bare(name).replace(".original.", ".")
    out, problems = _match_by_table(weights, table)
    originals = {_bare(name).removesuffix(".original.weight") for name in weights if ".original.weight" in name}
    problems += [f"missing {layer}.matrix_A.0" for layer in sorted(originals - adapters.keys())]
    for layer, matrices in adapters.items():
        ours, count = table.ours(f"{layer}.weight"), len(matrices) // 2
        pairs = tuple((matrices.get(("A", k)), matrices.get(("B", k))) for k in range(count))
        if layer not in originals or ours not in out:
            problems += [f"unexpected {name}" for name in matrices.values()]
        elif len(matrices) % 2 or any(None in pair for pair in pairs):
            problems.append(f"missing a LoRA matrix of {layer}")
        else:
            out[ours] = replace(out[ours], lora=pairs)
    return out, problems


def _match_by_table(names: dict[str, str], table: "_Table") -> tuple[dict[str, TensorSource], list[str]]:
    """names: full foreign name -> the name that the table knows. No two may become the same."""
    out, problems = {}, []
    for full, name in names.items():
        ours = table.ours(name)
        if ours is None or ours in out:
            problems.append(f"unexpected {full}")
        else:
            out[ours] = TensorSource(full)
    return out, problems


def _bare(name: str) -> str:
    return name.removeprefix(RELEASED_PREFIX)


class _Table:
    """Renames by a table of patterns."""

    def __init__(self, table: dict[str, str]):
        self.patterns = [
            (re.compile(re.escape(foreign).replace(r"\{\}", r"(\d+)") + r"\.(weight|bias)"), target)
            for foreign, target in table.items()
        ]

    def ours(self, name: str) -> str | None:
        """Our name; None for a name that no pattern knows."""
        for pattern, target in self.patterns:
            if match := pattern.fullmatch(name):
                *indices, kind = match.groups()
                return f"{target.format(*indices)}.{kind}"
        return None
