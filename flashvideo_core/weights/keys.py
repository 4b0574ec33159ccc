"""Foreign names of weights, as tables onto ours: the released checkpoints, diffusers' CogVideoX VAE, TAEHV's decoders.

The only place that knows them (LoRA: lora_keys.py). A table maps a foreign module name to ours, `{}` stands for an
index. Source: docs/released-model.md 4; of TAEHV: github.com/madebyollin/taehv.
"""

import re
from itertools import product

Shapes = dict[str, tuple[int, ...]]
"""The shapes of a file's tensors by name."""

RELEASED_PREFIX = "model.diffusion_model."
RELEASED_OUTER = ("module", "state_dict")  # under one of them lies the table of tensors
RELEASED_LORA_ALPHA = 1  # never set by the released config, so rank 128 scales by 1/128
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


def _rename_block(foreign: str, ours: str) -> dict[str, str]:
    """The entries of a residual block, whose prefixes are given."""
    return {f"{foreign}.{name}": f"{ours}.{target}" for name, target in _RES_BLOCK.items()}


def _make_released_vae() -> dict[str, str]:
    table = {**_VAE_ENDS, "encoder.down.{}.downsample.conv": "encoder.levels.{}.resample.conv"}
    table |= _rename_block("encoder.down.{}.block.{}", "encoder.levels.{}.blocks.{}")
    for i in range(2):
        table |= _rename_block(f"encoder.mid.block_{i + 1}", f"encoder.mid.{i}")
        table |= _rename_block(f"decoder.mid.block_{i + 1}", f"decoder.mid.{i}")
    for up in range(4):  # the released decoder runs up.3 first; our levels are in running order
        table |= _rename_block(f"decoder.up.{up}.block.{{}}", f"decoder.levels.{3 - up}.blocks.{{}}")
        table[f"decoder.up.{up}.upsample.conv"] = f"decoder.levels.{3 - up}.resample.conv"
    return table


def _make_diffusers_vae() -> dict[str, str]:
    table = dict(_VAE_ENDS)
    for side, levels, resample in (("encoder", "down_blocks", "downsamplers"), ("decoder", "up_blocks", "upsamplers")):
        table |= _rename_block(f"{side}.mid_block.resnets.{{}}", f"{side}.mid.{{}}")
        table |= _rename_block(f"{side}.{levels}.{{}}.resnets.{{}}", f"{side}.levels.{{}}.blocks.{{}}")
        table[f"{side}.{levels}.{{}}.{resample}.0.conv"] = f"{side}.levels.{{}}.resample.conv"
    return table


def _make_small_decoder() -> dict[str, str]:
    """TAEHV numbers all layers of its decoder, those without weights too; six of them make a level."""
    table = {"decoder.1": "conv_in", "decoder.22": "conv_out"}
    for level in range(3):
        first = 3 + 6 * level
        for block, conv in product(range(3), range(3)):
            table[f"decoder.{first + block}.conv.{2 * conv}"] = f"levels.{level}.blocks.{block}.convs.{conv}"
        table[f"decoder.{first + 4}.conv"] = f"levels.{level}.grow"
        table[f"decoder.{first + 5}"] = f"levels.{level}.enlarge"
    return table


RELEASED_VAE = _make_released_vae()
DIFFUSERS_VAE = _make_diffusers_vae()
SMALL_DECODER = _make_small_decoder()


def drop_prefix(name: str) -> str:
    """A name of a released transformer without the prefix that all have."""
    return name.removeprefix(RELEASED_PREFIX)


class KeyTable:
    """Renames by one of the tables."""

    def __init__(self, table: dict[str, str]):
        self.patterns = [
            (re.compile(re.escape(foreign).replace(r"\{\}", r"(\d+)") + r"\.(weight|bias)"), target)
            for foreign, target in table.items()
        ]

    def find_ours(self, name: str) -> str | None:
        """Our name; None for a name that no pattern knows."""
        for pattern, target in self.patterns:
            if match := pattern.fullmatch(name):
                *indices, kind = match.groups()
                return f"{target.format(*indices)}.{kind}"
        return None
