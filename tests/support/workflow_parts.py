"""What the workflows of this pack are made of: nodes with position, values, links and the way of their wires."""

from dataclasses import dataclass, field, replace

RELEASED = "https://huggingface.co/FoundationVision/FlashVideo/resolve/main/"
TEXT_ENCODERS = "https://huggingface.co/comfyanonymous/flux_text_encoders/resolve/main/"
PROMPT = (
    "A golden retriever runs along a wide sandy beach at sunset, its wet fur glowing in the warm light. Small waves "
    "roll in behind it and leave foam on the shore, and each step throws up a little spray. The camera follows from "
    "the side at the height of the dog, smooth and steady, while the orange sun sits low over the sea and the sky "
    "fades from amber to violet. Fine detail in the fur and in the water, natural motion, shallow depth of field."
)
WEIGHTS_NOTE = """The editor offers to download what is missing: the released *.pt* files and the text encoder. They \
work as they are.

Converted once, they load faster and hold no pickle. In the folder *ComfyUI*, with ComfyUI's Python:

`python custom_nodes/ComfyUI-FlashVideo convert models/diffusion_models/stage2.pt \
models/diffusion_models/flashvideo_stage2.safetensors`

In the same way *stage1.pt* to *flashvideo_stage1.safetensors*, and in *models/vae* *3d-vae.pt* to \
*flashvideo_vae.safetensors*. Then choose the new names in the loaders."""

Values = dict[str, str | int | float]
Position = tuple[int, int]


