"""The whole path: prompt -> draft -> look at it -> refined clip.

    pipe = load_pipeline()                      # the embedded tiny model
    d = draft(pipe, "a red ball moves left")
    c = refine(pipe, d)

`draft` and `refine` name every step; `generate` is one after the other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .checkpoint import load_text, load_transformer, load_vae
from .handoff import check_frame_count, floor_size, prepare_reference, resize, trimmed_count
from .memory import free_memory, plan_tiles
from .sampling import sample_stage1, sample_stage2, seeded_noise
from .text import t5_encoder, with_motion, word_encoder
from .tiling import tiled

TINY = Path(__file__).parent / "tiny"


@dataclass(frozen=True)
class Pipeline:
    """The loaded parts. A part that a run does not need may be None. `files` are the weights' paths by part."""

    stage1: nn.Module | None
    stage2: nn.Module | None
    vae: nn.Module | None
    text: Callable[[str], Tensor] | None
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """Stage 1's result, or any clip to refine. frames float32 [F, H, W, 3] in 0..1; latent in VAE units."""

    prompt: str
    frames: Tensor
    latent: Tensor | None = None
    seed: int = 0
    fps: float = 8
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """Stage 2's result beside its draft. frames float32 [F, H, W, 3] in 0..1; latent in VAE units."""

    draft: Draft
    frames: Tensor
    latent: Tensor
    fps: float
    settings: dict


def load_pipeline(stage1=None, stage2=None, vae=None, text=None, device=None, dtype=None) -> Pipeline:
    """Loads the parts from their files; without any, the embedded tiny model.

    text: a folder with a T5 encoder, a .safetensors of embeddings (keys stage1, stage2: [1, L, text_dim]), or
    a function prompt -> [1, L, text_dim]. device and dtype default to the best available. Raises ValueError
    for a file that is not what its place needs.
    """
    device = torch.device(device or best_device())
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    if stage1 is None and stage2 is None and vae is None and text is None:
        stage1, stage2, vae = (TINY / f"{name}.safetensors" for name in ("stage1", "stage2", "vae"))
        text = word_encoder(*load_text(TINY / "text.safetensors"))
    embeddings = {}
    if isinstance(text, str | Path):
        embeddings = load_embeddings(text) if Path(text).suffix == ".safetensors" else {}
        text = None if embeddings else t5_encoder(text, device)
    files = {"stage1": stage1, "stage2": stage2, "vae": vae}
    return Pipeline(
        load_stage(stage1, 1, dtype),
        load_stage(stage2, 2, dtype),
        load_vae(vae, dtype=dtype) if vae else None,
        text,
        embeddings,
        device,
        dtype,
        {name: Path(path) for name, path in files.items() if path},
    )


