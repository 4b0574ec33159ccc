"""The memory plan of a whole run, phase by phase."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..config import Config, TransformerConfig, VAEConfig
from ..dit import Transformer
from ..fp8 import keep_all_fp8
from ..latent_windows import LatentWindows
from ..sizes import latent_size
from ..vae import VAE
from .transformer import plan_branches, transformer_peak
from .vae import VAEKind, VAESplit, describe_split, plan_vae

ClipSize = tuple[int, int, int]
"""(frames, height, width) in pixels."""


@dataclass(frozen=True)
class PhasePlan:
    """Estimated bytes of one phase: weights on the device, and the work beside them at its peak."""

    phase: str
    clip: ClipSize
    weights: int
    work: int
    tokens: int | None = None  # of a stage: text and video, of one window
    branches: int | None = None  # of a stage: of guidance, in one batch
    windows: int = 1  # of a stage: over which an evaluation goes, one at a time
    split: VAESplit = None  # of a VAE pass

    def describe(self) -> str:
        """For people: what goes through at once."""
        if self.tokens is None:
            return describe_split(self.split)
        return describe_guidance(self.tokens, self.branches, self.windows)

    def to_json(self) -> dict[str, str | int | tuple[int, int] | None]:
        """As `info --plan --json` shows it."""
        sizes = dict(zip(("frames", "height", "width"), self.clip, strict=True))
        shared = {"phase": self.phase, **sizes, "weights": self.weights, "work": self.work}
        if self.tokens is None:
            return shared | {"cut": self.split}
        windows = {} if self.windows == 1 else {"windows": self.windows}
        return shared | {"tokens": self.tokens, "branches": self.branches} | windows


def plan_run(
    configs: Mapping[str, Config],
    draft: ClipSize,
    size: tuple[int, int],
    dtype: torch.dtype,
    device: torch.device,
    free: int,
    fp8: Collection[str] = (),
    windows: LatentWindows | None = None,
) -> list[PhasePlan]:
    """All phases of a draft and its refinement to `size` (height, width), with `free` bytes.

    configs of the components stage1, stage2 and vae; fp8: the stages whose linear layers are kept in it; windows: of
    stage 2.
    """
    clip, machine = (draft[0], *size), (dtype, device, free)
    return [
        plan_stage("stage1", configs["stage1"], draft, dtype, free, "stage1" in fp8),
        plan_pass("draft_decode", configs["vae"], "decode", draft, *machine),
        plan_pass("handoff", configs["vae"], "encode", clip, *machine),
        plan_stage("stage2", configs["stage2"], clip, dtype, free, "stage2" in fp8, windows=windows),
        plan_pass("decode", configs["vae"], "decode", clip, *machine),
    ]


def plan_stage(
    phase: str,
    config: TransformerConfig,
    clip: ClipSize,
    dtype: torch.dtype,
    free: int,
    fp8: bool = False,
    weights: int | None = None,
    windows: LatentWindows | None = None,
) -> PhasePlan:
    """A stage's evaluations in dtype. weights: their bytes, where they are not those of dtype (and fp8). windows: what
    the network sees at once; the state of the whole clip is on the host then, and not counted."""
    whole = latent_size(*clip)
    latent, count = (whole, 1) if windows is None else (windows.fit(whole), windows.count(whole))
    weights = weight_bytes(Transformer, config, dtype, fp8) if weights is None else weights
    branches = plan_branches(config, latent, dtype.itemsize, free - weights, fp8)
    work = transformer_peak(config, branches, latent, dtype.itemsize, fp8)
    tokens = config.text_length + latent[0] * (latent[1] // config.patch) * (latent[2] // config.patch)
    return PhasePlan(phase, clip, weights, work, tokens=tokens, branches=branches, windows=count)


def plan_pass(
    phase: str,
    config: VAEConfig,
    kind: VAEKind,
    clip: ClipSize,
    dtype: torch.dtype,
    device: torch.device,
    free: int,
) -> PhasePlan:
    """The VAE's pass "decode" or "encode" over a clip."""
    plan = plan_vae(config, kind, clip, dtype, device, free)
    return PhasePlan(phase, clip, weight_bytes(VAE, config, dtype), plan.peak, split=plan.split)


def describe_guidance(tokens: int, branches: int, windows: int = 1) -> str:
    """For people; tokens of one window."""
    of_windows = "" if windows == 1 else f" in each of {windows} windows"
    return f"{tokens} tokens{of_windows}, guidance in {'one batch' if branches == 2 else 'two passes'}"


def weight_bytes(model: type[nn.Module], config: Config, dtype: torch.dtype, fp8: bool = False) -> int:
    """Bytes of a model's weights, linear layers in fp8 or all alike, counted on a model without memory."""
    with torch.device("meta"):
        outline = model(config).to(dtype)
    if fp8:
        keep_all_fp8(outline)
    return sum(parameter.nbytes for parameter in outline.parameters())
