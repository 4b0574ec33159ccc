"""Decode: latents to frames and to a video."""

from collections.abc import Sequence
from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, Types, io
from torch import Tensor

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.faithful import match_draft
from ..flashvideo_core.sizes import floor_frame_count
from ..flashvideo_core.vae_passes import crop_to_1080, to_image_range
from .bridge.progress import make_phase_callbacks
from .bridge.types import VAE, Latent
from .bridge.vae_fallback import TILE_SIZES, TILINGS, FallbackVAE
from .handed import find_draft
from .inputs import MATCHES, check_video_latent, match_input
from .remarks import drift_remark, remark, report


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
                match_input(
                    "What a refined clip takes back from its draft; detail stays as it is. color: the mean "
                    "colour. low frequencies: colour, light and shade of every part of the picture.",
                    optional=True,
                ),
                io.Image.Input(
                    "draft",
                    optional=True,
                    tooltip="The frames of the draft, or of the clip that was refined: for match, and to say under the "
                    "node how far the refined clip is from them. Not connected: those that the hand-off was given.",
                ),
            ],
            outputs=[
                io.Image.Output("images", tooltip="The frames; several drafts follow one another."),
                io.Video.Output("video", tooltip="The same frames as a video, for Save Video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        vae: VAE,
        latent: Latent,
        tiling: str,
        crop: str,
        fps: float,
        match: str = "none",
        draft: Tensor | None = None,
    ) -> io.NodeOutput:
        z, fallback_vae = latent["samples"], FallbackVAE(vae, tiling)
        check_video_latent(z)
        drafts, clips, drifts = split_drafts(find_draft(latent) if draft is None else draft, z, match), [], []
        for item, own_draft, callback in zip(z.split(1), drafts, make_phase_callbacks(len(z)), strict=True):
            frames = to_image_range(fallback_vae.decode(item, callback))
            if own_draft is not None:
                drifts.append(match_draft(frames, own_draft, MATCHES[match]))
            clips.append(crop_to_1080(frames) if crop == "auto" else frames)
        show = remark if any(drift.is_large for drift in drifts) else report
        show(cls, *map(drift_remark, drifts))
        images = clips[0] if len(clips) == 1 else torch.cat(clips)
        frame_rate = Fraction(fps).limit_denominator(1001)
        components = Types.VideoComponents(images=images, audio=None, frame_rate=frame_rate)
        return io.NodeOutput(images, InputImpl.VideoFromComponents(components))


def split_drafts(draft: Tensor | None, z: Tensor, match: str) -> Sequence[Tensor | None]:
    """The draft's images [B*F, h, w, 3] as those of each item of a latent [B, 16, T, H, W]; None: nothing to compare.

    A single clip may have frames more at its end, which the hand-off has left out. Raises InputError for others.
    """
    batch, frames = len(z), 4 * z.shape[2] - 3
    if draft is None:
        if match != "none":
            raise InputError(f"match is {match}, so connect the draft, or the clip that was refined, to draft")
        return [None] * batch
    if batch == 1 and floor_frame_count(len(draft)) == frames:
        return [draft]
    if len(draft) != batch * frames:
        raise InputError(f"the draft has {len(draft)} frames; the latent is {batch} x {frames} frames")
    return draft.split(frames)


def describe_tiles() -> str:
    sides = ", ".join(str(8 * height) for height, _ in TILE_SIZES.values())
    return f"{', '.join(TILE_SIZES)}: tiles of {sides} pixels"


NODES = [FlashVideoDecode]