def draft(
    pipe: Pipeline,
    prompt: str,
    *,
    seed: int = 0,
    negative: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    guidance: str | None = None,
    callback: Callable | None = None,
) -> Draft:
    """Stage 1: a cheap draft that follows the prompt. None takes the default stored beside the weights.

    Sizes are pixels, floored to multiples of 16; frames 4n+1. Raises ValueError for bad input.
    """
    default = part(pipe, "stage1").config.defaults
    settings = {
        "frames": _or(frames, default.frames),
        "height": _or(height, default.size[0]),
        "width": _or(width, default.size[1]),
        "steps": _or(steps, default.steps),
        "cfg": _or(cfg, default.cfg),
        "guidance": _or(guidance, default.guidance),
    }
    check_frame_count(settings["frames"])
    settings["height"], settings["width"] = floor_size((settings["height"], settings["width"]))
    txt, neg = embed(pipe, prompt, negative, 1, callback)
    draw = seeded_noise(seed)
    shape = (1, 16, (settings["frames"] + 3) // 4, settings["height"] // 8, settings["width"] // 8)
    sampling = {name: settings[name] for name in ("steps", "cfg", "guidance")}
    with placed(pipe.stage1, pipe.device) as dit:
        noise = draw(torch.empty(shape, device=pipe.device))
        latent = sample_stage1(dit, noise, txt, draw_noise=draw, negative=neg, callback=callback, **sampling)
    settings |= {"seed": seed, "negative": negative}
    return Draft(prompt, decode(pipe, latent, "draft_decode", callback), latent.cpu(), seed, default.fps, settings)


def refine(
    pipe: Pipeline,
    d: Draft,
    *,
    seed: int | None = None,
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    shift: float | None = None,
    ref_step: int | None = None,
    callback: Callable | None = None,
) -> Clip:
    """Stage 2: the draft, or any clip with a prompt, becomes a large, detailed clip in a few evaluations.

    size (height, width) is floored to multiples of 16; a clip is trimmed at its end to 4n+1 frames. The
    seed defaults to the draft's. Raises ValueError for bad input.
    """
    default = part(pipe, "stage2").config.defaults
    height, width = floor_size(size or default.size)
    sampling = {
        "steps": _or(steps, default.steps),
        "cfg": _or(cfg, default.cfg),
        "shift": _or(shift, default.shift),
        "ref_step": _or(ref_step, default.ref_step),
    }
    seed = _or(seed, d.seed)
    txt, neg = embed(pipe, d.prompt, d.settings.get("negative"), 2, callback)
    z_ref = encode(pipe, d.frames, (height, width), callback)
    with placed(pipe.stage2, pipe.device) as dit:
        noise = seeded_noise(seed)(z_ref)
        latent = sample_stage2(dit, z_ref, txt, noise=noise, negative=neg, callback=callback, **sampling)
    frames = crop_to_1080(decode(pipe, latent, "decode", callback))
    settings = {"seed": seed, "height": height, "width": width, **sampling}
    return Clip(d, frames, latent.cpu(), d.fps, settings)


def generate(
    pipe: Pipeline,
    prompt: str,
    *,
    seed: int = 0,
    negative: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    steps: int | None = None,
    cfg: float | None = None,
    guidance: str | None = None,
    size: tuple[int, int] | None = None,
    refine_seed: int | None = None,
    refine_steps: int | None = None,
    refine_cfg: float | None = None,
    shift: float | None = None,
    ref_step: int | None = None,
    callback: Callable | None = None,
) -> Clip:
    """A draft, then its refinement. steps and cfg are stage 1's, refine_steps and refine_cfg stage 2's."""
    first = {"seed": seed, "negative": negative, "frames": frames, "height": height, "width": width}
    d = draft(pipe, prompt, **first, steps=steps, cfg=cfg, guidance=guidance, callback=callback)
    second = {"size": size, "seed": refine_seed, "steps": refine_steps, "cfg": refine_cfg}
    return refine(pipe, d, **second, shift=shift, ref_step=ref_step, callback=callback)


def embed(pipe: Pipeline, prompt: str, negative: str | None, stage: int, callback: Callable | None = None):
    """(positive, negative) embeddings for a stage on the pipe's device; negative None means zeros."""
    config = part(pipe, f"stage{stage}").config
    text = with_motion(prompt, config.defaults.motion)
    if pipe.embeddings:
        txt = pipe.embeddings[f"stage{stage}"]
    elif pipe.text is None:
        raise ValueError("no text encoder is loaded: give --t5 or --embeddings")
    else:
        txt = pipe.text(text)
    if txt.shape[-1] != config.text_dim:
        raise ValueError(f"the text embedding has width {txt.shape[-1]}; stage {stage} needs {config.text_dim}")
    neg = pipe.text(negative).to(pipe.device) if negative and pipe.text is not None else None
    if callback is not None:
        callback("text", 1, 1, None)
    return txt[:, : config.text_length].to(pipe.device), neg


def decode(pipe: Pipeline, z: Tensor, phase: str, callback: Callable | None = None) -> Tensor:
    """Latent [1, 16, T, h, w] -> frames [F, H, W, 3] in 0..1 on the CPU, in tiles when memory asks for it."""
    with placed(part(pipe, "vae"), pipe.device) as vae:
        size = (8 * z.shape[-2], 8 * z.shape[-1])
        plan = plan_tiles(vae.config, "decode", size, pipe.dtype.itemsize, free_memory(pipe.device))
        if plan.tile is None:
            frames = vae.decode(z.to(pipe.device), callback, phase)
        else:
            report = None if callback is None else lambda i, n: callback(phase, i, n, None)
            run = lambda tile: vae.decode(tile.to(pipe.device))  # noqa: E731
            frames = tiled(run, z.cpu(), plan.tile, plan.overlap, (8, 1), report)
    return from_network(frames)


def encode(pipe: Pipeline, frames: Tensor, size: tuple[int, int], callback: Callable | None = None) -> Tensor:
    """Frames [F, h, w, 3] in 0..1 -> reference latent [1, 16, T, H/8, W/8] on the pipe's device."""
    frames = to_network(frames)
    with placed(part(pipe, "vae"), pipe.device) as vae:
        plan = plan_tiles(vae.config, "encode", size, pipe.dtype.itemsize, free_memory(pipe.device))
        if plan.tile is None:
            return prepare_reference(frames=frames.to(pipe.device), vae=vae, size=size, callback=callback)
        big = resize(frames[:, :, : trimmed_count(frames.shape[2])], size)
        report = None if callback is None else lambda i, n: callback("handoff", i, n, None)
        tile = (8 * plan.tile[0], 8 * plan.tile[1])
        run = lambda part: vae.encode(part.to(pipe.device))  # noqa: E731
        return tiled(run, big, tile, 8 * plan.overlap, (1, 8), report).to(pipe.device)


def to_network(frames: Tensor) -> Tensor:
    """[F, H, W, 3] in 0..1 -> [1, 3, F, H, W] in -1..1."""
    return (frames.float().permute(3, 0, 1, 2) * 2 - 1)[None]


def from_network(frames: Tensor) -> Tensor:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1 on the CPU."""
    return (frames[0].permute(1, 2, 3, 0).float().cpu() + 1) / 2


def crop_to_1080(frames: Tensor) -> Tensor:
    """The 16:9 preset's 1088 rows lose four above and four below; any other size stays."""
    return frames[:, 4:-4] if frames.shape[1:3] == (1088, 1920) else frames


@contextmanager
def placed(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The model on the device for the length of one phase: one model on the card at a time."""
    model.to(device)
    try:
        yield model
    finally:
        if device.type != "cpu":
            model.to("cpu")


def part(pipe: Pipeline, name: str) -> nn.Module:
    model = getattr(pipe, name)
    if model is None:
        raise ValueError(f"{name} is not loaded: give its weights with --{name}")
    return model


def load_stage(path, stage: int, dtype: torch.dtype) -> nn.Module | None:
    model = load_transformer(path, dtype=dtype) if path else None
    if model is not None and model.config.stage != stage:
        raise ValueError(f"{path} is stage {model.config.stage}; stage {stage} is needed here")
    return model


def load_embeddings(path: str | Path) -> dict[str, Tensor]:
    """Text embeddings from a safetensors file with the keys stage1 and stage2, [1, L, text_dim] each."""
    try:
        found = load_file(path)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as embeddings: {str(error).splitlines()[0]}") from None
    if not {"stage1", "stage2"} <= found.keys() or any(found[k].ndim != 3 for k in ("stage1", "stage2")):
        raise ValueError(f"{path} must hold stage1 and stage2, each [1, L, text_dim]")
    return found


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _or(value, default):
    return default if value is None else value
