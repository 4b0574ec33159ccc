"""What is checked when a sampling starts, whichever node starts it: does everything around the MODEL suit its stage?

ComfyUI's nodes put anything before any model. What cannot work is refused in one sentence that says what to use; what
works badly is said under the node that samples. docs/core-nodes.md has the whole table.
"""

import comfy.model_patcher
import comfy.model_sampling
import comfy.samplers
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.errors import InputError
from .centered import center_stochastic
from .flow import FlowFromReference
from .types import Options, SamplerCallback


def add_checks(patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Has every sampling of the MODEL and of its clones checked."""
    patcher.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, "flashvideo", sample_checked)


def sample_checked(
    executor: WrapperExecutor,
    guider: comfy.samplers.CFGGuider,
    sigmas: Tensor,
    extra_args: Options,
    callback: SamplerCallback | None,
    noise: Tensor,
    latent_image: Tensor | None = None,
    denoise_mask: Tensor | None = None,
    disable_pbar: bool = False,
) -> Tensor:
    """A wrapper around a SAMPLER's sample(). Raises InputError for what does not suit the stage."""
    model, config = guider.inner_model, guider.inner_model.diffusion_model.config
    check_model_sampling(model.model_sampling, config)
    check_merge(guider.model_patcher, config)
    check_cache(extra_args["model_options"].get("transformer_options", {}), config)
    if config.objective == "flow":
        sampler = center_stochastic(executor.class_obj)
        executor = WrapperExecutor.new_class_executor(sampler.sample, sampler, executor.wrappers, executor.idx)
    return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)


def check_model_sampling(sampling: object, config: TransformerConfig) -> None:
    """Raises InputError for the sampling of another kind of model, which a ModelSampling node has put in place."""
    table, v = comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION
    if config.objective == "flow":
        fits, advice = (
            isinstance(sampling, FlowFromReference),
            "shift and noise step are set in FlashVideo Stage 2 Flow",
        )
        what = "starts from its noised reference"
    else:
        fits, what = isinstance(sampling, table) and isinstance(sampling, v), "predicts v on a table of 1000 timesteps"
        advice = "or take its v_prediction with zsnr"
    if not fits:
        kinds = " and ".join(kind.__name__ for kind in type(sampling).__bases__)
        raise InputError(
            f"stage {config.stage} {what}; remove the ModelSampling node before it (it sets {kinds}): {advice}"
        )


def check_merge(patcher: comfy.model_patcher.ModelPatcher, config: TransformerConfig) -> None:
    """Raises InputError if the model is merged with one of other weights, as stage 1 with stage 2."""
    own = {f"diffusion_model.{name}": p for name, p in patcher.model.diffusion_model.named_parameters()}
    merged = {name: patch[1][0][0] for name in own for patch in patcher.patches.get(name, ()) if type(patch[1]) is list}
    if not merged:
        return
    for name, weight in own.items():
        if name not in merged or merged[name].shape != weight.shape:
            raise InputError(
                f"stage {config.stage} is merged with a model that is none of stage {config.stage} "
                f"({name.removeprefix('diffusion_model.')} has no counterpart there); merge within one stage"
            )


def check_cache(options: Options, config: TransformerConfig) -> None:
    """Raises InputError for a cache of the guided result on stage 1, whose state changes its scale with every step."""
    if config.objective == "v" and getattr(options.get("easycache"), "name", None) == "LazyCache":
        raise InputError(
            "LazyCache keeps the change that guidance made to a state whose scale falls from 4500 to 0 in stage 1; "
            "use EasyCache, which keeps the network's own"
        )
