"""Our weights under the names of diffusers and ComfyUI."""

import torch
from torch import Tensor, nn

from flashvideo_core.dit import Transformer
from flashvideo_core.weights.sources import match_names

PEERS = ("diffusers", "comfyui")
_BLOCK = {  # our layer -> diffusers', ComfyUI's; qkv and modulation are cut apart below
    "norm1": ("norm1.norm", "norm1.norm"),
    "norm2": ("norm2.norm", "norm2.norm"),
    "q_norm": ("attn1.norm_q", "norm_q"),
    "k_norm": ("attn1.norm_k", "norm_k"),
    "attn_out": ("attn1.to_out.0", "attn_out"),
    "mlp_up": ("ff.net.0.proj", "ff_proj"),
    "mlp_down": ("ff.net.2", "ff_out"),
}
_OUTSIDE = {
    "patch_embed": ("patch_embed.proj",) * 2,
    "text_embed": ("patch_embed.text_proj",) * 2,
    "time_embed.up": ("time_embedding.linear_1", "time_embedding_linear_1"),
    "time_embed.down": ("time_embedding.linear_2", "time_embedding_linear_2"),
    "norm_out": ("norm_final",) * 2,
    "head_norm": ("norm_out.norm",) * 2,
    "head_modulation": ("norm_out.linear",) * 2,
    "head": ("proj_out",) * 2,
}
_QKV = ("attn1.to_{}", "{}")
_BLOCKS = ("transformer_blocks", "blocks")


def vae_weights(ours: nn.Module, theirs: nn.Module) -> dict[str, Tensor]:
    """Our VAE's weights under diffusers' names, which ComfyUI has too."""
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    table, problems = match_names(shapes, "diffusers")
    assert not problems, problems
    state = ours.state_dict()
    return {source.weight: state[name] for name, source in table.items()}


def transformer_weights(dit: Transformer, peer: str) -> dict[str, Tensor]:
    """Our stage 1 under a peer's names."""
    which = PEERS.index(peer)
    out = _named_weights({names[which]: dit.get_submodule(layer) for layer, names in _OUTSIDE.items()})
    for i, block in enumerate(dit.blocks):
        out |= {f"{_BLOCKS[which]}.{i}.{name}": value for name, value in block_weights(block, peer).items()}
    return out


def block_weights(block: nn.Module, peer: str) -> dict[str, Tensor]:
    """Our block under a peer's names: q, k, v apart, and the modulation of attention and MLP apart."""
    which = PEERS.index(peer)
    out = _named_weights({names[which]: getattr(block, layer) for layer, names in _BLOCK.items()})
    for kind in ("weight", "bias"):
        m = getattr(block.modulation, kind).chunk(12)  # video attention, video MLP, text attention, text MLP
        out[f"norm1.linear.{kind}"] = torch.cat(m[0:3] + m[6:9])
        out[f"norm2.linear.{kind}"] = torch.cat(m[3:6] + m[9:12])
        for letter, matrix in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
            out[f"{_QKV[which].format(letter)}.{kind}"] = matrix
    return out


def _named_weights(layers: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{kind}": value for name, layer in layers.items() for kind, value in layer.state_dict().items()}
