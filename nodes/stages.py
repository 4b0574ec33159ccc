"""Stage 1 and Stage 2: from noise to drafts, from a reference latent to the refined clip."""

from comfy_api.latest import io

from ..flashvideo_core.config import STAGE1_DEFAULTS
from ..flashvideo_core.settings import DraftSettings, RefineSettings, Value
from ..flashvideo_core.sizes import describe_floor
from .bridge.runs import refine_latents, sample_drafts
from .bridge.sampling import get_config
from .bridge.types import Conditioning, Latent, Model
from .handed import replace_samples
from .inputs import (
    cfg_input,
    check_video_latent,
    guidance_input,
    negative_input,
    seed_input,
    side_input,
    stage2_inputs,
    steps_input,
    windows_input,
)
from .remarks import remark, replaced_flow_remark, report, training_range_remark
from .stored import sample_stored

CUSTOM = "custom"
DRAFT_SIZES = {"released 480x256": (256, 480), "16:9 480x272": (272, 480), "tiny 96x64": (64, 96)}  # height, width


class FlashVideoStage1(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoStage1",
            display_name="FlashVideo Stage 1 (drafts)",
            category="FlashVideo",
            description="Samples one or several small drafts that follow the prompt. They are cheap: look at them "
            "before stage 2, for example in FlashVideo Review.",
            search_aliases=["flashvideo", "text to video", "t2v", "sampler", "draft"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1 from FlashVideo Load Model."),
                io.Conditioning.Input("positive", tooltip="Output stage1 of FlashVideo Encode Prompt."),
                negative_input("Not connected: zeros, which is what the released code uses."),
                seed_input("Draft i of several uses seed + i and equals the same draft made alone."),
                steps_input(STAGE1_DEFAULTS.steps, 2, 999, f"Evaluations; released: {STAGE1_DEFAULTS.steps}."),
                cfg_input(STAGE1_DEFAULTS.cfg, f"Guidance; released: {STAGE1_DEFAULTS.cfg:g}."),
                guidance_input(
                    "released: a scale that changes with the step, as the weights were tuned. constant: cfg."
                ),
                io.Combo.Input(
                    "preset",
                    options=[*DRAFT_SIZES, CUSTOM],
                    default="released 480x256",
                    tooltip="Size of the draft. The released weights were trained at 480x256; 480x272 is nearly 16:9, "
                    "and 1920x1088 of it is cropped to 1080; 96x64 suits the tiny model. custom: width and height "
                    "below.",
                ),
                side_input("width", 480, "Pixels, for the preset custom; floored to a multiple of 16."),
                side_input("height", 256, "Pixels, for the preset custom; floored to a multiple of 16."),
                io.Int.Input(
                    "frames",
                    default=STAGE1_DEFAULTS.frames,
                    min=1,
                    max=193,
                    step=4,
                    tooltip=f"4n+1; trained: {STAGE1_DEFAULTS.frames}, six seconds at {STAGE1_DEFAULTS.fps} a second.",
                ),
                io.Int.Input("drafts", default=1, min=1, max=16, tooltip="How many drafts to choose from."),
                io.Float.Input(
                    "cfg_epsilon",
                    optional=True,
                    default=0.0,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    advanced=True,
                    tooltip="Steps whose guidance scale is so near to 1 have none, which costs half. 0: none has.",
                ),
                io.Boolean.Input(
                    "store",
                    default=False,
                    optional=True,
                    tooltip="Keeps each draft in the output folder, in FlashVideo/stored; the same draft is then read "
                    "instead of sampled, also after a restart.",
                ),
                io.Float.Input(
                    "store_gb",
                    default=2.0,
                    min=0.01,
                    max=10000.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="How large that folder becomes, in GB; what was not used for longest goes first.",
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The drafts, one after the other, in VAE units.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        positive: Conditioning,
        preset: str,
        width: int,
        height: int,
        drafts: int,
        negative: Conditioning | None = None,
        store: bool = False,
        store_gb: float = 2.0,
        **values: Value,
    ) -> io.NodeOutput:
        """values: the inputs that are fields of DraftSettings. Draft i has the seed + i."""
        config = get_config(model, stage=1)
        height, width = DRAFT_SIZES.get(preset, (height, width))
        settings = DraftSettings.from_defaults(config.defaults, height=height, width=width, **values)
        floored = describe_floor((height, width), settings.size)
        remarks = [floored, training_range_remark(config, settings.size, settings.frames)]
        remark(cls, *remarks)
        if not store:
            return io.NodeOutput({"samples": sample_drafts(model, positive, negative, settings, drafts)})
        stored = sample_stored(model, positive, negative, settings, drafts, store_gb)
        (report if stored.are_stored else remark)(cls, *remarks, stored.said)
        return io.NodeOutput({"samples": stored.latents})


class FlashVideoStage2(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoStage2",
            display_name="FlashVideo Stage 2 (refine)",
            category="FlashVideo",
            description="Turns the reference latent into a large, detailed clip in a few evaluations.",
            search_aliases=["flashvideo", "sampler", "refine", "upscale", "1080p"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 2 from FlashVideo Load Model."),
                io.Conditioning.Input("positive", tooltip="Output stage2 of FlashVideo Encode Prompt."),
                negative_input("Not connected: zeros, which is what the released code uses."),
                io.Latent.Input(
                    "latent",
                    tooltip="From FlashVideo Hand-off. Where a mask of Set Latent Noise Mask is 0, the reference stays "
                    "as it is.",
                ),
                *stage2_inputs("Noise of stage 2. With the draft's own seed the clip is that of the command line."),
                windows_input(
                    "For clips longer (time) or larger (space) than stage 2 was trained on: it sees overlapping "
                    "windows of 49 frames, or of 960x544 pixels, and the memory is that of one."
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The refined clip, in VAE units.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        positive: Conditioning,
        latent: Latent,
        noise_step: int,
        negative: Conditioning | None = None,
        **values: Value,
    ) -> io.NodeOutput:
        """values: the inputs that are fields of RefineSettings. The size is that of the latent."""
        config, z = get_config(model, stage=2), latent["samples"]
        check_video_latent(z)
        height, width = 8 * z.shape[3], 8 * z.shape[4]
        values |= {"height": height, "width": width, "ref_step": noise_step}
        settings = RefineSettings.from_defaults(config.defaults, **values)
        replaced = replaced_flow_remark(model.object_patches.get("model_sampling"), settings.shift, noise_step)
        remark(cls, training_range_remark(config, settings.size, 4 * z.shape[2] - 3), replaced)
        refined = refine_latents(model, positive, negative, z, settings, latent.get("noise_mask"))
        return io.NodeOutput(replace_samples(latent, refined))


NODES = [FlashVideoStage1, FlashVideoStage2]
