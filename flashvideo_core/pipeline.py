"""The whole path: prompt -> draft -> look at it -> refined clip.

    pipe = load_pipeline()                      # the embedded tiny model
    d = draft(pipe, "a red ball moves left")
    c = refine(pipe, d)

`draft` and `refine` name every step; `generate` is one after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .components import TINY, Pipeline, check_width, load_pipeline, on_device, part
from .errors import InputError
from .handoff import resize_to_target
from .memory import Cut, free_memory, is_tiled, plan_branches, plan_vae_split, tile_overlap
from .sampling import check_finite, make_draw_noise, sample_stage1, sample_stage2
from .settings import draft_settings, refine_settings
from .sizes import trimmed_count
from .text import with_motion
from .tiling import tiled

__all__ = ["TINY", "Clip", "Draft", "Pipeline", "draft", "generate", "load_pipeline", "refine"]


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
    tiles: dict | None = None,
) -> Draft:
    """Stage 1: a cheap draft that follows the prompt. None takes the default stored beside the weights.

    Sizes are pixels, floored to multiples of 16; frames 4n+1. tiles {"decode": cut, "branches": 1 or 2} repeats what an
    earlier run did for memory (memory.py), which otherwise follows from what is free. Raises ValueError for bad input.
    """
    default = part(pipe, "stage1").config.defaults
    sampling = {"steps": steps, "cfg": cfg, "guidance": guidance}
    settings = draft_settings(default, frames=frames, height=height, width=width, **sampling)
    txt, neg = embed(pipe, prompt, negative, 1, callback)
    draw = make_draw_noise(seed)
    shape = (1, 16, (settings["frames"] + 3) // 4, settings["height"] // 8, settings["width"] // 8)
    sampling = {name: settings[name] for name in sampling}
    clip = tuple(settings[name] for name in ("frames", "height", "width"))
    tiles = dict(tiles or plan_vae_splits(pipe, clip, "decode"))
    with on_device(pipe.stage1, pipe.device) as dit:
        noise = draw(torch.empty(shape, device=pipe.device))
        how = sampling | {"callback": callback} | evaluated(pipe, dit, shape, tiles)
        latent = sample_stage1(dit, noise, txt, draw_noise=draw, negative=neg, **how).cpu()
    settings |= {"seed": seed, "negative": negative, "tiles": tiles}
    images = decode(pipe, latent, "draft_decode", callback, settings["tiles"]["decode"])
    return Draft(prompt, images, latent, seed, default.fps, settings)


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
    tiles: dict | None = None,
) -> Clip:
    """Stage 2: the draft, or any clip with a prompt, becomes a large, detailed clip in a few evaluations.

    size (height, width) is floored to multiples of 16; a clip is trimmed at its end to 4n+1 frames. The seed
    defaults to the draft's. tiles {"encode": ..., "decode": ...} as in `draft`. Raises ValueError for bad input.
    """
    default = part(pipe, "stage2").config.defaults
    sampling = {"steps": steps, "cfg": cfg, "shift": shift, "ref_step": ref_step}
    settings = refine_settings(default, size=size, **sampling)
    seed = d.seed if seed is None else seed
    large = (settings["height"], settings["width"])
    tiles = dict(tiles or plan_vae_splits(pipe, (trimmed_count(len(d.frames)), *large), "encode", "decode"))
    txt, neg = embed(pipe, d.prompt, d.settings.get("negative"), 2, callback)
    z_ref = encode(pipe, d.frames, large, callback, tiles["encode"])
    sampling = {name: settings[name] for name in sampling}
    with on_device(pipe.stage2, pipe.device) as dit:
        noise = make_draw_noise(seed)(z_ref)
        how = sampling | {"callback": callback} | evaluated(pipe, dit, z_ref.shape, tiles)
        latent = sample_stage2(dit, z_ref, txt, noise=noise, negative=neg, **how).cpu()
    frames = crop_to_1080(decode(pipe, latent, "decode", callback, tiles["decode"]))
    return Clip(d, frames, latent, d.fps, settings | {"seed": seed, "tiles": tiles})


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
    if pipe.embeddings:
        if negative:
            raise InputError("a negative prompt needs a text encoder; with --embeddings there is none")
        txt, neg = pipe.embeddings[f"stage{stage}"], None
    elif pipe.text is None:
        raise InputError("no text encoder is loaded: give --t5 or --embeddings")
    else:
        txt = pipe.text(with_motion(prompt, config.defaults.motion))
        neg = pipe.text(negative)[:, : config.text_length].to(pipe.device) if negative else None
    check_width(txt, config)
    if callback is not None:
        callback("text", 1, 1, None)
    return txt[:, : config.text_length].to(pipe.device), neg


def evaluated(pipe: Pipeline, dit, shape: tuple[int, ...], tiles: dict) -> dict:
    """How the sampler evaluates a network that is on its device already; what memory asks for is added to tiles."""
    if "branches" not in tiles:
        where = (pipe.dtype.itemsize, free_memory(pipe.device))
        tiles["branches"] = plan_branches(dit.config, tuple(shape[2:]), *where)
    return {"attention": pipe.attention, "sequential": tiles["branches"] == 1}


def plan_vae_splits(pipe: Pipeline, clip: tuple[int, int, int], *kinds: str) -> dict[str, Cut]:
    """How memory asks for each VAE pass over a clip (frames, height, width) to be cut."""
    where = (pipe.dtype, pipe.device, free_memory(pipe.device))
    return {kind: plan_vae_split(part(pipe, "vae").config, kind, clip, *where) for kind in kinds}


def decode(pipe: Pipeline, z: Tensor, phase: str, callback: Callable | None = None, cut: Cut = None) -> Tensor:
    """Latent [1, 16, T, h, w] -> frames [F, H, W, 3] in 0..1 on the CPU, cut as memory.py says."""
    with on_device(part(pipe, "vae"), pipe.device) as vae:
        if is_tiled(cut):
            report = None if callback is None else lambda i, n: callback(phase, i, n, None)
            run = lambda piece: vae.decode(piece.to(pipe.device))  # noqa: E731
            frames = to_image_range(tiled(run, z.cpu(), cut, tile_overlap(cut), (8, 1), report))
        else:
            frames = to_image_range(vae.decode(z.to(pipe.device), callback, phase, pixels=cut))
    check_finite(frames.sum(), pipe.dtype)  # of the sum, which needs no mask as large as the clip
    return frames


def encode(pipe: Pipeline, frames: Tensor, size: tuple, callback: Callable | None = None, cut: Cut = None) -> Tensor:
    """Frames [F, h, w, 3] in 0..1 -> reference latent [1, 16, T, H/8, W/8] on the pipe's device."""
    frames = to_model_range(frames)
    with on_device(part(pipe, "vae"), pipe.device) as vae:
        if not is_tiled(cut):
            z = vae.encode(resize_to_target(frames.to(pipe.device), size), callback=callback, pixels=cut)
        else:
            report = None if callback is None else lambda i, n: callback("handoff", i, n, None)
            run = lambda piece: vae.encode(piece.to(pipe.device))  # noqa: E731
            tile, overlap = (8 * cut[0], 8 * cut[1]), 8 * tile_overlap(cut)
            z = tiled(run, resize_to_target(frames, size), tile, overlap, (1, 8), report).to(pipe.device)
    check_finite(z, pipe.dtype)
    return z


def to_model_range(frames: Tensor) -> Tensor:
    """[F, H, W, 3] in 0..1 -> [1, 3, F, H, W] in -1..1."""
    return (frames.float().permute(3, 0, 1, 2) * 2 - 1)[None]


def to_image_range(frames: Tensor) -> Tensor:
    """[1, 3, F, H, W] in -1..1 -> [F, H, W, 3] in 0..1 on the CPU."""
    return (frames[0].permute(1, 2, 3, 0).float().cpu() + 1) / 2


def crop_to_1080(frames: Tensor) -> Tensor:
    """The 16:9 preset's 1088 rows lose four above and four below; any other size stays."""
    return frames[:, 4:-4] if frames.shape[1:3] == (1088, 1920) else frames