@dataclass(frozen=True)
class ModelFile:
    """A file that the editor offers to download. It does so where a widget asks for a missing file of this name, and
    keeps it by this name: a .pt cannot be offered for a widget that asks for a .safetensors."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True)
class NodeSpec:
    """A node of a workflow: widget values by input, and links as {input: (name of the node, output)}.

    group: the frame that it stands in, of a step without its number. via: points that the wire of an input takes around
    other nodes.
    """

    type: str
    pos: Position
    inputs: Values = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    title: str | None = None
    models: tuple[ModelFile, ...] = ()
    group: str | None = None
    via: dict[str, tuple[Position, ...]] = field(default_factory=dict)


Workflow = dict[str, NodeSpec]
"""Nodes by a name that the links use. Their order gives the ids: nodes are only appended."""

STEPS = (PROMPT_STEP, DRAFT, REVIEW, REFINE) = ("Prompt", "Draft", "Review", "Refine")
MODELS, COMPARE = "Models", "Compare"
COLUMNS = (0, 380, 860, 1260, 1640)  # x of the nodes: models, then four steps to the right
LOWER = 860  # y of the second row, which refines
LANES = (650, 690, 730, 770)  # y of wires between the rows
GAPS = (340, 820, 1220, 1605)  # x of wires between the columns


def model_file(name: str, directory: str, source: str = RELEASED) -> ModelFile:
    return ModelFile(name, source + name, directory)


def note(pos: Position, text: str, size: tuple[int, int], title: str = "Read me") -> NodeSpec:
    return NodeSpec("MarkdownNote", pos, {"": text}, size=size, title=title)


def number_steps(workflow: Workflow) -> Workflow:
    """The workflow with numbers before the titles of its steps: 1, 2, ... of those that it has."""
    groups = {spec.group for spec in workflow.values()}
    titles = {step: f"{i} {step}" for i, step in enumerate((step for step in STEPS if step in groups), 1)}
    return {name: replace(spec, group=titles.get(spec.group, spec.group)) for name, spec in workflow.items()}


def weights_note() -> NodeSpec:
    return note((-380, 400), WEIGHTS_NOTE, (320, 340), "Weights")


def load_model(y: int, title: str, inputs: Values, models: tuple[ModelFile, ...] = ()) -> NodeSpec:
    return NodeSpec("FlashVideoModelLoader", (0, y), inputs, {}, (300, 90), title, models, MODELS)


def load_other(type: str, y: int, inputs: Values, models: tuple[ModelFile, ...] = ()) -> NodeSpec:
    return NodeSpec(type, (0, y), inputs, {}, (300, 60), None, models, MODELS)


STAGE1_Y, STAGE2_Y, VAE_Y, CLIP_Y = 380, LOWER + 310, 560, 0  # of the loaders


def tiny_loaders() -> Workflow:
    return {
        "stage1_model": load_model(STAGE1_Y, "Stage 1 model", {"model_name": "tiny stage 1 (embedded)"}),
        "stage2_model": load_model(STAGE2_Y, "Stage 2 model", {"model_name": "tiny stage 2 (embedded)"}),
        "vae": load_other("FlashVideoVAELoader", VAE_Y, {"vae_name": "tiny (embedded)"}),
        "clip": load_other("FlashVideoTextEncoderLoader", CLIP_Y, {"clip_name": "tiny (embedded)"}),
    }


def released_loaders(dtype: str = "default", t5: str = "t5xxl_fp16.safetensors", stage1: bool = True) -> Workflow:
    def load_stage(stage: int, y: int) -> NodeSpec:
        file = model_file(f"stage{stage}.pt", "diffusion_models")
        return load_model(y, f"Stage {stage} model", {"model_name": file.name, "weight_dtype": dtype}, (file,))

    vae, text = model_file("3d-vae.pt", "vae"), model_file(t5, "text_encoders", TEXT_ENCODERS)
    return {
        **({"stage1_model": load_stage(1, STAGE1_Y)} if stage1 else {}),
        "stage2_model": load_stage(2, STAGE2_Y),
        "vae": load_other("FlashVideoVAELoader", VAE_Y, {"vae_name": vae.name}, (vae,)),
        "clip": load_other("CLIPLoader", CLIP_Y, {"clip_name": t5, "type": "cogvideox"}, (text,)),
    }


def refine_film(prompt: str, values: Values) -> Workflow:
    """The embedded stage 2 on a film, in one node from file to file."""
    stage2_y, vae_y, text_y = 500, 650, 440
    under = {name: ((GAPS[1], text_y + i), (GAPS[2], text_y + i)) for i, name in enumerate(("positive", "negative"))}
    return {
        "stage2_model": load_model(stage2_y, "Stage 2 model", {"model_name": "tiny stage 2 (embedded)"}),
        "vae": load_other("FlashVideoVAELoader", vae_y, {"vae_name": "tiny (embedded)"}),
        "clip": load_other("FlashVideoTextEncoderLoader", CLIP_Y, {"clip_name": "tiny (embedded)"}),
        "text": encode(prompt),
        "load": NodeSpec("FlashVideoVideoLoader", (COLUMNS[2], 0), {}, size=(320, 360), group=DRAFT),
        "refine": NodeSpec(
            "FlashVideoRefineVideo",
            (COLUMNS[3], 0),
            values,
            {
                "video": ("load", "video"),
                "model": ("stage2_model", "MODEL"),
                "vae": ("vae", "VAE"),
                "positive": ("text", "stage2"),
                "negative": ("text", "negative"),
            },
            size=(460, 760),
            group=REFINE,
            via={"model": ((GAPS[2], stage2_y + 35),), "vae": ((GAPS[2], vae_y + 35),), **under},
        ),
    }


def encode(prompt: str) -> NodeSpec:
    links = {"clip": ("clip", "CLIP")}
    pos = (COLUMNS[1], 0)
    return NodeSpec("FlashVideoTextEncode", pos, {"prompt": prompt}, links, size=(380, 300), group=PROMPT_STEP)


def save(pos: Position, prefix: str, video: tuple[str, str], size: tuple[int, int] = (420, 420)) -> NodeSpec:
    return NodeSpec("SaveVideo", pos, {"filename_prefix": prefix}, {"video": video}, size=size, group=REFINE)


def draft_and_review(stage1: Values, decision: str) -> Workflow:
    """Stage 1, its decoded drafts, and the review."""
    return {
        "stage1": NodeSpec(
            "FlashVideoStage1",
            (COLUMNS[2], 0),
            stage1,
            {"model": ("stage1_model", "MODEL"), "positive": ("text", "stage1"), "negative": ("text", "negative")},
            size=(320, 380),
            group=DRAFT,
            via={"model": ((GAPS[0], STAGE1_Y + 35), (GAPS[1], STAGE1_Y + 35))},
        ),
        "decode_drafts": NodeSpec(
            "FlashVideoDecode",
            (COLUMNS[3], 0),
            {},
            {"vae": ("vae", "VAE"), "latent": ("stage1", "latent")},
            size=(300, 230),
            title="Decode the drafts",
            group=REVIEW,
            via={"vae": ((GAPS[0], VAE_Y + 35), (GAPS[2], VAE_Y + 35))},
        ),
        "review": NodeSpec(
            "FlashVideoReview",
            (COLUMNS[4], 0),
            {"decision": decision},
            {"latent": ("stage1", "latent"), "images": ("decode_drafts", "images")},
            size=(420, 510),
            group=REVIEW,
            via={"latent": ((GAPS[2], 330), (GAPS[3], 330))},
        ),
    }


def two_stages(handoff: Values) -> Workflow:
    """From the loaders to the refined clip without a stop between the stages, for a subgraph."""
    review = draft_and_review({"seed": 1}, "approve")
    steps = {"stage1": review["stage1"], **refine({"latent": ("stage1", "latent")}, handoff, {"seed": 1})}
    return {**released_loaders(), "text": encode(PROMPT), **steps}


def refine(
    source: dict[str, tuple[str, str]],
    handoff: Values,
    stage2: Values,
    decode: Values | None = None,
    from_x: int = COLUMNS[4] + 460,
    matched: bool = False,
) -> Workflow:
    """Hand-off, stage 2 and decode in the second row, of a source in the first: {"latent": link} or {"images": link}.

    from_x: where there is room for its wire to the right of it. matched: the images go into the decode, too.
    """
    text = {"positive": ("text", "stage2"), "negative": ("text", "negative")}
    (source_input,) = source
    around = {name: ((GAPS[1], 150 + i), (GAPS[1], LANES[3] + i)) for i, name in enumerate(text)}
    return {
        "handoff": NodeSpec(
            "FlashVideoHandoff",
            (COLUMNS[1], LOWER),
            handoff,
            {"vae": ("vae", "VAE"), **source},
            size=(380, 170),
            group=REFINE,
            via={source_input: ((from_x, LANES[1]), (GAPS[0], LANES[1]))},
        ),
        "stage2": NodeSpec(
            "FlashVideoStage2",
            (COLUMNS[2], LOWER),
            stage2,
            {"model": ("stage2_model", "MODEL"), "latent": ("handoff", "latent"), **text},
            size=(320, 260),
            group=REFINE,
            via={"model": ((GAPS[0], STAGE2_Y + 35), (GAPS[1], STAGE2_Y + 35)), **around},
        ),
        "decode": NodeSpec(
            "FlashVideoDecode",
            (COLUMNS[3], LOWER),
            decode or {},
            {"vae": ("vae", "VAE"), "latent": ("stage2", "latent")} | ({"draft": source["images"]} if matched else {}),
            size=(300, 230),
            group=REFINE,
            via={"vae": ((GAPS[0], LANES[2]), (GAPS[2], LANES[2]))}
            | ({"draft": ((from_x, LANES[0]), (GAPS[2] + 10, LANES[0]))} if matched else {}),
        ),
    }


def speed_up(refining: Workflow, speed: Values) -> Workflow:
    """What `refine` gives, with FlashVideo Speed between the model and stage 2, below the hand-off."""
    return patch_model(refining, "speed", NodeSpec("FlashVideoSpeed", (COLUMNS[1], STAGE2_Y), speed, size=(380, 260)))


def load_lora(refining: Workflow, name: str) -> Workflow:
    """What `refine` gives, with a LoRA between the model and stage 2, below the hand-off."""
    node = NodeSpec("FlashVideoLoRALoader", (COLUMNS[1], STAGE2_Y), {"lora_name": name}, size=(380, 110))
    return patch_model(refining, "lora", node)


def patch_model(refining: Workflow, name: str, node: NodeSpec) -> Workflow:
    """What `refine` gives, with a node between the model and stage 2."""
    stage2, model = refining["stage2"], refining["stage2"].links["model"]
    node = replace(node, links={"model": model}, group=REFINE)
    links = stage2.links | {"model": (name, "model")}
    via = {input: points for input, points in stage2.via.items() if input != "model"}
    return {**refining, name: node, "stage2": replace(stage2, links=links, via=via)}
