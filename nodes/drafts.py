"""Drafts on disk: for each a video to look at and the latent to go on from, in ComfyUI's output folder.

Both are named by their content, so that the same draft is written once. The latent is a file of ComfyUI's Load Latent,
which reads it where it lies as "FlashVideo/drafts/NAME.latent [output]". Nothing is deleted here.
"""

import hashlib
import io as bytes_io
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, Types, io, ui
from torch import Tensor

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.media.draft_file import save_latent
from ..flashvideo_core.weights.atomic import atomic_write

FOLDER = "FlashVideo/drafts"  # in the output folder
FPS = 8


def save_draft(clip: Tensor, latent: Tensor, metadata: Mapping[str, Any]) -> tuple[ui.SavedResult, ui.SavedResult]:
    """Writes clip [F, H, W, 3] in 0..1 and latent [1, 16, T, h, w], and tells where: (video, latent).

    metadata: what ComfyUI's own files carry, "prompt" and "workflow". Raises InputError where nothing can be written.
    """
    pixels = clip[..., :3].mul(255).round().clamp(0, 255).byte().cpu().contiguous()
    latent = latent.float().cpu().contiguous()
    name = hashlib.sha256(latent.numpy().tobytes() + pixels.numpy().tobytes()).hexdigest()[:16]
    folder = Path(folder_paths.get_output_directory(), FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_latent(folder / f"{name}.latent", latent, metadata)  # first: what cannot be made again at once
        write_video(folder / f"{name}.mp4", clip, metadata)
    except OSError as error:
        raise InputError(f"the drafts cannot be saved in {folder}: {error.strerror or error}") from error
    return tuple(ui.SavedResult(f"{name}.{kind}", FOLDER, io.FolderType.output) for kind in ("mp4", "latent"))


def write_latent(path: Path, latent: Tensor, metadata: Mapping[str, Any]) -> None:
    if not path.exists():
        save_latent(path, latent, {key: json.dumps(value) for key, value in metadata.items()})


def write_video(path: Path, clip: Tensor, metadata: Mapping[str, Any]) -> None:
    if path.exists():
        return
    components = Types.VideoComponents(images=clip, audio=None, frame_rate=Fraction(FPS))
    content = bytes_io.BytesIO()
    video = InputImpl.VideoFromComponents(components)
    video.save_to(content, format=Types.VideoContainer.MP4, metadata=dict(metadata))
    with atomic_write(path) as partial:
        partial.write_bytes(content.getvalue())
