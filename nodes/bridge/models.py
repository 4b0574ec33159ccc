"""Both transformers as ComfyUI MODELs: a config, a BaseModel and a ModelPatcher around the core network.

Built as ComfyUI builds its own models, so that its offloading, LoRA loader, fp8, attention choice, wrappers
and samplers work on them. Weight names are `diffusion_model.<path in dit.py>`.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import comfy.conds
import comfy.model_base
import comfy.model_management as mm
import comfy.model_patcher
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor

from ...flashvideo_core.checkpoint import (
    Weights,
    build_meta_model,
    make_metadata,
    match_tensors,
    open_weights,
    read_tensor,
    stored_dtype,
)
from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.memory import transformer_peak
from ...flashvideo_core.sampling import check_finite
from ...flashvideo_core.weights.wrappers import pack_metadata
from . import gguf
from .clip import check_text_width
from .flow import FlowFromReference, VelocityTable
from .network import Network
from .patches import check_conditioning, check_patches, describe_patches
from .preview import StageLatent
from .speed import find_window
from .suitability import add_checks, find_lost_patch, warn
from .types import Options


class StageModel(comfy.model_base.BaseModel):
    """What both stages share: conditioning, the check of the first output, memory."""

    def apply_model(self, x: Tensor, t: Tensor, *args, transformer_options: Options | None = None, **kwargs) -> Tensor:
        transformer_options = transformer_options or {}
        check_patches(transformer_options, self.diffusion_model.config)
        window = find_window(transformer_options, float(t[0]))
        patched = describe_patches(transformer_options, window)
        kwargs |= {"transformer_options": transformer_options, "patched": patched, "window": window}
        out = super().apply_model(x, t, *args, **kwargs)
        sigmas = transformer_options.get("sample_sigmas")
        if sigmas is not None and float(t[0]) == float(sigmas[0]):
            check_finite(out, self.get_dtype_inference())
            warn(find_lost_patch(transformer_options))
        return out

    def extra_conds(self, **kwargs) -> dict[str, comfy.conds.CONDRegular]:
        check_conditioning(kwargs, self.diffusion_model.config)
        out = super().extra_conds(**kwargs)
        txt, config = kwargs.get("cross_attn"), self.diffusion_model.config
        if txt is None:  # of DualModelGuider without a negative prompt: the released unconditional
            txt = torch.zeros(1, config.text_length, config.text_dim)
        check_text_width(txt, config)
        # CONDRegular: unlike CONDCrossAttn it never repeats tokens to a common length
        out["c_crossattn"] = comfy.conds.CONDRegular(txt[:, : config.text_length])
        return out

    def resize_cond_for_context_window(
        self, cond_key: str, cond_value: comfy.conds.CONDRegular, *args, **kwargs
    ) -> comfy.conds.CONDRegular:
        return cond_value  # text has no axis that windows cut, whatever its length

    def memory_required(self, input_shape: Sequence[int], cond_shapes: Options | None = None) -> float:
        config, itemsize = self.diffusion_model.config, mm.dtype_size(self.get_dtype_inference())
        peak = transformer_peak(config, input_shape[0], tuple(input_shape[2:]), itemsize)
        return 1.1 * self.memory_usage_factor * peak


class Stage1(StageModel):
    """v-prediction with zero terminal SNR; ComfyUI's sigma is that of the 1000-entry table."""

    def __init__(self, model_config: "StageConfig", device: torch.device | None = None):
        super().__init__(model_config, comfy.model_base.ModelType.V_PREDICTION, device, Network)
        self.model_sampling = VelocityTable(model_config)


class Stage2(StageModel):
    """A flow from the noised reference latent to the clean one."""

    def __init__(self, model_config: "StageConfig", device: torch.device | None = None):
        super().__init__(model_config, comfy.model_base.ModelType.FLOW, device, Network)
        self.model_sampling = FlowFromReference(model_config)

    def extra_conds(self, **kwargs) -> dict[str, comfy.conds.CONDRegular]:
        ref_step = getattr(self.model_sampling, "ref_step", None)  # None: another node's, refused when sampling starts
        return super().extra_conds(**kwargs) | {"ref_step": comfy.conds.CONDConstant(ref_step)}

    def scale_latent_inpaint(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, **kwargs) -> Tensor:
        return self.model_sampling.noise_scaling(sigma, noise, latent_image)


class WeightsFile(NamedTuple):
    """A file of weights as it was when it was opened: bytes, and time of change in ns."""

    path: Path
    size: int
    changed: int

    @classmethod
    def look_at(cls, path: Path) -> "WeightsFile":
        stat = path.stat()
        return cls(path, stat.st_size, stat.st_mtime_ns)


