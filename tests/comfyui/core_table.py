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
    note: str = ""  # for users
    says: str = ""  # words of the sentence with which it is refused
    same: bool = False  # the result is that of the unpatched model
    mask: bool = False  # with a noise mask
    compiled: bool = False
    tolerance: float = 5e-5  # largest error over largest value

    @property
    def names(self) -> list[str]:
        return [f"{self.node} on stage {stage}" for stage in self.stages]


def refused(node: str, stages: tuple[int, ...], says: str, note: str) -> Row:
    return Row(node, stages, "refused", None, note, says)


BOTH, ONE, TWO = (1, 2), (1,), (2,)
SET_FLOW = "stage 2: FlashVideo Stage 2 Flow"

ROWS = [
    Row("EasyCache", ONE, "works", 6, "see above"),
    Row("EasyCache", TWO, "works", 4, "needs two evaluations before it can skip one; stage 2 has four"),
    refused("LazyCache", ONE, "use EasyCache", "EasyCache"),
    Row("LazyCache", TWO, "works", 4, "coarser than EasyCache"),
    Row("CFG Override", BOTH, "works", 6, "a fixed scale, under the released guidance too; 1 costs one branch"),
    Row("CFG-Zero*", BOTH, "works", 8),
    refused("CFG-Zero* with zero init (of packs)", ONE, "switch zero init off", "zero init off"),
    Row("CFG-Zero* with zero init (of packs)", TWO, "works", 8, "a step is lost"),
    Row("CFGNorm", BOTH, "works", 8),
    Row("RescaleCFG", ONE, "works", 8, tolerance=5e-4),  # x - denoised has few digits left at sigma 4518
    Row("RescaleCFG", TWO, "works", 8),
    Row("RenormCFG", BOTH, "works", 8, "cfg_trunc is a sigma: in stage 1 there is no guidance above 100"),
    Row("Adaptive Projected Guidance", BOTH, "works", 8, "norm_threshold 0; at 5 it says what is left of guidance"),
    Row("Tangential Damping CFG", ONE, "works", 8, tolerance=1e-2),  # likewise
    Row("Tangential Damping CFG", TWO, "works", 8),
    Row("Positive-Biased Guidance", BOTH, "works", 8),
    Row("Skip Layer Guidance (DiT)", BOTH, "works", 12, "double_layers: stage 1 has 0 to 41, stage 2 has 0 to 29"),
    refused("Skip Layer Guidance (DiT), no such block", BOTH, "has the blocks 0 to 1", "names them"),
    Row("Skip Layer Guidance (DiT, Simple)", BOTH, "works", 8),
    Row("LTXV Spatio-Temporal Guidance (STG)", BOTH, "works", 12, "blocks as in Skip Layer Guidance"),
    refused("LTXV Spatio-Temporal Guidance (STG), no such block", BOTH, "has the blocks 0 to 1", "names them"),
    Row(
        "Normalized Attention Guidance",
        BOTH,
        "works",
        8,
        "in one batch of both branches; says where not",
    ),
    refused("Perturbed-Attention Guidance", BOTH, "Spatio-Temporal Guidance (STG) perturbs", "STG"),
    refused("Self-Attention Guidance", BOTH, "Spatio-Temporal Guidance (STG) perturbs", "STG"),
    Row("ScaleROPE", BOTH, "works", 8),
    refused("HyperTile", BOTH, "patches attn1_patch", "for U-Nets"),
    refused("Token Merging", BOTH, "patches attn1_patch", "for U-Nets"),
    refused("FreeU", BOTH, "patches output_block_patch", "for U-Nets"),
    refused("PatchModelAddDownscale", BOTH, "patches input_block_patch", "for U-Nets"),
    refused("Apply ControlNet", BOTH, "put control into", "takes text alone"),
    refused("ReferenceLatent", BOTH, "put reference_latents into", "takes text alone"),
    refused("InpaintModelConditioning", BOTH, "put concat_latent_image into", "takes text alone"),
    Row("Context Windows (Manual), time", BOTH, "works", 16, "dim 2, in latent frames of four frames each"),
    Row("Context Windows (Manual), time with causal_window_fix", BOTH, "works", 16, "a frame more a window"),
    Row("Context Windows (Manual), height", BOTH, "works", 16, "dim 3, an even number of rows, causal_window_fix off"),
    Row("Context Windows (Manual), width", BOTH, "works", 16, "dim 4, likewise"),
    refused("Context Windows (Manual), batch", BOTH, "take 2 (time)", "dim 2, 3 or 4"),
    refused("Context Windows (Manual), width with causal_window_fix", BOTH, "causal_window_fix off", "off"),
    Row("ModelSamplingDiscrete, v_prediction with zsnr", ONE, "works", 8, "is what stage 1 has", same=True),
    refused("ModelSamplingDiscrete, eps", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingDiscrete, lcm", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingDiscrete, x0", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingSD3", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingAuraFlow", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingFlux", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingContinuousEDM", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelSamplingContinuousV", BOTH, "remove the ModelSampling node", SET_FLOW),
    refused("ModelNoiseScale", BOTH, "no noise scale", SET_FLOW),
    Row("ModelMergeSimple", BOTH, "works", 8, "two models of one stage"),
    refused("ModelMergeSimple, the other stage", BOTH, "merge within one stage", "told by the weights"),
    Row(
        "Set Latent Noise Mask",
        TWO,
        "works",
        8,
        "where it is 0 the reference stays; in FlashVideo Stage 2 too",
        mask=True,
    ),
    Row("Differential Diffusion", TWO, "works", 8, mask=True),
    Row("BasicGuider", BOTH, "works", 4),
    Row("Dual CFG Guider", BOTH, "works", 12),
    Row("Dual Model CFG Guider", BOTH, "works", 4, "and as many of the other model"),
    refused("Dual Model CFG Guider, the other stage", BOTH, "both need to be of one stage", "one stage"),
    Row("Dual Model CFG Guider, no negative prompt", BOTH, "works", 8, "zeros, as released"),
    Row("Perp-Neg Guider", BOTH, "works", 12),
    Row("FlashVideo Guider after CFG Override", BOTH, "works", 6, "also stage 1's released guidance"),
    Row("TorchCompileModel", BOTH, "works", 8, same=True, compiled=True),
    Row("TorchCompileModel after Skip Layer Guidance", BOTH, "works", 8, "here at cfg 1", compiled=True),
    Row(
        "another attention (optimized_attention_override)",
        BOTH,
        "works",
        8,
        "as SageAttention nodes set it",
    ),
    Row("LoraLoaderModelOnly, three in a row", BOTH, "works", 8),
    Row("ModelSave, then FlashVideo Load Model", BOTH, "works", 8, "of a model with LoRAs"),
    Row("MultiGPU CFG Split", BOTH, "works", 8, same=True),
    Row("Epsilon Scaling", BOTH, "works", 8),
    Row("FreSca", BOTH, "works", 8),
    Row("ModelComputeDtype, fp32", BOTH, "works", 8, same=True),
]

SAMPLERS = {  # verdict on stage 1, on stage 2
    "euler": ("works", "works"),
    "euler_cfg_pp": ("works", "works"),
    "euler_ancestral": ("works", "works"),
    "euler_ancestral_cfg_pp": ("works", "refused"),
    "heun": ("warned", "works"),
    "heunpp2": ("works", "works"),
    "exp_heun_2_x0": ("works", "works"),
    "exp_heun_2_x0_sde": ("works", "works"),
    "dpm_2": ("works", "works"),
    "dpm_2_ancestral": ("warned", "works"),
    "lms": ("works", "works"),
    "dpm_fast": ("warned", "refused"),
    "dpm_adaptive": ("warned", "refused"),
    "dpmpp_2s_ancestral": ("works", "works"),
    "dpmpp_2s_ancestral_cfg_pp": ("works", "refused"),
    "dpmpp_sde": ("works", "works"),
    "dpmpp_sde_gpu": ("works", "works"),
    "dpmpp_2m": ("works", "works"),
    "dpmpp_2m_cfg_pp": ("works", "works"),
    "dpmpp_2m_sde": ("works", "works"),
    "dpmpp_2m_sde_gpu": ("works", "works"),
    "dpmpp_2m_sde_heun": ("works", "works"),
    "dpmpp_2m_sde_heun_gpu": ("works", "works"),
    "dpmpp_3m_sde": ("works", "works"),
    "dpmpp_3m_sde_gpu": ("works", "works"),
    "ddpm": ("works", "refused"),
    "lcm": ("warned", "warned"),
    "ipndm": ("works", "works"),
    "ipndm_v": ("works", "works"),
    "deis": ("works", "works"),
    "res_multistep": ("works", "works"),
    "res_multistep_cfg_pp": ("works", "works"),
    "res_multistep_ancestral": ("works", "refused"),
    "res_multistep_ancestral_cfg_pp": ("works", "refused"),
    "gradient_estimation": ("works", "works"),
    "gradient_estimation_cfg_pp": ("works", "works"),
    "er_sde": ("works", "works"),
    "seeds_2": ("works", "works"),
    "seeds_3": ("works", "works"),
    "sa_solver": ("works", "works"),
    "sa_solver_pece": ("works", "works"),
    "ddim": ("works", "works"),
    "uni_pc": ("warned", "works"),
    "uni_pc_bh2": ("works", "works"),
}

SCHEDULERS = {
    "simple": ("works", "works"),
    "sgm_uniform": ("works", "works"),
    "karras": ("works", "works"),
    "exponential": ("works", "works"),
    "ddim_uniform": ("works", "works"),
    "beta": ("works", "works"),
    "normal": ("works", "works"),
    "linear_quadratic": ("refused", "works"),
    "kl_optimal": ("warned", "works"),
}

CASES = [name for row in ROWS for name in row.names] + [
    f"{kind} {name} on stage {stage}"
    for kind, verdicts in (("sampler", SAMPLERS), ("scheduler", SCHEDULERS))
    for name in verdicts
    for stage in BOTH
]
"""The names of all of these as checks."""


def draw_tables() -> dict[str, str]:
    """The tables of docs/core-nodes.md by their names there."""
    rows = [("node", "stage", "verdict", "evaluations", "")]
    for row in ROWS:
        stages = " and ".join(map(str, row.stages))
        rows.append((row.node, stages, row.verdict, row.passes or "", row.note))
    tables = {"nodes": rows}
    for kind, verdicts in (("samplers", SAMPLERS), ("schedulers", SCHEDULERS)):
        tables[kind] = [(kind.removesuffix("s"), "stage 1", "stage 2")]
        tables[kind] += [(name, *verdicts[name]) for name in verdicts]
    return {name: draw_table(rows) for name, rows in tables.items()}


def draw_table(rows: list[tuple[object, ...]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
