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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..types import TextEncoder
from ..weights.atomic import atomic_write
from ..weights.reader import file_sha256
from .data import Skipped
from .degradation import Degradation, make_degraded_draft
from .spans import Span, read_span

LAYOUT = 1  # goes into every hash: another way of making the same file has another number

EncodeFrames = Callable[[Tensor, tuple[int, int]], Tensor]
"""encode(frames [3, F, h, w] in -1..1, size) -> the latent [16, T, H/8, W/8] of the frames resized to `size`, as the
hand-off does it."""

LatentFiles = Mapping[Span, tuple[Path, ...]]
"""The files of each clip: z, then the reference of each degraded draft."""


@dataclass(frozen=True)
class LatentConfig:
    """What cached latents depend on beside their clips. Sizes are (height, width) in pixels."""

    size: tuple[int, int]
    draft_size: tuple[int, int]
    vae: str  # hash of the weights, and the dtype that they run in
    variants: int = 0  # degraded drafts of a clip; 0 for stage 1, which learns from none
    seed: int = 0
    degradation: Degradation = field(default_factory=Degradation)


@dataclass(frozen=True)
class CachedClip:
    """A training clip in the cache, by its files; frames and size (height, width) are the latent's."""

    z: Path
    refs: tuple[Path, ...]
    txt: Path
    frames: int
    size: tuple[int, int]


def hash_json(*values) -> str:
    """32 hexadecimal digits that stand for anything that JSON can hold."""
    return hashlib.sha256(json.dumps([LAYOUT, *values], sort_keys=True).encode()).hexdigest()[:32]


def name_latent_files(folder: Path, spans: Iterable[Span], config: LatentConfig) -> dict[Span, tuple[Path, ...]]:
    """Where each clip's latents are, or will be. Reads every source once, for its hash."""
    hashes: dict[Path, str] = {}
    files = {}
    for span in spans:
        source = hashes.get(span.source.path) or file_sha256(span.source.path)
        hashes[span.source.path] = source
        clip = hash_json(source, span.frames, config.size, config.vae)
        draft = [config.draft_size, dataclasses.asdict(config.degradation), config.seed]
        names = [clip, *(hash_json(clip, *draft, variant) for variant in range(config.variants))]
        files[span] = tuple(folder / "latents" / f"{name}.safetensors" for name in names)
    return files


def build_latents(
    files: LatentFiles,
    config: LatentConfig,
    encode: EncodeFrames,
    on_clip: Callable[[int, int], None] | None = None,
) -> list[Skipped]:
    """Makes the files that are missing; returns the clips that could not be read. on_clip(done, all) follows each."""
    skipped = []
    for done, (span, paths) in enumerate(files.items(), 1):
        try:
            _build_clip(span, paths, config, encode)
        except ValueError as error:  # PyAV's own errors are ValueErrors too
            skipped.append(Skipped.from_error(str(span), error))
        if on_clip is not None:
            on_clip(done, len(files))
    return skipped


def _build_clip(span: Span, paths: Sequence[Path], config: LatentConfig, encode: EncodeFrames) -> None:
    missing = [path for path in paths if not path.exists()]
    clip = read_span(span, config.size) if missing else None
    for path in missing:
        # seeded with the file's own hash: a variant is the same whoever makes it, and in which order
        seed = int(path.stem[:15], 16)
        frames = clip if path == paths[0] else make_degraded_draft(clip, config.draft_size, config.degradation, seed)
        write_tensor(path, "z", encode(frames, config.size).half())


def build_text(
    folder: Path, captions: Iterable[str], encoder: str, load_encoder: Callable[[], TextEncoder]
) -> dict[str, Path]:
    """The file of each caption, made if it is missing; only then is `load_encoder` called.

    encoder is the hash of the text encoder's weights and of how it is used.
    """
    files = {text: folder / "text" / f"{hash_json(encoder, text)}.safetensors" for text in sorted(set(captions))}
    missing = [text for text, path in files.items() if not path.exists()]
    encode = load_encoder() if missing else None
    for text in missing:
        write_tensor(files[text], "txt", encode(text)[0].float())
    return files


def write_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """A cache file, whole or not there. Raises InputError for NaN or infinity, which training would spread."""
    if not torch.isfinite(tensor).all():
        raise InputError(f"its {name} holds NaN or infinity, or does not fit float16")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file({name: tensor.contiguous().cpu()}, partial)


def read_tensor(path: Path, crop: Sequence[slice] = ()) -> Tensor:
    """The one tensor of a cache file as float32, or a crop [16, frames, rows, columns] of it; no more is read."""
    with safe_open(path, framework="pt") as file:
        (name,) = file.keys()
        return (file.get_slice(name)[tuple(crop)] if crop else file.get_tensor(name)).float()
