"""Refine Video: stage 2 on a film of any length, written to a file while it is made."""

from comfy_api.latest import Input, InputImpl, io, ui

from ..flashvideo_core.config import TransformerConfig
from ..flashvideo_core.settings import RefineSettings, Value
from ..flashvideo_core.sizes import clip_size, describe_floor, describe_stretch, floor_frame_count, latent_size
from .bridge.sampling import get_config
from .bridge.saving import choose_video_path, make_metadata
from .bridge.types import VAE, Conditioning, Model
from .bridge.vae_fallback import FallbackVAE
from .bridge.video_source import VideoClip, open_video
from .inputs import MATCHES, match_input, negative_input, stage2_inputs, target_inputs, target_size, windows_input
from .refining import Refining, refine_video
from .remarks import drift_remark, remark, replaced_flow_remark, report, training_range_remark, trim_remark


class FlashVideoRefineVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoRefineVideo",
            display_name="FlashVideo Refine Video",
            category="FlashVideo",
            description="Hand-off, stage 2 and decode of a video of any length in flat memory: frames are read, "
            "refined and written to a file a few at a time. Queued again after a stop or a crash, it goes on where it "
            "was.",
            search_aliases=["flashvideo", "upscale video", "long video", "refine video", "video to video"],
            is_output_node=True,
            inputs=[
                io.Video.Input("video", tooltip="From Load Video; of its frames only a few are in memory at a time."),
                io.Model.Input("model", tooltip="Stage 2 from FlashVideo Load Model."),
                io.Vae.Input("vae", tooltip="From FlashVideo Load VAE."),
                io.Conditioning.Input("positive", tooltip="Output stage2 of FlashVideo Encode Prompt."),
                negative_input("Not connected: zeros, which is what the released code uses."),
                *target_inputs(),
                *stage2_inputs("Noise of stage 2."),
                windows_input(
                    "Stage 2 sees overlapping windows of 49 frames (time), or of 960x544 pixels (space), and the "
                    "memory is that of one. off: the whole clip, for short ones.",
                    default="time",
                ),
                match_input(
                    "What a refined clip takes back from the video; detail stays as it is. color: the mean colour. low "
                    "frequencies: colour, light and shade of every part of the picture.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="video/FlashVideo",
                    tooltip="Name of the file in the output folder, as in Save Video.",
                ),
            ],
            outputs=[io.Video.Output("video", tooltip="The refined video, with the sound of the other; it is saved.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        video: Input.Video,
        model: Model,
        vae: VAE,
        positive: Conditioning,
        target: str,
        width: int,
        height: int,
        noise_step: int,
        match: str,
        filename_prefix: str,
        negative: Conditioning | None = None,
        **values: Value,
    ) -> io.NodeOutput:
        """values: the inputs that are fields of RefineSettings."""
        config, fallback_vae = get_config(model, stage=2), FallbackVAE(vae, encodes=True)
        clip = open_video(video)
        wanted = target_size(target, clip.size, (height, width))
        values |= {"height": wanted[0], "width": wanted[1], "ref_step": noise_step, "match": MATCHES[match]}
        settings = RefineSettings.from_defaults(config.defaults, **values)
        choose_video_path(filename_prefix, settings.size)  # a bad one is said before anything is sampled
        replaced = replaced_flow_remark(model.object_patches.get("model_sampling"), settings.shift, noise_step)
        remarks = [describe_floor(wanted, settings.size), describe_stretch(clip.size, settings.size)]
        remarks += [trim_remark(clip.frames), *clip.notes, window_remark(config, settings, clip), replaced]
        remark(cls, *remarks)
        refining = Refining(clip, model, fallback_vae, positive, negative, settings)
        made = refine_video(refining, filename_prefix, make_metadata(cls), lambda text: report(cls, text))
        show = remark if made.drift.is_large else report
        show(cls, *remarks, drift_remark(made.drift))  # again, since the node shows what was said last
        return io.NodeOutput(InputImpl.VideoFromFile(str(made.path)), ui=ui.PreviewVideo([made.saved]))


def window_remark(config: TransformerConfig, settings: RefineSettings, clip: VideoClip) -> str | None:
    """On what stage 2 sees at once, where it was not trained on so much."""
    latent, windows = latent_size(floor_frame_count(len(clip.frames)), *settings.size), settings.latent_windows
    frames, *size = clip_size(*(latent if windows is None else windows.fit(latent)))
    return training_range_remark(config, tuple(size), frames)


NODES = [FlashVideoRefineVideo]
