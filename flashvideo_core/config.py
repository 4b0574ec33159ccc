"""What a network is and how it is run by default: frozen dataclasses, and the released presets.

A checkpoint carries its config in the file's metadata (`to_json`, `from_json`), so sizes and sampling
defaults travel with the weights: the released numbers for released weights, measured ones for tiny.
"""

import dataclasses
import json
from dataclasses import dataclass

from .errors import InputError


@dataclass(frozen=True)
class SamplingDefaults:
    """What a stage does when the caller names nothing. Sizes are (height, width) in pixels."""

    size: tuple[int, int]
    frames: int = 49
    fps: int = 8
    steps: int = 51
    cfg: float = 8.0
    guidance: str = "released"  # stage 1: "released" (dynamic) or "constant"
    shift: float = 2.5  # stage 2: time shift of the Euler grid
    ref_step: int = 675  # stage 2: noise step of the reference latent, 0..999
    motion: str = "none"  # prompt prefix, see text.py


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of one stage's transformer (golden README, section 3). Head width is always 64."""

    stage: int
    layers: int
    hidden: int
    time_dim: int
    text_dim: int
    text_length: int
    latent_scale: float
    defaults: SamplingDefaults
    latent_channels: int = 16
    patch: int = 2

    @property
    def heads(self) -> int:
        return self.hidden // 64


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the causal 3D VAE. Compression is fixed: 8x8 in space, 4 in time."""

    channels: int = 128
    multipliers: tuple[int, int, int, int] = (1, 2, 2, 4)
    blocks: int = 3
    groups: int = 32
    latent_channels: int = 16


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the embedded word-level text encoder."""

    words: int
    width: int = 64
    layers: int = 2
    max_words: int = 48
    slots: int = 8


STAGE1_DEFAULTS = SamplingDefaults(size=(256, 480))
STAGE2_DEFAULTS = SamplingDefaults(size=(1072, 1920), steps=4, cfg=13.0, motion="medium motion")

STAGE1 = TransformerConfig(
    stage=1,
    layers=42,
    hidden=3072,
    time_dim=512,
    text_dim=4096,
    text_length=226,
    latent_scale=0.7,
    defaults=STAGE1_DEFAULTS,
)
STAGE2 = TransformerConfig(
    stage=2,
    layers=30,
    hidden=1920,
    time_dim=512,
    text_dim=4096,
    text_length=226,
    latent_scale=1.15258426,
    defaults=STAGE2_DEFAULTS,
)
VAE = VAEConfig()

_KINDS = {"transformer": TransformerConfig, "vae": VAEConfig, "text": TextConfig}


def to_json(config) -> str:
    """A config as one JSON object with its kind."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(config, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(config)})


def from_json(text: str):
    """The config that `to_json` wrote. Raises ValueError for anything else."""
    try:
        fields = json.loads(text)
        cls = _KINDS[fields.pop("kind")]
        if "defaults" in fields:
            fields["defaults"] = SamplingDefaults(**_tuples(fields["defaults"]))
        return cls(**_tuples(fields))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the config in the file's metadata cannot be read: {error}") from None


def _tuples(fields: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
