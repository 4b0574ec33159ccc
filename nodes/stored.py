"""Drafts that are not sampled twice: each lies in ComfyUI's output folder under the hash of all that it is made from.

A stored draft is a latent of ComfyUI's Load Latent, which reads it as "FlashVideo/stored/NAME.latent [output]". The
folder is kept below a number of GB: what was not used for longest goes first.
"""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import folder_paths
import torch
from torch import Tensor

from ..flashvideo_core.errors import InputError, one_line
from ..flashvideo_core.media.draft_file import load_draft, save_latent
from ..flashvideo_core.setting_rules import SEEDS
from ..flashvideo_core.settings import DraftSettings
from ..flashvideo_core.weights.atomic import atomic_write
from ..flashvideo_core.weights.reader import file_sha256
from .bridge.fingerprint import UnknownContentError, find_weights, hash_content, hash_model
from .bridge.models import WeightsFile
from .bridge.runs import sample_drafts, sample_each_draft, to_intermediate
from .bridge.types import Conditioning, Model

FOLDER = "FlashVideo/stored"  # in the output folder
KNOWN_WEIGHTS = "weights.json"  # in it: the hashes of files of weights, so that each is read for it once
SETTINGS = "flashvideo_settings"  # in the metadata of a stored draft, for people
FORMAT = 1  # another one where the same settings come to give another draft


@dataclass(frozen=True)
class Drafts:
    """latents [B, 16, T, H, W] in VAE units, what to say of where they are from, and whether all of them are stored."""

    latents: Tensor
    said: str
    are_stored: bool


def sample_stored(
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None,
    settings: DraftSettings,
    drafts: int,
    limit: float,
) -> Drafts:
    """What `sample_drafts` gives: stored drafts are read, the others sampled, and stored as soon as they are there.

    Where the content of something before the model cannot be told, nothing is read or stored. limit: of the folder, GB.
    """
    folder = Path(folder_paths.get_output_directory(), FOLDER)
    try:
        source = hash_source(folder, model, positive, negative)
    except UnknownContentError as unknown:
        latents = sample_drafts(model, positive, negative, settings, drafts)
        return Drafts(latents, f"nothing is stored or read: {unknown}", False)
    asked = {seed: replace(settings, seed=seed % SEEDS) for seed in range(settings.seed, settings.seed + drafts)}
    paths = {seed: folder / name_draft(source, each) for seed, each in asked.items()}
    found = {seed: read_draft(path) for seed, path in paths.items()}
    missing, faults = [seed for seed, latent in found.items() if latent is None], []
    sampled = sample_each_draft(model, positive, negative, settings, missing) if missing else ()
    for seed, latent in zip(missing, sampled, strict=True):
        found[seed] = latent
        faults += write_draft(paths[seed], latent, asked[seed], limit)
    said = f"{drafts - len(missing)} of {drafts} drafts read from output/{FOLDER}"
    said += f", {len(missing)} stored there" * bool(missing and not faults)
    return Drafts(torch.cat(list(found.values())), "; ".join([said, *faults[:1]]), not faults)


def hash_source(folder: Path, model: Model, positive: Conditioning, negative: Conditioning | None) -> list[str]:
    """What drafts are made from but for their settings. Raises UnknownContentError."""
    weights = hash_weights(folder / KNOWN_WEIGHTS, find_weights(model))
    return [hash_model(model, weights), hash_content(positive), hash_content(negative)]


def hash_weights(known: Path, file: WeightsFile) -> str:
    """The SHA-256 of a file of weights, computed once for each path, size and time of change, which `known` keeps."""
    key, hashes = f"{file.path.resolve()} {file.size} {file.changed}", read_hashes(known)
    if key not in hashes:
        logging.info("FlashVideo: hashing %s, %.1f GB, to know again what it makes", file.path.name, file.size / 1e9)
        hashes[key] = file_sha256(file.path)
        with suppress(OSError):  # then it is computed again
            known.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(known) as partial:
                partial.write_text(json.dumps(hashes, indent=2), "utf-8")
    return hashes[key]


def read_hashes(known: Path) -> dict[str, str]:
    """Empty for a file that is not there or holds something else."""
    hashes = None
    with suppress(OSError, ValueError):
        hashes = json.loads(known.read_text("utf-8"))
    return hashes if isinstance(hashes, dict) else {}


def name_draft(source: Sequence[str], settings: DraftSettings) -> str:
    """The name of its file."""
    return f"{hash_content([FORMAT, *source, settings.to_json()])}.latent"


def read_draft(path: Path) -> Tensor | None:
    """A stored draft [1, 16, T, H, W], which then counts as just used; None where there is none, or a damaged one."""
    try:
        latent, _ = load_draft(path)
        os.utime(path)
    except (InputError, OSError):
        return None
    return to_intermediate(latent)


def write_draft(path: Path, latent: Tensor, settings: DraftSettings, limit: float) -> list[str]:
    """Stores a draft and makes room for it. What goes wrong is said, not raised: the draft itself is there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_latent(path, latent, {SETTINGS: json.dumps(settings.to_json())})
        trim_folder(path.parent, limit)
    except OSError as error:
        return [f"they cannot be stored: {one_line(error)}"]
    return []


def trim_folder(folder: Path, limit: float) -> None:
    """Deletes stored drafts that were not used for longest until the others have at most `limit` GB."""
    drafts = [(path.stat(), path) for path in folder.glob("*.latent")]
    size = sum(stat.st_size for stat, _ in drafts)
    for stat, path in sorted(drafts, key=lambda draft: draft[0].st_mtime_ns):
        if size <= limit * 1e9:
            break
        path.unlink(missing_ok=True)
        size -= stat.st_size
