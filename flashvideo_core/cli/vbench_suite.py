"""VBench's suite of prompts: which clips it asks for, what they are called and which seeds they have.

Source: VBench_full_info.json of the vbench package (github.com/Vchitect/VBench, prompts/README.md): a list of entries
with a prompt and the dimensions that it is for; 5 clips of each prompt, 25 of those for temporal_flickering.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .outputs import vbench_name
from .prompts import read_prompt_file
from .record_schema import is_text

SAMPLES = 5
FLICKERING, FLICKERING_SAMPLES = "temporal_flickering", 25  # a filter of VBench's keeps the clips that stand still
SEED_BYTES = 6  # so that a seed is a number that every reader of JSON holds exactly


@dataclass(frozen=True)
class Entry:
    """An entry of the file. long: what is to be shown, in more words."""

    prompt: str
    dimensions: tuple[str, ...]
    long: str

    @property
    def samples(self) -> int:
        return FLICKERING_SAMPLES if FLICKERING in self.dimensions else SAMPLES


@dataclass(frozen=True)
class SuiteClip:
    """One clip. prompt: what it is called; shown: what it is made from."""

    prompt: str
    shown: str
    index: int
    seed: int

    @property
    def name(self) -> str:
        return vbench_name(self.prompt, self.index)


def read_suite(info: Path, long: Path | None = None, dimensions: Sequence[str] | None = None) -> list[Entry]:
    """The entries for these dimensions (None: all), each prompt once: twice in the file, it has the dimensions and the
    samples of both and the long text of the first. long: a text file with a line an entry. Raises InputError."""
    entries = read_entries(info, long)
    known = sorted({name for entry in entries for name in entry.dimensions})
    wanted = set(known if dimensions is None else dimensions)
    if unknown := sorted(wanted - set(known)):
        raise InputError(f"dimension {unknown[0]!r} is not in {info}; it has {', '.join(known)}")
    merged: dict[str, Entry] = {}
    for entry in entries:
        if wanted & set(entry.dimensions):
            earlier = merged.get(entry.prompt, entry)
            names = tuple(dict.fromkeys(earlier.dimensions + entry.dimensions))
            merged[entry.prompt] = Entry(entry.prompt, names, earlier.long)
    return list(merged.values())


def read_entries(info: Path, long: Path | None) -> list[Entry]:
    try:
        values = json.loads(info.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{info} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{info} is no JSON; it is VBench_full_info.json of the vbench package") from None
    if not isinstance(values, list) or not values or not all(map(is_entry, values)):
        raise InputError(f"{info} is no list of prompts with dimensions, as VBench_full_info.json of vbench is")
    texts = [value["prompt_en"] for value in values] if long is None else read_prompt_file(long)
    if len(texts) != len(values):
        raise InputError(f"{long} has {len(texts)} prompts, {info} {len(values)}; they belong together line by line")
    pairs = zip(values, texts, strict=True)
    return [Entry(value["prompt_en"], tuple(value["dimension"]), text) for value, text in pairs]


def is_entry(value: object) -> bool:
    if not isinstance(value, dict) or not is_text(value.get("prompt_en")) or not value["prompt_en"].strip():
        return False
    names = value.get("dimension")
    return isinstance(names, list) and bool(names) and all(map(is_text, names))


def list_clips(entries: Iterable[Entry], base_seed: int) -> list[SuiteClip]:
    return [
        SuiteClip(entry.prompt, entry.long, index, derive_seed(base_seed, entry.prompt, index))
        for entry in entries
        for index in range(entry.samples)
    ]


def derive_seed(base_seed: int, prompt: str, index: int) -> int:
    """A clip's own seed, which depends on nothing else: not on the dimensions asked for, nor on who makes it."""
    digest = hashlib.sha256(f"{base_seed}\n{index}\n{prompt}".encode()).digest()
    return int.from_bytes(digest[:SEED_BYTES], "big")
