"""A draft that an earlier command saved: found again, checked, and decoded as it was when it was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..media.draft_file import load_draft, load_draft_record
from ..pipeline import Draft, Pipeline
from ..plans import DraftPlan
from ..sizes import clip_size
from ..types import ProgressCallback
from ..vae_passes import decode, plan_split
from .record import Record


@dataclass(frozen=True)
class SavedDraft:
    """latent [1, 16, T, H, W] in VAE units; no record for a latent that ComfyUI saved."""

    latent: Tensor
    record: Record | None

    @classmethod
    def load(cls, path: Path) -> "SavedDraft":
        """Raises InputError for a file that holds no draft, or a damaged record."""
        latent, values = load_draft(path)
        return cls(latent, parse_draft_record(path, values))

    @property
    def clip_size(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return clip_size(*self.latent.shape[2:])

    def decode(self, pipe: Pipeline, callback: ProgressCallback) -> Draft:
        """The draft with its frames, the VAE's pass split as it was then. Without a record it has no prompt."""
        plan = self.record.draft_plan if self.record else None
        plan = plan or DraftPlan(decode=plan_split(pipe, "decode", self.clip_size))
        frames = decode(pipe, self.latent, "draft_decode", callback, plan.decode)
        if self.record is None:
            return Draft("", frames, self.latent, plan=plan)
        settings = self.record.draft
        return Draft(self.record.prompt, frames, self.latent, settings.seed, self.record.fps, settings, plan)


def read_draft_record(path: Path) -> Record | None:
    """The record of a saved draft, without its latent. Raises InputError as `SavedDraft.load` does."""
    return parse_draft_record(path, load_draft_record(path))


def parse_draft_record(path: Path, values: Mapping[str, Any]) -> Record | None:
    """None for a latent that ComfyUI saved, which has no values."""
    try:
        record = Record.from_json(values) if values else None
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    if record and record.draft is None:
        raise InputError(f"{path} has the record of a refined video, not of a draft")
    return record
