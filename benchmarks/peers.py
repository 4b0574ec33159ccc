"""Other implementations of the same networks, given our weights, as workers of the bench.

    python benchmarks/peers.py PART SIZE LATENT NAME DEVICE DTYPE      # as flashvideo_core/bench/worker.py

Apart from the package, which imports neither ComfyUI nor diffusers.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from flashvideo_core.attention import rope_table
from flashvideo_core.bench.comfyui import comfyui_path
from flashvideo_core.bench.worker import main
from flashvideo_core.config import VAEConfig
from flashvideo_core.dit import Transformer
from flashvideo_core.weights.keys import match_names

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


def runner(part: str, ours: nn.Module, name: str) -> tuple[Callable, Callable]:
    """(run, run_probe) of a peer with our weights; both functions take `make_inputs`' tuple.

    They differ for ComfyUI's decode, which as shipped rolls over all frames in groups of its own.
    """
    if part == "dit":
        return (_transformer(ours, name),) * 2
    network = _autoencoder(ours.config, name)
    load(network, vae_weights(ours, network))
    if name == "comfyui":
        probe = network._decode_batched if part == "vae-decode" else network.encode
        return network.decode if part == "vae-decode" else network.encode, probe
    if part == "vae-decode":
        return (lambda z: network.decode(z).sample,) * 2
    return (lambda frames: network.encode(frames).latent_dist.mean,) * 2


def load(network: nn.Module, state: dict[str, Tensor]) -> None:
    """The tensors themselves become the parameters: nothing is copied."""
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval()


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
    out = _named({names[which]: dit.get_submodule(layer) for layer, names in _OUTSIDE.items()})
    for i, block in enumerate(dit.blocks):
        out |= {f"{_BLOCKS[which]}.{i}.{name}": value for name, value in block_weights(block, peer).items()}
    return out


def block_weights(block: nn.Module, peer: str) -> dict[str, Tensor]:
    """Our block under a peer's names: q, k, v apart, and the modulation of attention and MLP apart."""
    which = PEERS.index(peer)
    out = _named({names[which]: getattr(block, layer) for layer, names in _BLOCK.items()})
    for kind in ("weight", "bias"):
        m = getattr(block.modulation, kind).chunk(12)  # video attention, video MLP, text attention, text MLP
        out[f"norm1.linear.{kind}"] = torch.cat(m[0:3] + m[6:9])
        out[f"norm2.linear.{kind}"] = torch.cat(m[3:6] + m[9:12])
        for letter, part in zip("qkv", getattr(block.qkv, kind).chunk(3), strict=True):
            out[f"{_QKV[which].format(letter)}.{kind}"] = part
    return out


def _named(layers: dict[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{kind}": value for name, layer in layers.items() for kind, value in layer.state_dict().items()}


def _autoencoder(config: VAEConfig, name: str) -> nn.Module:
    widths = tuple(config.channels * m for m in config.multipliers)
    sizes = {"block_out_channels": widths, "layers_per_block": config.blocks, "latent_channels": config.latent_channels}
    if name == "comfyui":
        _prepare_comfyui()
        from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

        with torch.device("meta"):
            return AutoencoderKLCogVideoX(groups=config.groups, **sizes)
    from diffusers import AutoencoderKLCogVideoX

    with torch.device("meta"):
        return AutoencoderKLCogVideoX(norm_num_groups=config.groups, **sizes)


def _transformer(ours: Transformer, name: str) -> Callable:
    config, device = ours.config, ours.head.weight.device
    sizes = {"num_attention_heads": config.heads, "attention_head_dim": 64, "num_layers": config.layers}
    sizes |= {"time_embed_dim": config.time_dim, "text_embed_dim": config.text_dim}
    sizes |= {"use_rotary_positional_embeddings": True}

    def diffusers_run(x: Tensor, t: Tensor, txt: Tensor) -> Tensor:
        pe = rope_table(x.shape[2], x.shape[3] // 2, x.shape[4] // 2, device)
        return network(x.transpose(1, 2), txt, t, image_rotary_emb=pe).sample.transpose(1, 2)

    if name == "comfyui":
        _prepare_comfyui()
        import comfy.ops
        from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel

        how = {"operations": comfy.ops.disable_weight_init, "dtype": ours.head.weight.dtype}
        with torch.device("meta"):
            network = CogVideoXTransformer3DModel(**sizes, **how, spatial_interpolation_scale=1.0)
        run = network
    else:
        from diffusers import CogVideoXTransformer3DModel

        with torch.device("meta"):
            network = CogVideoXTransformer3DModel(**sizes)
        run = diffusers_run
    load(network, transformer_weights(ours, name))
    network.norm_out.norm.eps = 1e-6  # both have 1e-5 here; the released code has 1e-6
    return run


def _prepare_comfyui() -> None:
    """ComfyUI's code becomes importable in this process, set to the CPU where there is no GPU."""
    sys.path.insert(0, str(comfyui_path()))
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()


if __name__ == "__main__":
    main(runner)
