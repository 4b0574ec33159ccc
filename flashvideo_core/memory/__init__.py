"""The memory plan: what is free, what a transformer or VAE pass takes, and how a pass is split to fit.

Peaks are counted by running the networks on tensors without data (meta_trace.py).
"""

from .decoder import decoder_peak
from .free import USABLE_SHARE, free_memory
from .run import PhasePlan, describe_guidance, plan_pass, plan_run, plan_stage
from .transformer import plan_branches, transformer_peak
from .vae import (
    VAEKind,
    VAEPlan,
    VAESplit,
    describe_split,
    is_tiled,
    plan_vae,
    plan_vae_split,
    tile_overlap,
    trace_vae_pass,
    vae_peak,
)

__all__ = [
    "USABLE_SHARE",
    "PhasePlan",
    "VAEKind",
    "VAEPlan",
    "VAESplit",
    "decoder_peak",
    "describe_guidance",
    "describe_split",
    "free_memory",
    "is_tiled",
    "plan_branches",
    "plan_pass",
    "plan_run",
    "plan_stage",
    "plan_vae",
    "plan_vae_split",
    "tile_overlap",
    "trace_vae_pass",
    "transformer_peak",
    "vae_peak",
]
