"""What the workflows of this pack consist of: nodes by name with position, values and links, for make_workflows.py."""

from dataclasses import dataclass, field

RELEASED = "https://huggingface.co/FoundationVision/FlashVideo/resolve/main/"
TEXT_ENCODERS = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/"
PROMPT = (
    "A golden retriever runs along a wide sandy beach at sunset, its wet fur glowing in the warm light. Small waves "
    "roll in behind it and leave foam on the shore, and each step throws up a little spray. The camera follows from "
    "the side at the height of the dog, smooth and steady, while the orange sun sits low over the sea and the sky "
    "fades from amber to violet. Fine detail in the fur and in the water, natural motion, shallow depth of field."
)


Values = dict[str, str | int | float]


@dataclass(frozen=True)
class ModelFile:
    """A file that the editor offers to download. It does so where a widget asks for a missing file of this name, and
    keeps it by this name: a .pt cannot be offered for a widget that asks for a .safetensors."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True)
class NodeSpec:
    """A node of a workflow: widget values by input, and links as {input: (name of the node, output)}."""

    type: str
    pos: tuple[int, int]
    inputs: Values = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    title: str | None = None
    models: tuple[ModelFile, ...] = ()


Workflow = dict[str, NodeSpec]
"""Nodes by a name that the links use. Their order gives the ids: nodes are only appended."""


def model_file(name: str, directory: str, source: str = RELEASED) -> ModelFile:
    return ModelFile(name, source + name, directory)


def note(pos: tuple[int, int], text: str, size: tuple[int, int], title: str = "Read me") -> NodeSpec:
    return NodeSpec("MarkdownNote", pos, {"": text}, size=size, title=title)


def weights_note() -> NodeSpec:
    return note((0, 850), WEIGHTS_NOTE, (300, 260), "Weights")


def tiny_loaders() -> Workflow:
    load = "FlashVideoModelLoader"
    return {
        "stage1_model": NodeSpec(load, (0, 240), {"model_name": "tiny stage 1 (embedded)"}, title="Stage 1 model"),
        "stage2_model": NodeSpec(load, (0, 400), {"model_name": "tiny stage 2 (embedded)"}, title="Stage 2 model"),
        "vae": NodeSpec("FlashVideoVAELoader", (0, 560), {"vae_name": "tiny (embedded)"}),
        "clip": NodeSpec("FlashVideoTextEncoderLoader", (0, 685), {"clip_name": "tiny (embedded)"}),
    }


def released_loaders(dtype: str = "default", t5: str = "t5xxl_fp16.safetensors", stage1: bool = True) -> Workflow:
    def load_stage(stage: int, y: int) -> NodeSpec:
        file = model_file(f"stage{stage}.pt", "diffusion_models")
        values, title = {"model_name": file.name, "weight_dtype": dtype}, f"Stage {stage} model"
        return NodeSpec("FlashVideoModelLoader", (0, y), values, title=title, models=(file,))

    vae, text = model_file("3d-vae.pt", "vae"), model_file(t5, "text_encoders", TEXT_ENCODERS)
    return {
        **({"stage1_model": load_stage(1, 240)} if stage1 else {}),
        "stage2_model": load_stage(2, 400),
        "vae": NodeSpec("FlashVideoVAELoader", (0, 560), {"vae_name": vae.name}, models=(vae,)),
        "clip": NodeSpec("CLIPLoader", (0, 685), {"clip_name": t5, "type": "cogvideox"}, models=(text,)),
    }


def encode(prompt: str, pos: tuple[int, int] = (340, 0)) -> NodeSpec:
    return NodeSpec("FlashVideoTextEncode", pos, {"prompt": prompt}, {"clip": ("clip", "CLIP")}, size=(400, 320))


def save(pos: tuple[int, int], prefix: str, video: tuple[str, str], size: tuple[int, int]) -> NodeSpec:
    return NodeSpec("SaveVideo", pos, {"filename_prefix": prefix}, {"video": video}, size=size)


def draft_and_review(stage1: Values, decision: str) -> Workflow:
    """Stage 1, its decoded drafts, and the review."""
    return {
        "stage1": NodeSpec(
            "FlashVideoStage1",
            (340, 380),
            stage1,
            {"model": ("stage1_model", "MODEL"), "positive": ("text", "stage1"), "negative": ("text", "negative")},
            size=(400, 360),
        ),
        "decode_drafts": NodeSpec(
            "FlashVideoDecode",
            (780, 0),
            {},
            {"vae": ("vae", "VAE"), "latent": ("stage1", "latent")},
            size=(340, 180),
            title="Decode the drafts",
        ),
        "review": NodeSpec(
            "FlashVideoReview",
            (780, 230),
            {"decision": decision},
            {"latent": ("stage1", "latent"), "images": ("decode_drafts", "images")},
            size=(420, 510),
        ),
    }


def refine(
    source: dict[str, tuple[str, str]], handoff: Values, stage2: Values, decode: Values | None = None, x: int = 1240
) -> Workflow:
    """Hand-off, stage 2 and decode, of a source: {"latent": link} or {"images": link}."""
    text = {"positive": ("text", "stage2"), "negative": ("text", "negative")}
    return {
        "handoff": NodeSpec("FlashVideoHandoff", (x, 0), handoff, {"vae": ("vae", "VAE"), **source}, size=(340, 190)),
        "stage2": NodeSpec(
            "FlashVideoStage2",
            (x, 240),
            stage2,
            {"model": ("stage2_model", "MODEL"), "latent": ("handoff", "latent"), **text},
            size=(340, 280),
        ),
        "decode": NodeSpec(
            "FlashVideoDecode",
            (x, 570),
            decode or {},
            {"vae": ("vae", "VAE"), "latent": ("stage2", "latent")},
            size=(340, 180),
        ),
    }


TINY_STAGE1 = {"seed": 2, "steps": 25, "cfg": 3.0, "guidance": "constant", "preset": "tiny 96x64", "frames": 17}
TINY_STAGE2 = {"seed": 2, "steps": 4, "cfg": 1.0, "noise_step": 30}

TINY_NOTE = """Runs at once: the tiny model is part of the pack and knows only moving shapes.

