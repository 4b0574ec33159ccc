"""The path as nodes: Stage 1, Hand-off, Stage 2, Decode."""

from fractions import Fraction

import torch
from comfy_api.latest import InputImpl, Types, io

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.guidance import GUIDANCE_SCALES
from ..flashvideo_core.handoff import prepare_reference
from ..flashvideo_core.pipeline import crop_to_1080, to_image_range, to_model_range
from ..flashvideo_core.sizes import check_frame_count, floor_size, trimmed_count
from .bridge.fitting import TILINGS, FittingVAE
from .bridge.progress import phase_callback, tell
from .bridge.sampling import config_of, run_stage1, run_stage2

CUSTOM = "custom"
DRAFT_SIZES = {"released 480x256": (256, 480), "16:9 480x272": (272, 480), "tiny 96x64": (64, 96)}  # height, width
TARGET_SIZES = {"released 1920x1072": (1072, 1920), "16:9 1920x1088": (1088, 1920)}
FOUR_TIMES = "4x the draft"
SEED = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
SIDE = {"min": 16, "max": 8192, "step": 16}


class FlashVideoStage1(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoStage1",
            display_name="FlashVideo Stage 1 (drafts)",
            category="FlashVideo",
            description="Samples one or several small drafts that follow the prompt. Look at them before stage 2.",
            search_aliases=["flashvideo", "text to video", "t2v", "sampler", "draft"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1 from FlashVideo Load Model."),
                io.Conditioning.Input("positive", tooltip="Output stage1 of FlashVideo Encode Prompt."),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="Not connected: zeros, which is what the released code uses."
                ),
                io.Int.Input("seed", **SEED, tooltip="Draft i of several uses seed + i, and equals it made alone."),
                io.Int.Input("steps", default=51, min=2, max=999, tooltip="Evaluations; the released number is 51."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=30.0, step=0.1, tooltip="Guidance; released: 8."),
                io.Combo.Input(
                    "guidance",
                    options=list(GUIDANCE_SCALES),
                    default="released",
                    tooltip="released: a scale that changes with the step, as the weights were tuned. constant: cfg.",
                    advanced=True,
                ),
                io.Combo.Input(
                    "preset",
                    options=[*DRAFT_SIZES, CUSTOM],
                    default="released 480x256",
                    tooltip="Size of the draft. The released weights were trained at 480x256; 480x272 is exactly 16:9; "
                    "96x64 suits the tiny model. custom: width and height below.",
                ),
                io.Int.Input("width", default=480, **SIDE, tooltip="Pixels, for the preset custom.", advanced=True),
                io.Int.Input("height", default=256, **SIDE, tooltip="Pixels, for the preset custom.", advanced=True),
                io.Int.Input("frames", default=49, min=1, max=193, step=4, tooltip="4n+1; trained: 49 (6 s at 8 fps)."),
                io.Int.Input("drafts", default=1, min=1, max=16, tooltip="How many drafts to choose from."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The drafts, one after the other, in VAE units.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls, model, positive, seed, steps, cfg, guidance, preset, width, height, frames, drafts, negative=None
    ) -> io.NodeOutput:
        config = config_of(model, stage=1)
        check_frame_count(frames)
        height, width = floor_size(DRAFT_SIZES.get(preset, (height, width)))
        say(cls, outside_training(config, (height, width), frames))
        shape = (config.latent_channels, (frames + 3) // 4, height // 8, width // 8)
        settings = {"seed": seed, "drafts": drafts, "steps": steps, "cfg": cfg, "guidance": guidance}
        return io.NodeOutput({"samples": run_stage1(model, positive, negative, shape, **settings)})


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
                io.Combo.Input(
                    "target",
                    options=[*TARGET_SIZES, FOUR_TIMES, CUSTOM],
                    default="released 1920x1072",
                    tooltip="Size of the refined clip. 1920x1088 belongs to 16:9 drafts and is cropped to 1080 after "
                    "decode. custom: width and height below, floored to multiples of 16.",
                ),
                io.Int.Input("width", default=1920, **SIDE, tooltip="Pixels, for the target custom.", advanced=True),
                io.Int.Input("height", default=1072, **SIDE, tooltip="Pixels, for the target custom.", advanced=True),
            ],
            outputs=[io.Latent.Output("latent", tooltip="For FlashVideo Stage 2. It has no noise and needs no seed.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, vae, target, width, height, latent=None, images=None) -> io.NodeOutput:
        if (latent is None) == (images is None):
            raise InputError("connect either a latent or images to the hand-off, not both and not none")
        if latent is not None:
            clips, draft_size = latent["samples"].split(1), [8 * side for side in latent["samples"].shape[-2:]]
        else:
            clips, draft_size = [to_model_range(images[..., :3])], images.shape[1:3]
        sizes = {**TARGET_SIZES, FOUR_TIMES: (4 * draft_size[0], 4 * draft_size[1])}
        size = floor_size(sizes.get(target, (height, width)))
        say(cls, changes(images, target, (height, width), size))
        name, fitting, phase = "frames" if latent is None else "z", FittingVAE(vae), phase_callback(2 * len(clips))
        out = []
        for i, clip in enumerate(clips):
            callback = two_phases(phase(2 * i), phase(2 * i + 1))
            out.append(prepare_reference(vae=fitting, size=size, callback=callback, **{name: clip}))
        return io.NodeOutput({"samples": torch.cat(out)})


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
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="Not connected: zeros, which is what the released code uses."
                ),
                io.Latent.Input("latent", tooltip="From FlashVideo Hand-off."),
                io.Int.Input("seed", **SEED, tooltip="Noise of stage 2. A draft's own seed gives what the CLI gives."),
                io.Int.Input("steps", default=4, min=1, max=100, tooltip="Evaluations; paper: 4, released script: 5."),
                io.Float.Input("cfg", default=13.0, min=0.0, max=30.0, step=0.1, tooltip="Guidance; released: 13."),
                io.Float.Input(
                    "shift",
                    default=2.5,
                    min=0.1,
                    max=20.0,
                    step=0.01,
                    tooltip="How much of the path goes to the first steps; released: 2.5.",
                    advanced=True,
                ),
                io.Int.Input(
                    "noise_step",
                    default=675,
                    min=0,
                    max=999,
                    tooltip="Noise on the reference, 0 to 999; trained: 675. More changes the draft more; raise it "
                    "with the size and the number of frames.",
                    advanced=True,
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The refined clip, in VAE units.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, model, positive, latent, seed, steps, cfg, shift, noise_step, negative=None) -> io.NodeOutput:
        z = latent["samples"]
        check_latent(z)
        size = (8 * z.shape[3], 8 * z.shape[4])
        say(cls, outside_training(config_of(model, stage=2), size, 4 * z.shape[2] - 3))
        settings = {"seed": seed, "steps": steps, "cfg": cfg, "shift": shift, "ref_step": noise_step}
        return io.NodeOutput({**latent, "samples": run_stage2(model, positive, negative, z, **settings)})


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
                    "largest tile. off: the whole picture. large, medium, small: tiles of 640, 384, 256 pixels. When "
                    "memory runs out, smaller pieces are tried.",
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
    def execute(cls, vae, latent, tiling, crop, fps) -> io.NodeOutput:
        z, fitting = latent["samples"], FittingVAE(vae, tiling)
        check_latent(z)
        phase, clips = phase_callback(len(z)), []
        for i, clip in enumerate(z.split(1)):
            frames = to_image_range(fitting.decode(clip, phase(i)))
            clips.append(crop_to_1080(frames) if crop == "auto" else frames)
        images = clips[0] if len(clips) == 1 else torch.cat(clips)
        parts = Types.VideoComponents(images=images, audio=None, frame_rate=Fraction(fps).limit_denominator(1001))
        return io.NodeOutput(images, InputImpl.VideoFromComponents(parts))


def say(node: type[io.ComfyNode], text: str | None) -> None:
    if text is not None:
        tell(text, node.hidden.unique_id if node.hidden else None)


def two_phases(draft_decode, handoff):
    """One callback of the core that sends each phase of a hand-off to its own part of the bar."""
    parts = {"draft_decode": draft_decode, "handoff": handoff}
    return lambda phase, *report: parts[phase](phase, *report)


def check_latent(z: torch.Tensor) -> None:
    if z.ndim != 5 or z.shape[1] != 16:
        raise InputError(f"the latent has the shape {list(z.shape)}; a video latent [B, 16, T, H, W] is needed")


def outside_training(config, size: tuple[int, int], frames: int) -> str | None:
    """What to say of a size and length that the stage has not seen; None inside the trained range."""
    (height, width), trained = config.defaults.size, config.defaults.frames
    if size[0] * size[1] * frames <= 1.1 * height * width * trained:
        return None
    advice = "raise noise_step with the size and the number of frames" if config.reference else "expect repetition"
    return (
        f"stage {config.stage} was trained at {width}x{height} with {trained} frames, "
        f"this is {size[1]}x{size[0]} with {frames}; {advice}"
    )


def changes(images: torch.Tensor | None, target: str, asked: tuple[int, int], size: tuple[int, int]) -> str | None:
    """What the hand-off makes of an impossible size or number of frames; None if it changes nothing."""
    said = []
    if target == CUSTOM and size != asked:
        said.append(f"{asked[1]}x{asked[0]} is floored to {size[1]}x{size[0]} (multiples of 16)")
    if images is not None and trimmed_count(len(images)) != len(images):
        said.append(f"{len(images)} frames are trimmed to {trimmed_count(len(images))} (4n+1)")
    return "; ".join(said) or None


NODES = [FlashVideoStage1, FlashVideoHandoff, FlashVideoStage2, FlashVideoDecode]
