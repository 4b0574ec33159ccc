"""What the workflows of this pack consist of: nodes by name with place, values and links, for make_workflows.py."""

RELEASED = "https://huggingface.co/FoundationVision/FlashVideo/resolve/main/"
TEXT_ENCODERS = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/"
PROMPT = (
    "A golden retriever runs along a wide sandy beach at sunset, its wet fur glowing in the warm light. Small waves "
    "roll in behind it and leave foam on the shore, and each step throws up a little spray. The camera follows from "
    "the side at the height of the dog, smooth and steady, while the orange sun sits low over the sea and the sky "
    "fades from amber to violet. Fine detail in the fur and in the water, natural motion, shallow depth of field."
)


def node(type, pos, inputs=None, links=None, size=None, title=None, models=None):
    """links: {input: (node's name, output's name)}. models: files that the editor offers to download."""
    return {
        "type": type,
        "pos": pos,
        "inputs": inputs or {},
        "links": links or {},
        "size": size,
        "title": title,
        "models": models or [],
    }


def model(name, directory, source=RELEASED):
    return {"name": name, "url": source + name, "directory": directory}


def note(pos, text, size=(400, 200)):
    return node("MarkdownNote", pos, {"": text}, size=size, title="Read me")


def tiny_loaders():
    load = "FlashVideoModelLoader"
    return {
        "stage1_model": node(load, (0, 240), {"model_name": "tiny stage 1 (embedded)"}, title="Stage 1 model"),
        "stage2_model": node(load, (0, 400), {"model_name": "tiny stage 2 (embedded)"}, title="Stage 2 model"),
        "vae": node("FlashVideoVAELoader", (0, 560), {"vae_name": "tiny (embedded)"}),
        "clip": node("FlashVideoTextEncoderLoader", (0, 685), {"clip_name": "tiny (embedded)"}),
    }


def released_loaders(dtype="default", t5="t5xxl_fp16.safetensors", stage1=True):
    load = "FlashVideoModelLoader"

    def stage(i, y):
        file = model(f"stage{i}.pt", "diffusion_models")
        values = {"model_name": file["name"], "weight_dtype": dtype}
        return node(load, (0, y), values, title=f"Stage {i} model", models=[file])

    text = model(t5, "text_encoders", TEXT_ENCODERS)
    return {
        **({"stage1_model": stage(1, 240)} if stage1 else {}),
        "stage2_model": stage(2, 400),
        "vae": node("FlashVideoVAELoader", (0, 560), {"vae_name": "3d-vae.pt"}, models=[model("3d-vae.pt", "vae")]),
        "clip": node("CLIPLoader", (0, 685), {"clip_name": t5, "type": "cogvideox"}, models=[text]),
    }


def encode(prompt, pos=(340, 0)):
    return node("FlashVideoTextEncode", pos, {"prompt": prompt}, {"clip": ("clip", "CLIP")}, size=(400, 320))


def save(pos, prefix, video, size=(340, 360), title=None):
    return node("SaveVideo", pos, {"filename_prefix": prefix}, {"video": video}, size=size, title=title)


def drafts(stage1, decision):
    """Stage 1, its decoded drafts, and the review."""
    return {
        "stage1": node(
            "FlashVideoStage1",
            (340, 380),
            stage1,
            {"model": ("stage1_model", "MODEL"), "positive": ("text", "stage1"), "negative": ("text", "negative")},
            size=(400, 360),
        ),
        "decode_drafts": node(
            "FlashVideoDecode",
            (780, 0),
            {},
            {"vae": ("vae", "VAE"), "latent": ("stage1", "latent")},
            size=(340, 180),
            title="Decode the drafts",
        ),
        "review": node(
            "FlashVideoReview",
            (780, 230),
            {"decision": decision},
            {"latent": ("stage1", "latent"), "images": ("decode_drafts", "images")},
            size=(420, 510),
        ),
    }