**Run** makes the drafts and goes on with draft 0. To look first, press **Make drafts** in the review node \
(or set *decision* to *review*), choose a draft, then press **Refine this draft**."""
REVIEW_NOTE = """**Run** makes two drafts and stops at the review node. Choose one there, press **Refine this draft**.

Long, detailed prompts of 60 to 130 words work best. The chosen draft is also saved as a latent: after a restart, \
*resume-from-draft* goes on from it."""
VIDEO_NOTE = """Refines any short clip. Choose your file in *Load Video* and say in the prompt what it shows.

Frame rate and sound are those of the file. Up to 49 frames as trained; frames at the end that do not make 4n+1 are \
left out. *Transfer Color* brings the colours back to those of the input."""
RESUME_NOTE = """Goes on from a draft that was saved by *Save Latent*, or from the *draft.safetensors* of the command \
line, without stage 1.

Copy the file from *output/latents* to *input*, with the ending *.latent*, and choose it in *Load Latent*. Give the \
prompt that the draft was made with."""
LOW_NOTE = """For cards with little memory: weights in fp8, the text encoder in fp8, one draft, decoding in small \
tiles. ComfyUI moves the parts that are not at work to system memory by itself.

Still out of memory? Choose the target *custom* in the hand-off, with 1280x720."""

WEIGHTS_NOTE = """The editor offers to download what is missing: the released *.pt* files and the text encoder. They \
work as they are.

Converted once, they load faster and hold no pickle. In the folder *ComfyUI*, with ComfyUI's Python:

`python custom_nodes/ComfyUI-FlashVideo convert models/diffusion_models/stage2.pt \
models/diffusion_models/flashvideo_stage2.safetensors`

