"""What a clip was made with, as JSON: prompt, both stages' settings and seeds, weight hashes.

The same record lies in the sidecar clip.json, in the container of every video and (its first half) in the saved
draft. `generate --from` reads it back. Beside what was asked for it keeps what the machine added (tiling,
versions, paths); `asked` leaves that out, so a finished clip is found again by what it is.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ..components import TINY
from ..errors import InputError
from ..media.video_reader import read_video
from ..weights.reader import file_sha256, open_file

KEY = "flashvideo"  # of the record in a video's metadata
EMBEDDED = "embedded"
LARGE = 1 << 30  # a file above it that carries its source's hash is known by that


def clip_record(prompt: str, stage1: dict, stage2: dict | None, weights: dict, run: dict) -> dict:
    """stage1 and stage2 are complete settings with their seeds; run holds dtype, device, fps, crf."""
    stages = {"stage1": stage1} | ({"stage2": stage2} if stage2 else {})
    return {"prompt": prompt, **stages, "weights": weights, **run, "software": software()}


def draft_record(record: dict) -> dict:
    """The part of a clip's record that tells how its draft was made."""
    kept = {name: record[name] for name in ("prompt", "stage1", "dtype", "device", "fps", "software")}
    kept |= {"attention": record["attention"]} if "attention" in record else {}
    return kept | {"weights": {name: record["weights"][name] for name in ("stage1", "text")}}


def asked(record: dict) -> dict:
    """The record without what the machine added to it."""
    kept = {name: value for name, value in record.items() if name not in ("software", "paths")}
    for stage in ("stage1", "stage2"):
        if stage in kept:
            kept[stage] = {name: value for name, value in kept[stage].items() if name != "tiles"}
    return kept


def weight_hashes(files: dict[str, Path], note: Callable[[str], None]) -> dict[str, dict]:
    """For each part its file name and SHA-256; for a large file of ours the SHA-256 of its source."""
    return {name: weight_hash(path, note) for name, path in files.items()}


def weight_hash(path: Path, note: Callable[[str], None]) -> dict:
    if path.is_dir():  # a T5 encoder, 9.5 GB in several files
        listing = sorted((file.name, file.stat().st_size) for file in path.iterdir())
        return {"file": path.name, "listing_sha256": hashlib.sha256(json.dumps(listing).encode()).hexdigest()}
    name = EMBEDDED if path.parent == TINY else path.name
    size = path.stat().st_size
    if size > LARGE and path.suffix == ".safetensors":
        metadata = open_file(path)[2]
        if "source_sha256" in metadata:
            return {"file": name, "bytes": size, "source_sha256": metadata["source_sha256"]}
    if size > LARGE:
        note(f"hashing {path.name} ({size / 1e9:.1f} GB); a converted file is known by its source's hash")
    return {"file": name, "sha256": file_sha256(path)}


def software() -> dict:
    try:
        own = version("flashvideo")
    except PackageNotFoundError:  # run from a checkout
        own = "checkout"
    return {"flashvideo": own, "torch": torch.__version__, "threads": torch.get_num_threads()}


def run_of(
    device: torch.device, dtype: torch.dtype, fps, crf: float | None = None, attention: str | None = None
) -> dict:
    """The rest of a record. fps is a number, or "24000/1001" where that is exact; attention where it was chosen."""
    rate = Fraction(fps).limit_denominator(1001)
    run = {"dtype": str(dtype).removeprefix("torch."), "device": device.type}
    run["fps"] = rate.numerator if rate.denominator == 1 else str(rate)
    return run | {name: value for name, value in (("crf", crf), ("attention", attention)) if value is not None}


def read_record(path: str | Path) -> dict:
    """The record in a clip.json, in the folder of a clip, or in a video of ours. Raises ValueError."""
    path = Path(path)
    path = path / "clip.json" if path.is_dir() else path
    with suppress(json.JSONDecodeError, AttributeError):
        record = json.loads(record_text(path))
        if {"prompt", "stage1", "stage2", "weights"} <= record.keys():
            return record
    raise InputError(f"{path} holds no record of a clip of ours")


def record_text(path: Path) -> str:
    if path.suffix != ".json":
        return read_video(path, max_frames=1).metadata.get(KEY, "")
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def recorded_path(record: dict, part: str) -> Path | None:
    """Where the record's clip had this part from; None when it does not tell."""
    if record["weights"].get(part, {}).get("file") == EMBEDDED:
        return TINY / f"{part}.safetensors"
    path = record.get("paths", {}).get(part)
    return Path(path) if path else None


def check_same_weights(record: dict, weights: dict, given: set[str]) -> None:
    """Raises ValueError when a part that was not named anew (`given`) is not what the record says."""
    for name, hashes in record["weights"].items():
        if name not in given and weights.get(name) != hashes:
            raise InputError(f"{name} has changed since the clip was made; name the weights to use with --{name}")


def paths_of(files: dict[str, Path]) -> dict[str, str]:
    """Absolute paths of the parts that are not embedded, for the sidecar alone."""
    return {name: str(path.resolve()) for name, path in files.items() if path.parent != TINY}
