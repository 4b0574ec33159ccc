"""A clip that is being refined, on disk until it is whole: what a later run, also of another server, goes on from.

In ComfyUI's output folder, since its temp folder is emptied at each start, under the hash of all that the clip is made
from: its model with every patch, the conditioning, VAE, settings and frames.
"""

import glob
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import folder_paths
import torch
from torch import Tensor

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.media.draft_file import load_draft, save_draft
from ..flashvideo_core.memory import VAESplit
from ..flashvideo_core.solver_file import SolverFile
from ..flashvideo_core.solvers import SolverState
from ..flashvideo_core.weights.atomic import remove_path
from .bridge.fingerprint import UnknownContentError, hash_content
from .bridge.types import VAE, Conditioning, Model
from .stored import FOLDER as STORED
from .stored import hash_source

FOLDER = "FlashVideo/unfinished"  # in the output folder
FORMAT = 1  # another one where the same settings come to give another clip


@dataclass(frozen=True)
class Unfinished:
    """The files of a clip; the names of all begin with `stem`. lacking: why nothing can be gone on with, else None."""

    stem: Path
    key: str
    lacking: str | None = None

    @property
    def resumes(self) -> bool:
        return self.lacking is None

    @property
    def sampling(self) -> SolverFile:
        """The state of stage 2 between two evaluations."""
        return SolverFile(self.stem.with_name(f"{self.stem.name}.sampling.safetensors"))

    @property
    def refined(self) -> Path:
        """Stage 2's latent."""
        return self.stem.with_name(f"{self.stem.name}.refined.safetensors")

    def find_state(self) -> SolverState | None:
        found = self.sampling.find() if self.resumes else None
        return found[0] if found and found[1].get("key") == self.key else None

    def find_refined(self) -> tuple[Tensor, VAESplit] | None:
        """Stage 2's latent [1, 16, T, H, W], and how its decoding was split."""
        if not self.resumes:
            return None
        try:
            z, values = load_draft(self.refined)
        except InputError:
            return None
        split = values.get("split")
        return (z, tuple(split) if isinstance(split, list) else split) if values.get("key") == self.key else None

    def keep_refined(self, z: Tensor, split: VAESplit) -> None:
        if self.resumes:
            save_draft(self.refined, z, {"key": self.key, "split": split})
            self.sampling.path.unlink(missing_ok=True)

    @contextmanager
    def open(self) -> Iterator[None]:
        """While the clip is made. In the end its files go; after an error only where nothing can be gone on with."""
        try:
            yield
        except BaseException:
            if not self.resumes:
                self.remove()
            raise
        self.remove()

    def remove(self) -> None:
        """All files, and what killed processes left of writing them."""
        name = glob.escape(self.stem.name)
        for pattern in (f"{name}.*", f".{name}.*.part"):
            for path in self.stem.parent.glob(pattern):
                remove_path(path)


def find_unfinished(
    model: Model, positive: Conditioning, negative: Conditioning | None, vae: VAE, others: Sequence[object]
) -> Unfinished:
    """Where a clip of these lies until it is whole. others: what else it is made from, for `hash_content`."""
    output = Path(folder_paths.get_output_directory())
    software = [str(torch.__version__), torch.get_num_threads(), str(vae.vae_dtype), vae.device.type]
    try:
        source = hash_source(output / STORED, model, positive, negative)
        key, lacking = hash_content([FORMAT, *source, vae.get_sd(), software, *others]), None
    except UnknownContentError as unknown:
        key, lacking = uuid.uuid4().hex, str(unknown)
    folder = output / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}") from error
    return Unfinished(folder / key[:32], key, lacking)
