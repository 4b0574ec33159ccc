"""The core transformer as the network of a ComfyUI model: its attention, interrupts, prefetching and wrappers."""

import functools

import comfy.ldm.common_dit
import comfy.ldm.modules.attention
import comfy.model_management as mm
import comfy.model_prefetch
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.dit import Transformer
from .types import Options


class Network(Transformer):
    """The core transformer with ComfyUI's construction and forward signature.

    Stage 2 predicts dx/dt towards the clean latent; ComfyUI's flow counts sigma = 1 - t, hence the sign.
    It is turned here and not in model_sampling, which other nodes replace as a whole.
    """

    def __init__(
        self,
        config: TransformerConfig,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        operations: type | None = None,
    ):
        super().__init__(config, operations, device=device, dtype=dtype)
        self.dtype = dtype

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        ref_step: int | None = None,
        transformer_options: Options | None = None,
        **kwargs,
    ) -> Tensor:
        transformer_options = transformer_options or {}
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        executor = WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        return executor.execute(x, timestep, context, ref_step, transformer_options, **kwargs)

    def _forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        ref_step: int | None,
        transformer_options: Options,
        **kwargs,
    ) -> Tensor:
        height, width = x.shape[-2:]
        x = comfy.ldm.common_dit.pad_to_patch_size(x, (1, self.config.patch, self.config.patch))
        attention = functools.partial(run_attention, transformer_options=transformer_options)
        queue = comfy.model_prefetch.make_prefetch_queue(list(self.blocks), x.device, transformer_options)

        def on_block(i: int) -> None:
            if not torch.compiler.is_compiling():
                mm.throw_exception_if_processing_interrupted()
                comfy.model_prefetch.prefetch_queue_pop(queue, x.device, self.blocks[i])

        out = super().forward(x, timestep, context, ref_step, attention=attention, on_block=on_block)
        comfy.model_prefetch.prefetch_queue_pop(queue, x.device, None)
        return (-out if self.config.objective == "flow" else out)[..., :height, :width]


def run_attention(q: Tensor, k: Tensor, v: Tensor, transformer_options: Options) -> Tensor:
    """ComfyUI's attention of choice on [B, heads, L, 64]; its plain output is [B, L, heads * 64]."""
    heads = q.shape[1]
    out = comfy.ldm.modules.attention.optimized_attention(
        q, k, v, heads, skip_reshape=True, transformer_options=transformer_options
    )
    return out.unflatten(-1, (heads, -1)).transpose(1, 2)
