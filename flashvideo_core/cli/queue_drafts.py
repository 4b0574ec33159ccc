"""Drafts as the batch client keeps them: draft-0.mp4 and draft-0.safetensors, draft-1.mp4 and so on.

The server keeps the results of its latest prompt only, so refining would sample stage 1 again for all others. The
latents are therefore fetched with the drafts and handed back for refining (ComfyUI's Load Latent).
"""

import hashlib
import re
from pathlib import Path

import torch

from ..media.draft_file import load_draft, pack_latent


def name_video(number: int, filename: str) -> str:
    """Of draft `number`; the ending is that of what the server calls the file."""
    ending = re.search(r"\.\w{1,5}$", filename)
    return f"draft-{number}{ending.group() if ending else '.mp4'}"


def name_latent(number: int, filename: str) -> str:
    """Of draft `number`, whatever the server calls it."""
    return f"draft-{number}.safetensors"


def name_upload(content: bytes) -> str:
    """By which a server knows the latents of a file, equal ones by the same."""
    return f"flashvideo-{hashlib.sha256(content).hexdigest()[:16]}.latent"


def is_latent(name: str) -> bool:
    return name.endswith(".safetensors")


def join_drafts(paths: list[Path]) -> bytes:
    """The drafts one after the other in one file, as Load Latent reads it. Raises InputError."""
    return pack_latent(torch.cat([load_draft(path)[0] for path in paths]), {})
