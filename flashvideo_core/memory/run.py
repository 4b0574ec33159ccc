"""The memory plan of a whole run, phase by phase."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..config import Config, TransformerConfig, VAEConfig
from ..dit import Transformer
from ..sizes import latent_size
from ..vae import VAE
from .transformer import plan_branches, transformer_peak
from .vae import VAEKind, VAESplit, plan_vae

ClipSize = tuple[int, int, int]
"""(frames, height, width) in pixels."""


@dataclass(frozen=True)
class PhasePlan:
    """Estimated bytes of one phase: weights on the device, and the work beside them at its peak."""

    phase: str
    clip: ClipSize
    weights: int
    work: int
    tokens: int | None = None  # of a stage: text and video
    branches: int | None = None  # of a stage: of guidance, in one batch
    split: VAESplit = None  # of a VAE pass

    def to_json(self) -> dict[str, str | int | tuple[int, int] | None]:
        """As `info --plan --json` shows it."""
        sizes = dict(zip(("frames", "height", "width"), self.clip, strict=True))
        shared = {"phase": self.phase, **sizes, "weights": self.weights, "work": self.work}
        if self.tokens is None:
            return shared | {"cut": self.split}
        return shared | {"tokens": self.tokens, "branches": self.branches}


def plan_run(
    configs: Mapping[str, Config],
    draft: ClipSize,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    free: int,
) -> list[PhasePlan]:
    """All phases of a draft and its refinement to `size` (height, width), with `free` bytes.

    configs of the components stage1, stage2 and vae.
    """
    clip, machine = (draft[0], *size), (dtype, device, free)
    return [
        _plan_stage("stage1", configs["stage1"], draft, dtype.itemsize, free),
        _plan_pass("draft_decode", configs["vae"], "decode", draft, *machine),
        _plan_pass("handoff", configs["vae"], "encode", clip, *machine),
        _plan_stage("stage2", configs["stage2"], clip, dtype.itemsize, free),
        _plan_pass("decode", configs["vae"], "decode", clip, *machine),
    ]


def _plan_stage(phase: str, config: TransformerConfig, clip: ClipSize, itemsize: int, free: int) -> PhasePlan:
    latent = latent_size(*clip)
    weights = weight_bytes(Transformer, config, itemsize)
    branches = plan_branches(config, latent, itemsize, free - weights)
    work = transformer_peak(config, branches, latent, itemsize)
    tokens = config.text_length + latent[0] * (latent[1] // config.patch) * (latent[2] // config.patch)
    return PhasePlan(phase, clip, weights, work, tokens=tokens, branches=branches)


def _plan_pass(
    phase: str,
    config: VAEConfig,
    kind: VAEKind,
    clip: ClipSize,
    dtype: torch.dtype,
    device: torch.device,
    free: int,
) -> PhasePlan:
    plan = plan_vae(config, kind, clip, dtype, device, free)
    return PhasePlan(phase, clip, weight_bytes(VAE, config, dtype.itemsize), plan.peak, split=plan.split)


def weight_bytes(model: type[nn.Module], config: Config, itemsize: int) -> int:
    """Bytes of a model's weights, counted on a model without memory."""
    with torch.device("meta"):
        return itemsize * sum(parameter.numel() for parameter in model(config).parameters())
