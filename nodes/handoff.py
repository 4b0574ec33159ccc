"""Hand-off: stage 2's reference latent from a draft or any clip."""

import torch
from comfy_api.latest import io
from torch import Tensor

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.faithful import make_thumbnails
from ..flashvideo_core.handoff import check_source, prepare_reference
from ..flashvideo_core.sizes import describe_floor, describe_stretch, floor_frame_count, floor_size
from ..flashvideo_core.vae_passes import to_model_range
from .bridge.progress import make_phase_callbacks
from .bridge.types import VAE, Latent
from .bridge.vae_fallback import FallbackVAE
from .handed import put_draft
from .inputs import check_video_latent, target_inputs, target_size
from .remarks import remark, trim_remark


class FlashVideoHandoff(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoHandoff",
            display_name="FlashVideo Hand-off",
            category="FlashVideo",
            description="Makes stage 2's reference latent from a draft, or from any clip: decode, resize, encode, all "
            "in floating point, with nothing degraded. Connect a latent or images, not both.",
            search_aliases=["flashvideo", "upscale", "video to latent", "refine video"],
            inputs=[
                io.Vae.Input("vae", tooltip="From FlashVideo Load VAE."),
                io.Latent.Input("latent", optional=True, tooltip="The chosen draft."),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames of any clip, instead of a draft. Frames at the end that do not make 4n+1 "
                    "are left out.",
                ),
                *target_inputs(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="For FlashVideo Stage 2. It has no noise and needs no seed.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, vae: VAE, target: str, width: int, height: int, latent: Latent | None = None, images: Tensor | None = None
    ) -> io.NodeOutput:
        if (latent is None) == (images is None):
            raise InputError("connect either a latent or images to the hand-off, not both and not none")
        source = draft_size(latent, images)
        wanted = target_size(target, source, (height, width))
        size = floor_size(wanted)
        remark(cls, describe_floor(wanted, size), trim_remark(images), describe_stretch(source, size))
        sources = [images] if latent is None else latent["samples"].split(1)
        fallback_vae, callbacks = FallbackVAE(vae, encodes=True), make_phase_callbacks(2 * len(sources))
        references, thumbnails = [], []
        for source, decode, encode in zip(sources, callbacks[::2], callbacks[1::2], strict=True):
            if latent is None:
                frames = to_model_range(source[: floor_frame_count(len(source)), ..., :3])
            else:
                check_source(source, "latent")
                frames = fallback_vae.decode(source, decode, "draft_decode")
            thumbnails.append((make_thumbnails(frames[0].permute(1, 2, 3, 0), size) + 1) / 2)
            references.append(prepare_reference(vae=fallback_vae, size=size, callback=encode, frames=frames))
        return io.NodeOutput(put_draft(torch.cat(references), thumbnails))


def draft_size(latent: Latent | None, images: Tensor | None) -> tuple[int, int]:
    """(height, width) in pixels of what is handed off. Raises InputError for what is no video latent."""
    if latent is not None:
        check_video_latent(latent["samples"])
        return 8 * latent["samples"].shape[-2], 8 * latent["samples"].shape[-1]
    return images.shape[1], images.shape[2]


NODES = [FlashVideoHandoff]
