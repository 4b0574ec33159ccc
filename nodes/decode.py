"""Decode: latents to frames and to a video."""

from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, Types, io

from ..flashvideo_core.vae_passes import crop_to_1080, to_image_range
from .bridge.progress import make_phase_callbacks
from .bridge.types import VAE, Latent
from .bridge.vae_fallback import TILE_SIZES, TILINGS, FallbackVAE
from .inputs import check_video_latent


class FlashVideoDecode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoDecode",
            display_name="FlashVideo Decode",
            category="FlashVideo",
            description="Latents to frames and to a video; frame by frame or in blended tiles when memory asks.",
            search_aliases=["flashvideo", "vae decode", "latent to video"],
            inputs=[
                io.Vae.Input("vae", tooltip="From FlashVideo Load VAE."),
                io.Latent.Input("latent", tooltip="Drafts or a refined clip."),
                io.Combo.Input(
                    "tiling",
                    options=list(TILINGS),
                    default="auto",
                    tooltip="auto: whole if it fits the free memory, else frame by frame (the same picture), else the "
                    f"largest tile. off: the whole picture. {describe_tiles()}. When memory runs out, smaller pieces "
                    "are tried.",
                ),
                io.Combo.Input(
                    "crop",
                    options=["auto", "none"],
                    default="auto",
                    tooltip="auto: 1920x1088 becomes 1920x1080, anything else stays. none: nothing is cut.",
                    advanced=True,
                ),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=0.001, tooltip="Frames per second."),
            ],
            outputs=[
                io.Image.Output("images", tooltip="The frames; several drafts follow one another."),
                io.Video.Output("video", tooltip="The same frames as a video, for Save Video."),
            ],
        )

    @classmethod
    def execute(cls, vae: VAE, latent: Latent, tiling: str, crop: str, fps: float) -> io.NodeOutput:
        z, fallback_vae = latent["samples"], FallbackVAE(vae, tiling)
        check_video_latent(z)
        clips = []
        for item, callback in zip(z.split(1), make_phase_callbacks(len(z)), strict=True):
            frames = to_image_range(fallback_vae.decode(item, callback))
            clips.append(crop_to_1080(frames) if crop == "auto" else frames)
        images = clips[0] if len(clips) == 1 else torch.cat(clips)
        frame_rate = Fraction(fps).limit_denominator(1001)
        components = Types.VideoComponents(images=images, audio=None, frame_rate=frame_rate)
        return io.NodeOutput(images, InputImpl.VideoFromComponents(components))


def describe_tiles() -> str:
    sides = ", ".join(str(8 * height) for height, _ in TILE_SIZES.values())
    return f"{', '.join(TILE_SIZES)}: tiles of {sides} pixels"


NODES = [FlashVideoDecode]
