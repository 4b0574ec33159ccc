"""What ComfyUI's nodes do on our MODEL: the rows that checks/core_nodes.py runs and docs/core-nodes.md shows.

Evaluations are counted over 4 steps with both branches of guidance: 8 where nothing saves or adds any.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    node: str  # its name in the editor
    stages: tuple[int, ...]
    verdict: str  # works, refused
    passes: int | None = None  # evaluations of the network in the check; None where refused
    note: str = ""  # for users; of a refused row, words of the sentence
    same: bool = False  # the result is that of the unpatched model
    mask: bool = False  # with a noise mask
    scheduler: str = "simple"
    tolerance: float = 5e-5  # largest error over largest value

    @property
    def names(self) -> list[str]:
        return [f"{self.node} on stage {stage}" for stage in self.stages]


BOTH, ONE, TWO = (1, 2), (1,), (2,)

ROWS = [
    Row("EasyCache", ONE, "works", 6, "half of 51 evaluations at a threshold of 0.2 to 0.3"),
    Row("EasyCache", TWO, "works", 4, "needs two evaluations before it can skip one; stage 2 has four"),
    Row("LazyCache", ONE, "refused", note="use EasyCache"),
    Row("LazyCache", TWO, "works", 4, "coarser than EasyCache"),
    Row("CFG Override", BOTH, "works", 6, "a fixed scale, under the released guidance too; 1 costs one branch"),
    Row("CFG-Zero*", BOTH, "works", 8),
    Row("CFGNorm", BOTH, "works", 8),
    Row("RescaleCFG", ONE, "works", 8, tolerance=5e-4),  # x - denoised has few digits left at sigma 4518
    Row("RescaleCFG", TWO, "works", 8),
    Row("RenormCFG", BOTH, "works", 8, "cfg_trunc is a sigma: in stage 1 there is no guidance above 100"),
    Row("Adaptive Projected Guidance", BOTH, "works", 8, "set norm_threshold 0: its norm is over T, H and W"),
    Row("Tangential Damping CFG", ONE, "works", 8, tolerance=1e-2),  # likewise
    Row("Tangential Damping CFG", TWO, "works", 8),
    Row("Positive-Biased Guidance", BOTH, "works", 8),
    Row("Skip Layer Guidance (DiT)", BOTH, "works", 12, "double_layers: stage 1 has 0 to 41, stage 2 has 0 to 29"),
    Row("Skip Layer Guidance (DiT), no such block", BOTH, "refused", note="has the blocks 0 to 1"),
    Row("Skip Layer Guidance (DiT, Simple)", BOTH, "works", 8),
    Row("LTXV Spatio-Temporal Guidance (STG)", BOTH, "works", 12, "blocks as in Skip Layer Guidance"),
    Row("LTXV Spatio-Temporal Guidance (STG), no such block", BOTH, "refused", note="has the blocks 0 to 1"),
    Row("Normalized Attention Guidance", BOTH, "works", 8, "where both branches fit in one batch"),
    Row("Perturbed-Attention Guidance", BOTH, "refused", note="Spatio-Temporal Guidance (STG) perturbs"),
    Row("Self-Attention Guidance", BOTH, "refused", note="Spatio-Temporal Guidance (STG) perturbs"),
    Row("ScaleROPE", BOTH, "works", 8),
    Row("HyperTile", BOTH, "refused", note="patches attn1_patch"),
    Row("Token Merging", BOTH, "refused", note="patches attn1_patch"),
    Row("FreeU", BOTH, "refused", note="patches output_block_patch"),
    Row("PatchModelAddDownscale", BOTH, "refused", note="patches input_block_patch"),
    Row("Apply ControlNet", BOTH, "refused", note="put control into"),
    Row("ReferenceLatent", BOTH, "refused", note="put reference_latents into"),
    Row("InpaintModelConditioning", BOTH, "refused", note="put concat_latent_image into"),
    Row("Context Windows (Manual), time", BOTH, "works", 16, "dim 2, in latent frames of four frames each"),
    Row("Context Windows (Manual), time with causal_window_fix", BOTH, "works", 16, "a frame more a window"),
    Row("Context Windows (Manual), height", BOTH, "works", 16, "dim 3, an even number of rows, causal_window_fix off"),
    Row("Context Windows (Manual), width", BOTH, "works", 16, "dim 4, likewise"),
    Row("Context Windows (Manual), batch", BOTH, "refused", note="take 2 (time)"),
    Row("Context Windows (Manual), width with causal_window_fix", BOTH, "refused", note="causal_window_fix off"),
    Row("scheduler linear_quadratic", ONE, "refused", note="sgm_uniform or simple", scheduler="linear_quadratic"),
    Row("ModelSamplingDiscrete, v_prediction with zsnr", ONE, "works", 8, "is what stage 1 has", same=True),
    Row("ModelSamplingDiscrete, eps", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingDiscrete, lcm", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingDiscrete, x0", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingSD3", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingAuraFlow", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingFlux", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingContinuousEDM", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelSamplingContinuousV", BOTH, "refused", note="remove the ModelSampling node"),
    Row("ModelNoiseScale", BOTH, "refused", note="no noise scale"),
    Row("ModelMergeSimple", BOTH, "works", 8, "two models of one stage"),
    Row("ModelMergeSimple, the other stage", BOTH, "refused", note="merge within one stage"),
    Row(
        "Set Latent Noise Mask",
        TWO,
        "works",
        8,
        "where it is 0 the reference stays; in FlashVideo Stage 2 too",
        mask=True,
    ),
    Row("Differential Diffusion", TWO, "works", 8, mask=True),
]
