"""Foreign weight names: the released checkpoints and diffusers' CogVideoX VAE, as tables.

The only place that knows them. A table maps a foreign module name to ours, `{}` stands for an index.
`recipes` consumes every name of a file once; what no table knows keeps its name and is reported by the
loader as unexpected. Source: golden README, section 4.
"""

import re
from dataclasses import dataclass

RELEASED_PREFIX = "model.diffusion_model."
RELEASED_LORA_ALPHA = 1  # never set by the released config, so rank 128 scales by 1/128
_UNUSED = re.compile(r"mixins\.pos_embed\.freqs_(sin|cos)|transformer\.position_embeddings\.weight")
_ADAPTER = re.compile(r"(.+)\.matrix_([AB])\.(\d+)")

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


@dataclass(frozen=True)
class Recipe:
    """How one of our tensors is made: a stored weight, an fp8 scale, LoRA pairs (A [r, in], B [out_k, r])."""

    weight: str
    scale: str | None = None
    lora: tuple[tuple[str, str], ...] = ()

    def misshapen(self, shapes: dict[str, tuple[int, ...]], wanted: tuple[int, ...]) -> list[str]:
        found = shapes[self.weight]
        problems = [] if found == wanted else [f"misshapen {self.weight} {list(found)}, {list(wanted)} is needed"]
        if self.lora:
            rows = sum(shapes[b][0] for _, b in self.lora)
            fits = all(shapes[a][0] == shapes[b][1] and shapes[a][1] == wanted[1] for a, b in self.lora)
            if rows != wanted[0] or not fits:
                problems.append(f"misshapen LoRA pairs {self.lora[0][0]} ...")
        return problems


def recipes(shapes: dict[str, tuple[int, ...]], origin: str, config) -> dict[str, Recipe]:
    """Our parameter names -> recipes, from all names of a file that are not skipped by name."""
    if origin == "ours":
        return _our_recipes(shapes)
    if origin == "diffusers":
        return _renamed(shapes, _diffusers_vae())
    if any(name.startswith(RELEASED_PREFIX) for name in shapes):
        return _released_transformer(shapes)
    return _renamed({name: s for name, s in shapes.items() if not name.startswith("loss")}, _released_vae())


def _our_recipes(shapes) -> dict[str, Recipe]:
    scales = {name.removesuffix("_scale"): name for name in shapes if name.endswith(".weight_scale")}
    names = [name for name in shapes if not name.endswith((".weight_scale", ".comfy_quant"))]
    return {name: Recipe(name, scales.get(name)) for name in names}


def _released_transformer(shapes) -> dict[str, Recipe]:
    table = _Table(TRANSFORMER)
    weights, adapters = {}, {}
    for full in shapes:
        name = full.removeprefix(RELEASED_PREFIX)
        if name == full or _UNUSED.fullmatch(name):
            continue
        if match := _ADAPTER.fullmatch(name):
            layer, side, k = match.groups()
            adapters.setdefault(f"{layer}.weight", {})[side, int(k)] = full
        else:
            weights[name.replace(".original.", ".")] = full
    out = {}
    for name, full in weights.items():
        parts = adapters.pop(name, {})
        pairs = tuple((parts.pop(("A", k), ""), parts.pop(("B", k), "")) for k in range(len(parts) // 2))
        if parts or any("" in pair for pair in pairs):
            raise ValueError(f"the LoRA of {name} has a matrix without its partner")
        out[table.ours(name)] = Recipe(full, lora=pairs)
    for left in adapters.values():
        out |= {full: Recipe(full) for full in left.values()}  # no base weight: reported as unexpected
    return out


def _renamed(shapes, table: dict[str, str]) -> dict[str, Recipe]:
    names = _Table(table)
    return {names.ours(name): Recipe(name) for name in shapes}


class _Table:
    """Renames by a table of patterns; an unknown name stays as it is."""

    def __init__(self, table: dict[str, str]):
        self.patterns = [
            (re.compile(re.escape(foreign).replace(r"\{\}", r"(\d+)") + r"\.(weight|bias)"), target)
            for foreign, target in table.items()
        ]

    def ours(self, name: str) -> str:
        for pattern, target in self.patterns:
            if match := pattern.fullmatch(name):
                *indices, kind = match.groups()
                return f"{target.format(*indices)}.{kind}"
        return name