In the same way *stage1.pt* to *flashvideo_stage1.safetensors*, and in *models/vae* *3d-vae.pt* to \
*flashvideo_vae.safetensors*. Then choose the new names in the loaders."""

WORKFLOW_LISTS: dict[str, Workflow] = {
    "tiny-two-stage": {
        "note": note((0, 0), TINY_NOTE, (300, 190)),
        **tiny_loaders(),
        "text": encode("a large green square moves right over a white background"),
        **draft_and_review({**TINY_STAGE1, "drafts": 2}, "approve"),
        **refine({"latent": ("review", "latent")}, {"target": "4x the draft"}, TINY_STAGE2),
        "save": save((1620, 0), "FlashVideo/tiny", ("decode", "video"), (400, 400)),
    },
    "released-two-stage-with-review": {
        "note": note((0, 0), REVIEW_NOTE, (300, 190)),
        **released_loaders(),
        "text": encode(PROMPT),
        **draft_and_review({"seed": 1, "drafts": 2}, "review"),
        **refine({"latent": ("review", "latent")}, {}, {"seed": 1}),
        "save": save((1620, 0), "FlashVideo/clip", ("decode", "video"), (400, 400)),
        "save_draft": NodeSpec(
            "SaveLatent",
            (1620, 450),
            {"filename_prefix": "latents/FlashVideo-draft"},
            {"samples": ("review", "latent")},
            size=(400, 80),
            title="Save the chosen draft",
        ),
        "weights": weights_note(),
    },
    "refine-a-video": {
        "note": note((0, 0), VIDEO_NOTE, (300, 280)),
        **released_loaders(stage1=False),
        "text": encode(PROMPT, (340, 440)),
        "load": NodeSpec("LoadVideo", (340, 0), {"file": "clip.mp4"}, size=(400, 380)),
        "components": NodeSpec("GetVideoComponents", (780, 0), {}, {"video": ("load", "VIDEO")}, size=(220, 130)),
        **refine({"images": ("components", "images")}, {}, {"seed": 1}, x=1040),
        "colours": NodeSpec(
            "ColorTransfer",
            (1420, 0),
            {"method": "reinhard_lab", "source_stats": "uniform"},
            {"image_target": ("decode", "images"), "image_ref": ("components", "images")},
            size=(340, 150),
            title="Colours of the input",
        ),
        "video": NodeSpec(
            "CreateVideo",
            (1420, 210),
            {},
            {"images": ("colours", "image"), "fps": ("components", "fps"), "audio": ("components", "audio")},
            size=(340, 130),
        ),
        "save": save((1420, 400), "FlashVideo/refined", ("video", "VIDEO"), (340, 350)),
        "first_before": NodeSpec(
            "ImageFromBatch",
            (1800, 0),
            {},
            {"image": ("components", "images")},
            size=(400, 90),
            title="First frame before",
        ),
        "first_after": NodeSpec(
            "ImageFromBatch", (1800, 150), {}, {"image": ("colours", "image")}, size=(400, 90), title="and after"
        ),
        "stitched": NodeSpec(
            "ImageStitch",
            (1800, 300),
            {},
            {"image1": ("first_before", "IMAGE"), "image2": ("first_after", "IMAGE")},
            size=(400, 150),
            title="Side by side",
        ),
        "compare": NodeSpec("PreviewImage", (1800, 510), {}, {"images": ("stitched", "IMAGE")}, size=(400, 240)),
        "weights": weights_note(),
    },
    "resume-from-draft": {
        "note": note((0, 0), RESUME_NOTE, (300, 280)),
        **released_loaders(stage1=False),
        "text": encode(PROMPT, (340, 200)),
        "load": NodeSpec("LoadLatent", (340, 0), {"latent": "FlashVideo-draft_00001_.latent"}, size=(400, 80)),
        **refine({"latent": ("load", "LATENT")}, {}, {"seed": 1}, x=780),
        "save": save((1160, 0), "FlashVideo/resumed", ("decode", "video"), (400, 400)),
        "weights": weights_note(),
    },
    "low-memory": {
        "note": note((0, 0), LOW_NOTE, (300, 190)),
        **released_loaders("fp8_e4m3fn", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        "text": encode(PROMPT),
        **draft_and_review({"seed": 1}, "review"),
        **refine({"latent": ("review", "latent")}, {}, {"seed": 1}, decode={"tiling": "small"}),
        "save": save((1620, 0), "FlashVideo/clip", ("decode", "video"), (400, 400)),
        "weights": weights_note(),
    },
}
