"""From the user's files to a cache that training reads; afterwards VAE and text encoder are out of memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_vae
from ..components import Pipeline, check_width, load_text_component
from ..config import TransformerConfig
from ..errors import InputError
from ..sizes import latent_size
from ..text import add_motion
from ..types import Notify, ProgressCallback, TextEncoder
from ..vae_passes import encode, plan_split
from .cache import CachedClip, EncodeFrames, LatentConfig, LatentFiles, build_latents, build_text, name_latent_files
from .data import Skipped, find_sources
from .options import TrainingOptions
from .spans import Span, find_spans


@dataclass(frozen=True)
class WeightFiles:
    """The weights that training starts from, by component (stage1, stage2, vae, text), and where they run.

    hashes are any JSON that names the weights; dtype is that of frozen weights.
    """

    files: Mapping[str, Path]
    hashes: Mapping[str, object]
    device: torch.device
    dtype: torch.dtype


def prepare_cache(
    data: Path,
    cache: Path,
    config: TransformerConfig,
    options: TrainingOptions,
    weights: WeightFiles,
    notify: Notify,
    progress: ProgressCallback,
) -> list[CachedClip]:
    """The training clips of `data`, encoded in the folder `cache` as far as they are not there yet.

    notify hears of everything that is left out, progress of the phase "latents". Raises InputError when nothing is
    left.
    """
    sources, skipped = find_sources(data)
    spans, unfit = find_spans(sources, size=options.size, frames=options.frames, fps=options.fps)
    latents = make_latent_config(options, weights)
    files = name_latent_files(cache, spans, latents)
    unread = fill_latents(files, latents, weights, progress)
    for skip in [*skipped, *unfit, *unread]:
        notify(str(skip))
    usable = [span for span in spans if all(path.exists() for path in files[span])]
    if not usable:
        raise InputError(f"{data} holds no clip that can be trained on; the notes above say why")
    texts = fill_text(cache, [span.source.caption for span in usable], config, weights)
    return [make_cached_clip(span, files[span], texts[span.source.caption], options) for span in usable]


def make_latent_config(options: TrainingOptions, weights: WeightFiles) -> LatentConfig:
    """What these options and this VAE make of a clip."""
    vae = json.dumps([weights.hashes["vae"], str(weights.dtype)], sort_keys=True)
    return LatentConfig(options.size, options.draft_size, vae, options.variants, options.seed)


def make_cached_clip(span: Span, files: Sequence[Path], txt: Path, options: TrainingOptions) -> CachedClip:
    """The clip's files and the size of its latent."""
    frames, *size = latent_size(len(span.frames), *options.size)
    return CachedClip(files[0], tuple(files[1:]), txt, frames, tuple(size))


def fill_latents(
    files: LatentFiles, config: LatentConfig, weights: WeightFiles, progress: ProgressCallback
) -> list[Skipped]:
    """Builds what is missing, with the VAE in memory only for that; returns the clips that could not be read."""
    missing = {span: paths for span, paths in files.items() if not all(path.exists() for path in paths)}
    if not missing:
        return []
    on_clip = partial(report_done, progress, "latents")
    return build_latents(missing, config, load_encoder(weights), on_clip)


def report_done(progress: ProgressCallback, phase: str, done: int, count: int) -> None:
    """One of the `count` files of a phase is there."""
    progress(phase, done, count, None)


def load_encoder(weights: WeightFiles) -> EncodeFrames:
    """The VAE, in memory as long as what is returned."""
    vae = load_vae(weights.files["vae"], dtype=weights.dtype)
    pipe = Pipeline(None, None, vae, None, device=weights.device, dtype=weights.dtype)

    def encode_frames(frames: Tensor, size: tuple[int, int]) -> Tensor:
        split = plan_split(pipe, "encode", (frames.shape[1], *size))
        return encode(pipe, (frames.permute(1, 2, 3, 0) + 1) / 2, size, split=split)[0].float().cpu()

    return encode_frames


def fill_text(cache: Path, captions: Sequence[str], config: TransformerConfig, weights: WeightFiles) -> dict[str, Path]:
    """The embedding of every caption as the stage sees it at inference: with its motion prefix, cut to its length."""
    motion, length = config.defaults.motion, config.text_length

    def load_embed() -> TextEncoder:
        encoder = load_text_encoder(weights)

        def embed(caption: str) -> Tensor:
            txt = encoder(add_motion(caption, motion))[:, :length]
            check_width(txt, config)
            return txt

        return embed

    name = json.dumps([weights.hashes["text"], motion, length], sort_keys=True)
    return build_text(cache, captions, name, load_embed)


def load_text_encoder(weights: WeightFiles) -> TextEncoder:
    """The encoder of captions. Raises InputError for the embeddings of one prompt in its place."""
    encoder, _ = load_text_component(weights.files["text"], weights.device)
    if encoder is None:
        raise InputError(f"{weights.files['text']} holds one prompt's embeddings; training needs --t5 or --text")
    return encoder
