"""The workflows of this pack: nodes by name with position, values and links, for make_workflows.py."""

from support.workflow_parts import (
    COLUMNS,
    COMPARE,
    DRAFT,
    GAPS,
    LANES,
    LOWER,
    PROMPT,
    REFINE,
    REVIEW,
    NodeSpec,
    Workflow,
    draft_and_review,
    encode,
    load_lora,
    note,
    refine,
    refine_film,
    released_loaders,
    save,
    speed_up,
    tiny_loaders,
    two_stages,
    weights_note,
)

from flashvideo_core.checkpoint import open_weights
from flashvideo_core.components import TINY

ONE, TWO = (open_weights(TINY / f"stage{stage}.safetensors").config.defaults for stage in (1, 2))
TINY_STAGE1 = {"seed": 2, "steps": ONE.steps, "cfg": ONE.cfg, "guidance": ONE.guidance, "frames": ONE.frames}
TINY_STAGE1 |= {"preset": f"tiny {ONE.size[1]}x{ONE.size[0]}"}
FIRST_ONLY = {"dense_evaluations": 0, "guided_evaluations": 1}
TINY_STAGE2 = {"seed": 2, "steps": TWO.steps, "cfg": TWO.cfg, "shift": TWO.shift, "noise_step": TWO.ref_step}
IN_ONE = {"steps": 1, "cfg": 1.0}
SMALL_FILM = {"target": "custom", "width": 384, "height": 208}  # the sample's proportions, the tiny model's width
STUDENT = "tiny student of stage 2 (embedded)"

TINY_NOTE = """Runs at once: the tiny model is part of the pack and knows only moving shapes.

**Run** makes the drafts and goes on with draft 0. To look first, press **Make drafts** in the review node \
(or set *decision* to *review*), choose a draft, then press **Refine this draft**."""
ONE_NOTE = """Stage 2 in one evaluation without guidance: one pass of its network instead of eight. *Load LoRA* puts \
the student of the tiny model on its stage 2; *steps* and *cfg* of Stage 2 are 1.

A student of your own weights is made by `train distill` of the command line; put its *lora.safetensors* into \
*models/loras*. ComfyUI's own LoRA loader takes it as well."""
REVIEW_NOTE = """**Run** makes two drafts and stops at the review node. Choose one there, press **Refine this draft**.

Long, detailed prompts of 60 to 130 words work best. The chosen draft is also saved as a latent: after a restart, \
*resume-from-draft* goes on from it."""
SAMPLE_PROMPT = "a large bright yellow star with dots moves to the left over a black background"
VIDEO_NOTE = """Refines any short clip. It starts with a sample: choose your own file in *Load Video* and say in the \
prompt what it shows.

Frame rate and sound are those of the file. Up to 49 frames as trained; frames at the end that do not make 4n+1 are \
left out. *Decode* brings the colours back to those of the input."""
FILM_NOTE = """Refines a video of any length in memory that does not grow with it: *Refine Video* reads, refines and \
writes a few frames at a time, and its latent is all that is ever whole. It saves the result and plays it.

It runs at once, with the tiny model and a sample. For your own: choose the file in *Load Video* (ComfyUI's own will \
do, too), say in the prompt what it shows, load the released weights, and set *target*, *cfg* 13 and *noise_step* 675.

Stopped, or ComfyUI killed? **Run** again: it goes on from what is in *output/FlashVideo/unfinished*."""
RESUME_NOTE = """Goes on from a draft that was saved by *Save Latent*, or from the *draft.safetensors* of the command \
line, without stage 1.

Copy the file from *output/latents* to *input*, with the ending *.latent*, and choose it in *Load Latent*. Give the \
prompt that the draft was made with."""
FAST_NOTE = """Stage 2 in a fraction of its work, for a look or for many clips: *FlashVideo Speed* gives its attention \
windows and its guidance to the first evaluation only. Counted at 1920x1072 that is an eighth of the operations.

It is not the released result: set *attention* to *dense* and *guided_evaluations* to 0 for that one. A second Speed \
node before stage 1, with *cache* 0.1, saves evaluations of the draft."""
LOW_NOTE = """For cards with little memory: weights in fp8, the text encoder in fp8, one draft, decoding in small \
tiles. ComfyUI moves the parts that are not at work to system memory by itself.

Still out of memory? Choose the target *custom* in the hand-off, with 1280x720."""

READ_ME = (-380, 0)

BLUEPRINT = "FlashVideo two-stage"
BLUEPRINT_DESCRIPTION = "Text to video in two stages: a draft that follows the prompt, then its refinement."
BLUEPRINT_NODES: Workflow = {
    **two_stages({}),
    "save": save((COLUMNS[4], LOWER), "FlashVideo/clip", ("decode", "video")),  # stays outside: it makes the output
}
BLUEPRINT_WIDGETS = (  # of the nodes inside, shown on the subgraph; the editor shows seeds by itself
    ("text", "prompt"),
    ("stage1", "preset"),
    ("stage1", "frames"),
    ("handoff", "target"),
    ("stage2", "noise_step"),
    ("stage1_model", "model_name"),
    ("stage2_model", "model_name"),
    ("vae", "vae_name"),
    ("clip", "clip_name"),
)
BLUEPRINT_LABELS = {"seed_1": "refine seed", "model_name": "stage 1 model", "model_name_1": "stage 2 model"}

