"""What a network is and how it is run by default: frozen dataclasses, and the released presets.

A checkpoint carries its config in the file's metadata (`to_json`, `from_json`), so sizes and sampling
defaults travel with the weights: the released numbers for released weights, measured ones for tiny.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import InputError, first_sentence

HEAD_DIM = 64


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


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of one stage's transformer, and what is built (docs/released-model.md 3). Head width is always 64."""

    stage: Literal[1, 2]  # the place in the pipeline: 1 makes the draft, 2 refines it
    reference: bool  # whether the time embedding also takes the frame count and a reference's noise step
    objective: Literal["v", "flow"]  # what is predicted: v of a variance-preserving mix, or dx/dt of a flow
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
        return self.hidden // HEAD_DIM


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of the causal 3D VAE. Compression is fixed: 8x8 in space, 4 in time."""

    channels: int = 128
    multipliers: tuple[int, int, int, int] = (1, 2, 2, 4)
    blocks: int = 3
    groups: int = 32
    latent_channels: int = 16


@dataclass(frozen=True)
class SmallDecoderConfig:
    """Widths of a small decoder (small_decoder.py): of its three levels, and of the picture before the last layer."""

    widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    latent_channels: int = 16


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the embedded word-level text encoder."""

    words: int
    width: int = 64
    layers: int = 2
    max_words: int = 48
    slots: int = 8


Config = TransformerConfig | VAEConfig | SmallDecoderConfig | TextConfig

STAGE1_DEFAULTS = SamplingDefaults(size=(256, 480))
STAGE2_DEFAULTS = SamplingDefaults(size=(1072, 1920), steps=4, cfg=13.0, motion="medium motion")

STAGE1 = TransformerConfig(
    stage=1,
    reference=False,
    objective="v",
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
    reference=True,
    objective="flow",
    layers=30,
    hidden=1920,
    time_dim=512,
    text_dim=4096,
    text_length=226,
    latent_scale=1.15258426,
    defaults=STAGE2_DEFAULTS,
)
VAE = VAEConfig()

_KINDS = {"transformer": TransformerConfig, "vae": VAEConfig, "decoder": SmallDecoderConfig, "text": TextConfig}
_MAY_BE_ZERO = {"cfg", "ref_step"}


def to_json(config: Config) -> str:
    """A config as one JSON object with its kind."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(config, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(config)})


def from_json(text: str) -> Config:
    """The config that `to_json` wrote. Raises InputError for anything else.

    Files from before `reference` and `objective` were fields have the released architecture of their stage.
    """
    try:
        fields = json.loads(text)
        cls = _KINDS[fields.pop("kind")]
        if cls is TransformerConfig:
            released = {"reference": fields["stage"] == 2, "objective": "flow" if fields["stage"] == 2 else "v"}
            fields = released | fields | {"defaults": SamplingDefaults(**_with_tuples(fields["defaults"]))}
        config = cls(**_with_tuples(fields))
        _check_fields(config)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"has a config in its metadata that cannot be read: {first_sentence(error)}") from None
    return config


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _check_fields(config: Config | SamplingDefaults) -> None:
    """Raises InputError for a field whose value is not of its annotated type, or for a number that is not positive."""
    for name, annotation in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            _check_fields(value)
        elif not _is_of(annotation, value) or not (_is_positive(value) or (name in _MAY_BE_ZERO and value == 0)):
            raise InputError(f"{name} is {value!r}")
    if isinstance(config, TransformerConfig) and config.hidden % HEAD_DIM:
        raise InputError(f"hidden is {config.hidden}, no multiple of {HEAD_DIM}")


def _is_of(annotation: Any, value: object) -> bool:
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) is tuple:
        items = get_args(annotation)
        return isinstance(value, tuple) and len(value) == len(items) and all(map(_is_of, items, value))
    wanted = (int, float) if annotation is float else annotation
    return isinstance(value, wanted) and (annotation is bool or not isinstance(value, bool))


def _is_positive(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_positive, value))
    return isinstance(value, (bool, str)) or value > 0
