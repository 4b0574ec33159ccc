"""What a foreign file of weights is, told from the names and shapes of its tensors alone."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from ..attention import HEAD_DIM
from ..config import STAGE1, STAGE2, SmallDecoderConfig, TransformerConfig, VAEConfig
from ..config import VAE as RELEASED_VAE
from ..errors import InputError
from .keys import RELEASED_PREFIX, Shapes, drop_prefix

_UNUSED = re.compile(r"mixins\.pos_embed\.freqs_(sin|cos)|transformer\.position_embeddings\.weight")
_VAE_BLOCK = {
    "ours": re.compile(r"encoder\.levels\.(\d+)\.blocks\.(\d+)\.conv1\.conv\.weight"),
    "released": re.compile(r"encoder\.down\.(\d+)\.block\.(\d+)\.conv1\.conv\.weight"),
    "diffusers": re.compile(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.conv\.weight"),
}


_DECODER_WIDTHS = tuple(f"decoder.{layer}.weight" for layer in (1, 8, 14, 20))  # their rows are the widths


class _TransformerNames(NamedTuple):
    """The names of a transformer by which its sizes are known; reference and layer begin names."""

    patch: str
    text: str
    time: str
    reference: str
    layer: str


_RELEASED = _TransformerNames(
    patch="mixins.patch_embed.proj.weight",
    text="mixins.patch_embed.text_proj.weight",
    time="time_embed.0.weight",
    reference="ref_step_time_embedding.",
    layer=r"transformer\.layers\.(\d+)\.",
)
_OURS = _TransformerNames(
    patch="patch_embed.weight",
    text="text_embed.weight",
    time="time_embed.up.weight",
    reference="ref_embed.",
    layer=r"blocks\.(\d+)\.",
)


def select_used(names: Iterable[str]) -> list[str]:
    """A released file's names without those of other modules, unused buffers and the VAE's loss."""
    names = list(names)
    if any(name.startswith(RELEASED_PREFIX) for name in names):
        return [n for n in names if n.startswith(RELEASED_PREFIX) and not _UNUSED.fullmatch(drop_prefix(n))]
    return [n for n in names if not n.startswith("loss")]


def identify_weights(shapes: Shapes) -> tuple[str, TransformerConfig | VAEConfig | SmallDecoderConfig]:
    """Origin ("released", "diffusers", "taehv", or "ours" for our names without a config) and config of a file.

    Raises InputError, without the file's name, for a file that holds neither a transformer nor a VAE of ours, nor a
    small decoder.
    """
    try:
        if any(name.startswith(RELEASED_PREFIX) for name in shapes):
            return "released", _read_transformer_config({drop_prefix(n): s for n, s in shapes.items()}, _RELEASED)
        if "patch_embed.weight" in shapes and "text_embed.weight" in shapes:
            return "ours", _read_transformer_config(shapes, _OURS)
        if "decoder.22.weight" in shapes and "decoder.3.conv.0.weight" in shapes:
            return "taehv", _read_decoder_config(shapes)
        for origin, pattern in _VAE_BLOCK.items():
            blocks = {m.groups(): shape for name, shape in shapes.items() if (m := pattern.fullmatch(name))}
            if blocks:
                return origin, _read_vae_config(blocks, shapes["encoder.conv_in.conv.weight"][0])
    except KeyError as error:
        raise InputError(f"misses {error.args[0]}, without which its sizes are unknown") from None
    except (IndexError, ZeroDivisionError):
        raise InputError("has tensors of the right names and impossible shapes") from None
    raise InputError(f"holds no FlashVideo transformer and no CogVideoX VAE, but {len(shapes)} other tensors")


def _read_transformer_config(shapes: Shapes, names: _TransformerNames) -> TransformerConfig:
    has_reference = any(name.startswith(names.reference) for name in shapes)
    hidden = shapes[names.patch][0]
    if hidden < HEAD_DIM or hidden % HEAD_DIM:
        raise InputError(f"has a hidden size of {hidden}, which is no multiple of {HEAD_DIM}")
    return replace(
        STAGE2 if has_reference else STAGE1,
        layers=len({m[1] for name in shapes if (m := re.match(names.layer, name))}),
        hidden=hidden,
        time_dim=shapes[names.time][0],
        text_dim=shapes[names.text][1],
    )


def _read_vae_config(blocks: dict[tuple[str, str], tuple[int, ...]], channels: int) -> VAEConfig:
    """blocks: (level, block) -> shape of an encoder convolution."""
    widths = [blocks[str(level), "0"][0] for level in range(4)]
    multipliers = tuple(width // channels for width in widths)
    count = len({block for level, block in blocks if level == "0"})
    return replace(RELEASED_VAE, channels=channels, multipliers=multipliers, blocks=count)


def _read_decoder_config(shapes: Shapes) -> SmallDecoderConfig:
    """Raises InputError for a decoder of other latents, or one whose pictures are in patches."""
    channels, planes = shapes[_DECODER_WIDTHS[0]][1], shapes["decoder.22.weight"][0]
    if (channels, planes) != (SmallDecoderConfig.latent_channels, 3):
        raise InputError(f"is a small decoder of latents of {channels} channels; taecvx, for CogVideoX's 16, is needed")
    return SmallDecoderConfig(widths=tuple(shapes[name][0] for name in _DECODER_WIDTHS))