WORKFLOW_LISTS: dict[str, Workflow] = {
    "tiny-two-stage": {
        "note": note(READ_ME, TINY_NOTE, (320, 240)),
        **tiny_loaders(),
        "text": encode("a large green square moves right over a white background"),
        **draft_and_review({**TINY_STAGE1, "drafts": 2}, "approve"),
        **refine({"latent": ("review", "latent")}, {"target": "4x the draft"}, TINY_STAGE2),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/tiny", ("decode", "video")),
    },
    "tiny-one-evaluation": {
        "note": note(READ_ME, ONE_NOTE, (320, 300)),
        **tiny_loaders(),
        "text": encode("a large red circle moves left over a grey background"),
        **draft_and_review(TINY_STAGE1, "approve"),
        **load_lora(
            refine({"latent": ("review", "latent")}, {"target": "4x the draft"}, TINY_STAGE2 | IN_ONE),
            STUDENT,
        ),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/tiny", ("decode", "video")),
    },
    "released-two-stage-with-review": {
        "note": note(READ_ME, REVIEW_NOTE, (320, 280)),
        **released_loaders(),
        "text": encode(PROMPT),
        **draft_and_review({"seed": 1, "drafts": 2}, "review"),
        **refine({"latent": ("review", "latent")}, {}, {"seed": 1}),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/clip", ("decode", "video")),
        "save_draft": NodeSpec(
            "SaveLatent",
            (COLUMNS[4] + 500, 0),
            {"filename_prefix": "latents/FlashVideo-draft"},
            {"samples": ("review", "latent")},
            size=(320, 80),
            title="Save the chosen draft",
            group=REVIEW,
        ),
        "weights": weights_note(),
    },
    "refine-a-video": {
        "note": note(READ_ME, VIDEO_NOTE, (320, 320)),
        **released_loaders(stage1=False),
        "text": encode(SAMPLE_PROMPT),
        "load": NodeSpec("FlashVideoVideoLoader", (COLUMNS[2], 0), {}, size=(320, 380), group=DRAFT),
        "components": NodeSpec(
            "GetVideoComponents", (COLUMNS[3], 0), {}, {"video": ("load", "video")}, size=(240, 130), group=DRAFT
        ),
        **refine(
            {"images": ("components", "images")}, {}, {"seed": 1}, {"match": "color"}, COLUMNS[3] + 280, matched=True
        ),
        "video": NodeSpec(
            "CreateVideo",
            (COLUMNS[4], LOWER),
            {},
            {"images": ("decode", "images"), "fps": ("components", "fps"), "audio": ("components", "audio")},
            size=(260, 130),
            group=REFINE,
            via={
                "fps": ((GAPS[3], 160), (GAPS[3], LANES[2])),
                "audio": ((GAPS[3] + 10, 170), (GAPS[3] + 10, LANES[3])),
            },
        ),
        "save": save((COLUMNS[4] + 320, LOWER), "FlashVideo/refined", ("video", "VIDEO"), (400, 380)),
        "first_before": NodeSpec(
            "ImageFromBatch",
            (COLUMNS[4], 0),
            {},
            {"image": ("components", "images")},
            size=(320, 90),
            title="First frame before",
            group=COMPARE,
        ),
        "first_after": NodeSpec(
            "ImageFromBatch",
            (COLUMNS[4], 180),
            {},
            {"image": ("decode", "images")},
            size=(320, 90),
            title="and after",
            group=COMPARE,
            via={"image": ((GAPS[3] - 15, LANES[0]),)},
        ),
        "stitched": NodeSpec(
            "ImageStitch",
            (COLUMNS[4] + 380, 0),
            {},
            {"image1": ("first_before", "IMAGE"), "image2": ("first_after", "IMAGE")},
            size=(260, 150),
            title="Side by side",
            group=COMPARE,
        ),
        "compare": NodeSpec(
            "PreviewImage",
            (COLUMNS[4] + 700, 0),
            {},
            {"images": ("stitched", "IMAGE")},
            size=(400, 300),
            group=COMPARE,
        ),
        "weights": weights_note(),
    },
    "refine-a-long-video": {
        "note": note(READ_ME, FILM_NOTE, (320, 400)),
        **refine_film(SAMPLE_PROMPT, {**TINY_STAGE2, **SMALL_FILM, "filename_prefix": "FlashVideo/film"}),
    },
    "resume-from-draft": {
        "note": note(READ_ME, RESUME_NOTE, (320, 320)),
        **released_loaders(stage1=False),
        "text": encode(PROMPT),
        "load": NodeSpec(
            "LoadLatent", (COLUMNS[2], 0), {"latent": "FlashVideo-draft_00001_.latent"}, size=(320, 60), group=DRAFT
        ),
        **refine({"latent": ("load", "LATENT")}, {}, {"seed": 1}, from_x=COLUMNS[2] + 360),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/resumed", ("decode", "video")),
        "weights": weights_note(),
    },
    "faster-stage-2": {
        "note": note(READ_ME, FAST_NOTE, (320, 340)),
        **released_loaders(),
        "text": encode(PROMPT),
        **draft_and_review({"seed": 1}, "review"),
        **speed_up(refine({"latent": ("review", "latent")}, {}, {"seed": 1}), {"attention": "windows", **FIRST_ONLY}),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/fast", ("decode", "video")),
        "weights": weights_note(),
    },
    "low-memory": {
        "note": note(READ_ME, LOW_NOTE, (320, 280)),
        **released_loaders("fp8_e4m3fn", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        "text": encode(PROMPT),
        **draft_and_review({"seed": 1}, "review"),
        **refine({"latent": ("review", "latent")}, {}, {"seed": 1}, decode={"tiling": "small"}),
        "save": save((COLUMNS[4], LOWER), "FlashVideo/clip", ("decode", "video")),
        "weights": weights_note(),
    },
}
