"""Training clips as VAE latents and text embeddings on disk, so that training holds neither VAE nor text encoder.

Every file is named by the hash of all that it depends on (source bytes, frames, size, weights, degradation), so one
that exists is right and is kept, and a change of anything makes new ones beside it. Files are safetensors, whole or
not there:

    latents/HASH.safetensors   z [16, T, H, W] float16 in VAE units: a clip, or the reference of one degraded draft
    text/HASH.safetensors      txt [L, text_dim] float32: a caption
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..weights.atomic import atomic_write
from ..weights.reader import file_sha256
from .data import Skipped, Span, read_span, refused
from .degradation import Degradation, degraded_draft

LAYOUT = 1  # part of every hash: another way of making the same file has another number


@dataclass(frozen=True)
class Recipe:
    """What the latents depend on beside the clips. variants: degraded drafts a clip; 0 for stage 1, which has none."""

    size: tuple[int, int]
    draft_size: tuple[int, int]
    vae: str  # hash of the weights
    variants: int = 0
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)


@dataclass(frozen=True)
class Entry:
    """A training clip in the cache, by its files; frames and size (height, width) are the latent's."""

    z: Path
    refs: tuple[Path, ...]
    txt: Path
    frames: int
    size: tuple[int, int]


def digest(*parts) -> str:
    """32 hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps([LAYOUT, *parts], sort_keys=True).encode()).hexdigest()[:32]


def plan_latents(folder: Path, spans: Iterable[Span], recipe: Recipe) -> dict[Span, tuple[Path, ...]]:
    """The files of each clip: z, then the reference of each variant. Reads the sources once, for their hashes."""
    hashes: dict[Path, str] = {}
    out = {}
    for span in spans:
        source = hashes.get(span.source.path) or file_sha256(span.source.path)
        hashes[span.source.path] = source
        clip = digest(source, span.frames, recipe.size, recipe.vae)
        damage = [recipe.draft_size, dataclasses.asdict(recipe.degradation), recipe.seed]
        names = [clip, *(digest(clip, *damage, variant) for variant in range(recipe.variants))]
        out[span] = tuple(folder / "latents" / f"{name}.safetensors" for name in names)
    return out


def build_latents(
    plan: dict[Span, tuple[Path, ...]],
    recipe: Recipe,
    encode: Callable[[Tensor, tuple[int, int]], Tensor],
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Skipped]:
    """Makes the files that are missing; returns the clips that could not be read.

    `encode(frames [3, F, h, w] in -1..1, size)` gives the latent [16, T, H/8, W/8] of the frames at that size, as the
    hand-off does it. `on_clip(done, all)` follows each clip.
    """
    skipped = []
    for done, (span, files) in enumerate(plan.items(), 1):
        try:
            _build_clip(span, files, recipe, encode)
        except ValueError as error:
            skipped.append(refused(str(span), error))
        if on_clip is not None:
            on_clip(done, len(plan))
    return skipped


def _build_clip(span: Span, files: tuple[Path, ...], recipe: Recipe, encode: Callable) -> None:
    missing = [path for path in files if not path.exists()]
    clip = read_span(span, recipe.size) if missing else None
    for path in missing:
        # seeded with the file's own hash: a variant is the same whoever makes it, and in which order
        seed = int(path.stem[:15], 16)
        shown = clip if path == files[0] else degraded_draft(clip, recipe.draft_size, recipe.degradation, seed)
        write(path, z=encode(shown, recipe.size).half())


def build_text(
    folder: Path, captions: Iterable[str], encoder: str, embed: Callable[[], Callable[[str], Tensor]]
) -> dict[str, Path]:
    """The file of each caption. `embed()` loads the text encoder, and is called only if something is missing.

    encoder is the hash of its weights and of how it is used; what it returns is [1, L, text_dim].
    """
    files = {text: folder / "text" / f"{digest(encoder, text)}.safetensors" for text in sorted(set(captions))}
    missing = [text for text, path in files.items() if not path.exists()]
    encode = embed() if missing else None
    for text in missing:
        write(files[text], txt=encode(text)[0].float())
    return files


def write(path: Path, **tensors: Tensor) -> None:
    """A cache file, whole or not there. Raises ValueError for NaN or infinity, which training would spread."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"its {name} holds NaN or infinity, or does not fit float16")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, partial)


def read(path: Path, window: Sequence[slice] = ()) -> Tensor:
    """The one tensor of a cache file as float32, or a window [16, frames, rows, columns] of it; no more is read."""
    with safe_open(path, framework="pt") as file:
        (name,) = file.keys()
        return (file.get_slice(name)[tuple(window)] if window else file.get_tensor(name)).float()