class StageConfig(comfy.supported_models_base.BASE):
    """ComfyUI's description of a model, from ours."""

    unet_extra_config = {}
    memory_usage_factor = 1.0  # of the plan; nodes of packs change it
    sampling_settings = {"linear_start": 0.00085, "linear_end": 0.012, "beta_schedule": "linear", "zsnr": True}
    supported_inference_dtypes = [torch.bfloat16, torch.float16, torch.float32]

    def __init__(self, weights: Weights):
        self.latent_format = functools.partial(StageLatent, weights.config, weights.metadata)  # BASE calls it
        self.saved_metadata = pack_metadata(weights.metadata | make_metadata(weights.config))
        self.weights_file = WeightsFile.look_at(Path(weights.path))
        super().__init__({"config": weights.config})

    def process_unet_state_dict_for_saving(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """ComfyUI's save nodes write no metadata of a model; ours goes with the weights, so that they load again."""
        return super().process_unet_state_dict_for_saving(state_dict | self.saved_metadata)

    def get_model(self, state_dict, prefix="", device=None) -> StageModel:
        config = self.unet_config["config"]
        model = (Stage1 if config.objective == "v" else Stage2)(self, device)
        self.unet_config["model_channels"] = config.hidden  # asked for by FreeU, whose patches are then refused by name
        return model


class ModelOptions(TypedDict, total=False):
    """Of ComfyUI's model options those that are read here: the dtype of storage, and layers to build with."""

    dtype: torch.dtype
    custom_operations: type


def load_model(
    path: str | Path, model_options: ModelOptions | None = None, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """A ModelPatcher of the stage that the file holds, as comfy.sd.load_diffusion_model builds one.

    disable_dynamic: with all weights in memory, as ComfyUI asks of a clone. Raises InputError for another file.
    """
    weights, model_options = open_weights(path, "transformer"), model_options or {}
    if not isinstance(weights.config, TransformerConfig):
        raise InputError(f"{path} is not a FlashVideo stage; choose it in the VAE or text encoder loader instead")
    stage = StageConfig(weights)
    pack = gguf.choose_pack(weights)
    stage.custom_operations = model_options.get("custom_operations") or (pack and pack.operations)
    stage.quant_config = {"mixed_ops": True} if any(n.endswith(".comfy_quant") for n in weights.tensors) else None
    device, offload_device = mm.get_torch_device(), mm.unet_offload_device()
    dtype, cast = choose_dtypes(weights, stage, model_options.get("dtype"), device)
    stage.set_inference_dtype(dtype, cast, device=device)
    model = stage.get_model(None)
    whole = disable_dynamic or pack is not None  # the pack's patcher is one of those that hold all weights
    patcher_class = comfy.model_patcher.ModelPatcher if whole else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=offload_device)
    if not mm.is_device_cpu(offload_device):
        model.to(offload_device)
    model.load_model_weights(build_state_dict(weights, dtype, pack), assign=patcher.is_dynamic())
    patcher.cached_patcher_init = (load_model, (path, model_options))
    add_checks(patcher)
    return gguf.make_patcher(pack, patcher) if pack else patcher


def choose_dtypes(
    weights: Weights, stage: StageConfig, dtype: torch.dtype | None, device: torch.device
) -> tuple[torch.dtype, torch.dtype | None]:
    """Storage and compute dtype, by ComfyUI's rules for the machine."""
    supported = stage.supported_inference_dtypes
    if dtype is None:
        count = sum(torch.Size(shape).numel() for shape in weights.shapes.values())
        stored = None if stage.quant_config or gguf.is_gguf(weights) else stored_dtype(weights)
        dtype = mm.unet_dtype(model_params=count, supported_dtypes=supported, weight_dtype=stored)
    return dtype, mm.unet_manual_cast(None if stage.quant_config else dtype, device, supported)


def build_state_dict(weights: Weights, dtype: torch.dtype, pack: gguf.GGUFPack | None = None) -> dict[str, Tensor]:
    """All tensors under our names; LoRA is merged in float32, scaled fp8 layers stay as ComfyUI reads them, and
    GGUF's blocks as the pack does."""
    sources = match_tensors(weights, build_meta_model(weights))
    if pack is not None:
        return {name: gguf.read_packed(pack, weights, source, dtype) for name, source in sources.items()}
    out = {name: weights.tensors[name] for name in weights.tensors if name.endswith((".comfy_quant", ".weight_scale"))}
    for name, source in sources.items():
        out[name] = weights.tensors[source.weight] if source.scale else read_tensor(weights, source).to(dtype)
    return out
