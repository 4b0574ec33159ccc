"""From the user's files to a cache that training draws from; afterwards VAE and text encoder are out of memory."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_vae
from ..components import Pipeline, check_width, load_text_component
from ..config import TransformerConfig
from ..errors import InputError
from ..text import with_motion
from ..vae_passes import encode, plan_split
from .cache import Entry, Recipe, build_latents, build_text, plan_latents
from .data import Span, find_sources, find_spans
from .options import Options


@dataclass(frozen=True)
class Place:
    """Where weights come from and where they run. files and hashes by part; hashes are any JSON that names weights."""

    files: dict[str, Path]
    hashes: dict[str, object]
    device: torch.device
    dtype: torch.dtype


def prepare(
    data: Path,
    folder: Path,
    config: TransformerConfig,
    options: Options,
    place: Place,
    note: Callable,
    progress: Callable,
) -> list[Entry]:
    """The training clips of `data`, encoded in `folder` as far as they are not there yet.

    note(text) hears of everything that is left out; progress(phase, done, all) follows. Raises ValueError when
    nothing is left.
    """
    sources, skipped = find_sources(data)
    spans, unfit = find_spans(sources, size=options.size, frames=options.frames, fps=options.fps)
    latents = plan_latents(folder, spans, recipe_of(options, place))
    unread = fill_latents(latents, recipe_of(options, place), place, progress)
    for skip in [*skipped, *unfit, *unread]:
        note(str(skip))
    usable = [span for span in spans if all(path.exists() for path in latents[span])]
    if not usable:
        raise InputError(f"{data} holds no clip that can be trained on; the notes above say why")
    texts = fill_text(folder, usable, config, place)
    return [entry(span, latents[span], texts[span.source.caption], options) for span in usable]


def recipe_of(options: Options, place: Place) -> Recipe:
    vae = json.dumps([place.hashes["vae"], str(place.dtype)], sort_keys=True)
    return Recipe(options.size, options.draft_size, vae, options.variants, options.seed)


def entry(span: Span, files: Sequence[Path], txt: Path, options: Options) -> Entry:
    size = (options.size[0] // 8, options.size[1] // 8)
    return Entry(files[0], tuple(files[1:]), txt, (len(span.frames) + 3) // 4, size)


def fill_latents(latents: dict[Span, tuple[Path, ...]], recipe: Recipe, place: Place, progress: Callable) -> list:
    """Builds what is missing, with the VAE in memory only for that."""
    missing = {span: files for span, files in latents.items() if not all(path.exists() for path in files)}
    if not missing:
        return []
    vae = load_vae(place.files["vae"], dtype=place.dtype)
    pipe = Pipeline(None, None, vae, None, device=place.device, dtype=place.dtype)

    def to_latent(frames: Tensor, size: tuple[int, int]) -> Tensor:
        split = plan_split(pipe, "encode", (frames.shape[1], *size))
        return encode(pipe, (frames.permute(1, 2, 3, 0) + 1) / 2, size, split=split)[0].float().cpu()

    return build_latents(missing, recipe, to_latent, lambda done, count: progress("latents", done, count))


def fill_text(folder: Path, spans: Sequence[Span], config: TransformerConfig, place: Place) -> dict[str, Path]:
    """The embedding of every caption as the stage sees it at inference: with its motion prefix, cut to its length."""
    motion, length = config.defaults.motion, config.text_length

    def load() -> Callable[[str], Tensor]:
        encoder, _ = load_text_component(place.files["text"], place.device)
        if encoder is None:
            raise InputError(f"{place.files['text']} holds one prompt's embeddings; training needs --t5 or --text")

        def embed(caption: str) -> Tensor:
            txt = encoder(with_motion(caption, motion))[:, :length]
            check_width(txt, config)
            return txt

        return embed

    name = json.dumps([place.hashes["text"], motion, length], sort_keys=True)
    return build_text(folder, [span.source.caption for span in spans], name, load)
