"""Latent windows on a MODEL of stage 2: the network sees them one at a time, the sampler the whole latent."""

from collections.abc import Sequence

from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor

from ...flashvideo_core.latent_windows import LatentWindows, map_windows
from .types import Model

KEY = "flashvideo_latent_windows"  # of the wrappers


def set_latent_windows(model: Model, windows: LatentWindows | None) -> Model:
    """A clone of the model whose network goes over windows of what it is given, [B, 16, T, H, W]; None: the model."""
    if windows is None:
        return model

    def over_windows(
        executor: WrapperExecutor, x: Tensor, timestep: Tensor, context: Tensor, *args, **kwargs
    ) -> Tensor:
        return map_windows(lambda part: executor(part, timestep, context, *args, **kwargs), x, windows)

    def with_memory_of_a_window(executor: WrapperExecutor, model: Model, noise_shape: Sequence[int], *args, **kwargs):
        return executor(model, [*noise_shape[:2], *windows.fit(tuple(noise_shape[2:]))], *args, **kwargs)

    patched = model.clone()
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, over_windows)
    patched.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, with_memory_of_a_window)
    return patched
