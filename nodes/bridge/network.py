"""The core transformer as the network of a ComfyUI model: its attention, interrupts, prefetching and wrappers."""

import functools

import comfy.ldm.common_dit
import comfy.model_management as mm
import comfy.model_prefetch
import torch
from comfy.patcher_extension import WrapperExecutor, WrappersMP, get_all_wrappers
from torch import Tensor

from ...flashvideo_core.config import TransformerConfig
from ...flashvideo_core.dit import Transformer
from ...flashvideo_core.windows import Grid, Window, make_tiles
from .patches import bind_blocks, run_attention, scaled_rope
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
        self.in_channels = config.latent_channels  # asked for by ComfyUI's nodes

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        ref_step: int | None = None,
        transformer_options: Options | None = None,
        patched: str = "",
        window: Window | None = None,
        **kwargs,
    ) -> Tensor:
        """ComfyUI's forward; patched is what describe_patches says of transformer_options and of the window."""
        transformer_options = transformer_options or {}
        wrappers = get_all_wrappers(WrappersMP.DIFFUSION_MODEL, transformer_options)
        if wrappers:  # EasyCache writes into x, which in float32 is the sampler's own state
            x = x.clone()
        executor = WrapperExecutor.new_class_executor(self._forward, self, wrappers)
        kwargs |= {"patched": patched, "window": window}
        return executor.execute(x, timestep, context, ref_step, transformer_options, **kwargs)

    def _forward(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        ref_step: int | None,
        transformer_options: Options,
        patched: str,
        window: Window | None,
        **kwargs,
    ) -> Tensor:
        height, width = x.shape[-2:]
        x = comfy.ldm.common_dit.pad_to_patch_size(x, (1, self.config.patch, self.config.patch))
        frames, h, w = x.shape[2], x.shape[3] // self.config.patch, x.shape[4] // self.config.patch
        text, total = context.shape[1], context.shape[1] + frames * h * w
        options = transformer_options | {"block_type": "double", "total_blocks": len(self.blocks)}
        options |= {"block_index": 0, "img_slice": [text, total]}
        tiles = make_tiles(Grid(frames, h, w, text), window, x.device) if window else None
        queue = comfy.model_prefetch.make_prefetch_queue(list(self.blocks), x.device, options)

        def on_block(i: int) -> None:
            options["block_index"] = i
            if not torch.compiler.is_compiling():
                mm.throw_exception_if_processing_interrupted()
                comfy.model_prefetch.prefetch_queue_pop(queue, x.device, self.blocks[i])

        out = super().forward(
            x,
            timestep,
            context,
            ref_step,
            attention=functools.partial(run_attention, options=options, tiles=tiles),
            on_block=on_block,
            rope=scaled_rope(options, frames, h, w, x.device, text) if patched else None,
            around_block=bind_blocks(options, text) if patched else None,
        )
        comfy.model_prefetch.prefetch_queue_pop(queue, x.device, None)
        return (-out if self.config.objective == "flow" else out)[..., :height, :width]
