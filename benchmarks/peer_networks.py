"""The networks of diffusers and ComfyUI with our weights. The package itself imports neither."""

import sys

import torch
from torch import Tensor, nn

from benchmarks.comfyui import comfyui_path
from benchmarks.peer_weights import transformer_weights, vae_weights
from flashvideo_core.attention import rope_table
from flashvideo_core.bench.runs import Forward
from flashvideo_core.config import TransformerConfig, VAEConfig
from flashvideo_core.dit import Transformer

RELEASED_EPS = 1e-6  # of the last norm; both peers have 1e-5


def peer_forward(workload: str, ours: nn.Module, implementation: str) -> tuple[Forward, Forward]:
    """A peer's pass with our weights, as shipped and in one temporal group; both take what `make_inputs` gives.

    They differ for ComfyUI's decode, which as shipped rolls over all frames in groups of its own.
    """
    if workload == "dit":
        forward = _transformer_forward(ours, implementation)
        return forward, forward
    network = _build_vae(ours.config, implementation)
    load(network, vae_weights(ours, network))
    if implementation == "comfyui":
        if workload == "vae-decode":
            return network.decode, network._decode_batched
        return network.encode, network.encode
    if workload == "vae-decode":
        return (lambda z: network.decode(z).sample,) * 2
    return (lambda frames: network.encode(frames).latent_dist.mean,) * 2


def load(network: nn.Module, state: dict[str, Tensor]) -> None:
    """The tensors themselves become the parameters: nothing is copied."""
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False).eval()


def _build_vae(config: VAEConfig, implementation: str) -> nn.Module:
    widths = tuple(config.channels * m for m in config.multipliers)
    sizes = {"block_out_channels": widths, "layers_per_block": config.blocks, "latent_channels": config.latent_channels}
    if implementation == "comfyui":
        _prepare_comfyui()
        from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX

        with torch.device("meta"):
            return AutoencoderKLCogVideoX(groups=config.groups, **sizes)
    from diffusers import AutoencoderKLCogVideoX

    with torch.device("meta"):
        return AutoencoderKLCogVideoX(norm_num_groups=config.groups, **sizes)


def _transformer_forward(ours: Transformer, implementation: str) -> Forward:
    dtype, device = ours.head.weight.dtype, ours.head.weight.device
    build = _build_comfyui_transformer if implementation == "comfyui" else _build_diffusers_transformer
    network = build(ours.config, dtype)
    load(network, transformer_weights(ours, implementation))
    network.norm_out.norm.eps = RELEASED_EPS

    def diffusers_forward(x: Tensor, t: Tensor, txt: Tensor) -> Tensor:
        pe = rope_table(x.shape[2], x.shape[3] // 2, x.shape[4] // 2, device)
        return network(x.transpose(1, 2), txt, t, image_rotary_emb=pe).sample.transpose(1, 2)

    return network if implementation == "comfyui" else diffusers_forward


def _transformer_sizes(config: TransformerConfig) -> dict[str, int | bool]:
    """Arguments that both constructors take."""
    sizes = {"num_attention_heads": config.heads, "attention_head_dim": 64, "num_layers": config.layers}
    sizes |= {"time_embed_dim": config.time_dim, "text_embed_dim": config.text_dim}
    return {**sizes, "use_rotary_positional_embeddings": True}


def _build_comfyui_transformer(config: TransformerConfig, dtype: torch.dtype) -> nn.Module:
    _prepare_comfyui()
    import comfy.ops
    from comfy.ldm.cogvideo.model import CogVideoXTransformer3DModel

    options = {"operations": comfy.ops.disable_weight_init, "dtype": dtype, "spatial_interpolation_scale": 1.0}
    with torch.device("meta"):
        return CogVideoXTransformer3DModel(**_transformer_sizes(config), **options)


def _build_diffusers_transformer(config: TransformerConfig, dtype: torch.dtype) -> nn.Module:
    """Its dtype comes with the weights."""
    from diffusers import CogVideoXTransformer3DModel

    with torch.device("meta"):
        return CogVideoXTransformer3DModel(**_transformer_sizes(config))


def _prepare_comfyui() -> None:
    """ComfyUI's code becomes importable in this process, set to the CPU where there is no GPU."""
    sys.path.insert(0, str(comfyui_path()))
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
