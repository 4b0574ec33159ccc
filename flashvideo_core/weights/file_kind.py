"""What a file is by its first bytes; every loader of weights, latents and embeddings asks here.

A file of none of the kinds that are read gets an InputError that says what it is, as far as that can be told.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Literal

from ..errors import InputError

FileKind = Literal["safetensors", "pt", "gguf"]

SAFETENSORS_NAMES = (".safetensors", ".sft")
HEAD = 4096  # bytes that are looked at
LONGEST_HEADER = 100_000_000  # bytes, by the format's own rule

_MAGIC = {
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it first",
    b"Rar!": "is a RAR archive; unpack it first",
    b"\x89PNG": "is a PNG picture",
    b"\xff\xd8\xff": "is a JPEG picture",
    b"\x1aE\xdf\xa3": "is a Matroska or WebM video",
    b"\x93NUMPY": "is a NumPy array; save it as safetensors",
    b"\x89HDF": "is an HDF5 file; save its tensors as safetensors",
}
# Files of TAEHV's layout and 16 channels by how their names begin; nothing in them tells them from taecvx.
_OTHER_DECODERS = {
    "taehv": "HunyuanVideo's",
    "taew2": "Wan's",
    "lighttaew2": "Wan's",
    "lighttaehy": "HunyuanVideo's",
    "taeos1": "Open-Sora's",
}
_JOIN = "join them into one .safetensors first"
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.\w+")


def find_file_kind(path: Path) -> FileKind:
    """Raises InputError that begins with the path for a file that is none of the three."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from None
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") >> 32 == 0:
        return "safetensors"
    if head.startswith(b"GGUF"):
        return "gguf"
    fault = _find_zip_fault(path) if head[:4] == b"PK\x03\x04" else describe_head(head)
    if fault is None and path.suffix in SAFETENSORS_NAMES:  # torch.load and ComfyUI go by the name
        fault = "is a torch checkpoint with the name of a safetensors file; rename it to .pt"
    if fault is None:
        return "pt"
    raise InputError(f"{path} {fault}")


def describe_head(head: bytes) -> str:
    """What a file that cannot be read is, by its first bytes, as the end of a sentence that begins with its path."""
    if not head:
        return "is empty"
    if known := next((words for magic, words in _MAGIC.items() if head.startswith(magic)), None):
        return known
    if head[:1] == b"\x80":
        return "is a bare pickle, which may carry code and is not opened; save it as safetensors"
    if head[4:8] == b"ftyp":
        return "is a video or picture (MP4, MOV, HEIF)"
    if head[8:9] == b"{":
        return "is cut off or damaged: its header is longer than safetensors allows"
    return _describe_text(head)


def describe_stand_in(head: bytes) -> str | None:
    """What a text is that lies where a file should, of whatever kind that is; None for anything else."""
    text = _strip(head)
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, a few lines that stand for the file itself; fetch that with `git lfs pull`"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "is a web page (HTML), not the file itself; its download failed or was of the wrong address"
    return None


def _strip(head: bytes) -> bytes:
    """Without a byte-order mark and blanks, in lower case."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()


def _describe_text(head: bytes) -> str:
    text = _strip(head)
    if stand_in := describe_stand_in(head):
        return stand_in
    if text.startswith(b"<?xml"):
        return "is an XML text, most likely a server's error instead of the file; download it again"
    if text.startswith(b"{") and b'"weight_map"' in head:
        return f"is the index of weights that were saved in several files (shards); {_JOIN}"
    if text.startswith((b"{", b"[")):
        return "is JSON, neither safetensors nor a torch checkpoint"
    return "is neither safetensors nor a torch checkpoint"


def describe_shard(path: Path) -> str:
    """What has to be said of a file that lacks tensors, when its name tells that it is one of several; else ""."""
    match = _SHARD.search(path.name)
    if match is None or int(match[2]) < 2:
        return ""
    return f" (it is shard {int(match[1])} of {int(match[2])} of weights that were saved in several files; {_JOIN})"


def check_decoder_name(origin: str, name: str) -> None:
    """Raises InputError, without a subject, for a TAEHV file whose name says that it is for another VAE's latents."""
    of = next((of for start, of in _OTHER_DECODERS.items() if name.lower().startswith(start)), None)
    if origin == "taehv" and of is not None:
        raise InputError(f"decodes {of} latents; CogVideoX's, which FlashVideo has, need taecvx")


def describe_damage(path: Path) -> str:
    """How many bytes of a safetensors file are there; "" where its header cannot tell or none is missing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, LONGEST_HEADER))
    if len(text) < length:
        return f"{size} bytes, where its header alone has {8 + length}"
    try:
        ends = [entry["data_offsets"][1] for name, entry in json.loads(text).items() if name != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return ""
    return f"{size} of {wanted} bytes are there" if size < wanted else ""


def _find_zip_fault(path: Path) -> str | None:
    """Why a ZIP is no torch checkpoint; None for one that is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "is cut off or damaged: the end of a torch checkpoint, its list of contents, is missing"
    if any(name.endswith("data.pkl") for name in names):
        return None
    inner = next((name for name in names if name.endswith((".safetensors", ".pt", ".pth", ".ckpt"))), None)
    return f"is a ZIP archive with {inner} in it; unpack it first" if inner else "is a ZIP archive without weights"