def refining(handoff, stage2, latent=None, images=None, decode=None, x=1240):
    """Hand-off, stage 2 and decode, of a latent or of images."""
    source = {"latent": latent} if latent else {"images": images}
    text = {"positive": ("text", "stage2"), "negative": ("text", "negative")}
    return {
        "handoff": node("FlashVideoHandoff", (x, 0), handoff, {"vae": ("vae", "VAE"), **source}, size=(340, 190)),
        "stage2": node(
            "FlashVideoStage2",
            (x, 240),
            stage2,
            {"model": ("stage2_model", "MODEL"), "latent": ("handoff", "latent"), **text},
            size=(340, 280),
        ),
        "decode": node(
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

**Run** makes the drafts and goes on with draft 0. To look first, press **New drafts** in the review node \
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

WORKFLOW_LISTS = {
    "tiny-two-stage": {
        "note": note((0, 0), TINY_NOTE, (300, 190)),
        **tiny_loaders(),
        "text": encode("a large green square moves right over a white background"),
        **drafts({**TINY_STAGE1, "drafts": 2}, "approve"),
        **refining({"target": "4x the draft"}, TINY_STAGE2, latent=("review", "latent")),
        "save": save((1620, 0), "FlashVideo/tiny", ("decode", "video"), (400, 400)),
    },
    "released-two-stage-with-review": {
        "note": note((0, 0), REVIEW_NOTE, (300, 190)),
        **released_loaders(),
        "text": encode(PROMPT),
        **drafts({"seed": 1, "drafts": 2}, "review"),
        **refining({}, {"seed": 1}, latent=("review", "latent")),
        "save": save((1620, 0), "FlashVideo/clip", ("decode", "video"), (400, 400)),
        "save_draft": node(
            "SaveLatent",
            (1620, 450),
            {"filename_prefix": "latents/FlashVideo-draft"},
            {"samples": ("review", "latent")},
            size=(400, 80),
            title="Save the chosen draft",
        ),
    },
    "refine-a-video": {
        "note": note((0, 0), VIDEO_NOTE, (300, 280)),
        **released_loaders(stage1=False),
        "text": encode(PROMPT, (340, 440)),
        "load": node("LoadVideo", (340, 0), {"file": "clip.mp4"}, size=(400, 380)),
        "parts": node("GetVideoComponents", (780, 0), {}, {"video": ("load", "VIDEO")}, size=(220, 130)),
        **refining({}, {"seed": 1}, images=("parts", "images"), x=1040),
        "colours": node(
            "ColorTransfer",
            (1420, 0),
            {"method": "reinhard_lab", "source_stats": "uniform"},
            {"image_target": ("decode", "images"), "image_ref": ("parts", "images")},
            size=(340, 150),
            title="Colours of the input",
        ),
        "video": node(
            "CreateVideo",
            (1420, 210),
            {},
            {"images": ("colours", "image"), "fps": ("parts", "fps"), "audio": ("parts", "audio")},
            size=(340, 130),
        ),
        "save": save((1420, 400), "FlashVideo/refined", ("video", "VIDEO"), (340, 350)),
        "first_before": node(
            "ImageFromBatch", (1800, 0), {}, {"image": ("parts", "images")}, size=(400, 90), title="First frame before"
        ),
        "first_after": node(
            "ImageFromBatch", (1800, 150), {}, {"image": ("colours", "image")}, size=(400, 90), title="and after"
        ),
        "stitched": node(
            "ImageStitch",
            (1800, 300),
            {},
            {"image1": ("first_before", "IMAGE"), "image2": ("first_after", "IMAGE")},
            size=(400, 150),
            title="Side by side",
        ),
        "compare": node("PreviewImage", (1800, 510), {}, {"images": ("stitched", "IMAGE")}, size=(400, 240)),
    },
    "resume-from-draft": {
        "note": note((0, 0), RESUME_NOTE, (300, 280)),
        **released_loaders(stage1=False),
        "text": encode(PROMPT, (340, 200)),
        "load": node("LoadLatent", (340, 0), {"latent": "FlashVideo-draft_00001_.latent"}, size=(400, 80)),
        **refining({}, {"seed": 1}, latent=("load", "LATENT"), x=780),
        "save": save((1160, 0), "FlashVideo/resumed", ("decode", "video"), (400, 400)),
    },
    "low-memory": {
        "note": note((0, 0), LOW_NOTE, (300, 190)),
        **released_loaders("fp8_e4m3fn", "t5xxl_fp8_e4m3fn_scaled.safetensors"),
        "text": encode(PROMPT),
        **drafts({"seed": 1}, "review"),
        **refining({}, {"seed": 1}, latent=("review", "latent"), decode={"tiling": "small"}),
        "save": save((1620, 0), "FlashVideo/clip", ("decode", "video"), (400, 400)),
    },
}
