"""Stage 2 on a film, from its frames to a file: nothing but its latent is ever whole in memory."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from comfy_api.latest import ui
from torch import Tensor

from ..flashvideo_core.clip_parts import FINAL, ClipParts, Segment, StoredVideo, write_segments
from ..flashvideo_core.clip_stream import Span, match_spans
from ..flashvideo_core.faithful import AddedColor, Drift
from ..flashvideo_core.media.clock import make_clock
from ..flashvideo_core.media.codecs import H264
from ..flashvideo_core.media.video_join import join_videos
from ..flashvideo_core.memory import VAESplit
from ..flashvideo_core.sampling import check_finite
from ..flashvideo_core.settings import RefineSettings
from ..flashvideo_core.sizes import clip_size
from ..flashvideo_core.solvers import SolverState
from ..flashvideo_core.types import Notify
from .bridge.progress import make_progress_callback
from .bridge.runs import refine_latents
from .bridge.sampling import make_resumable_euler
from .bridge.saving import choose_video_path
from .bridge.types import Conditioning, Model
from .bridge.vae_fallback import FallbackVAE
from .bridge.video_source import VideoClip
from .unfinished import Unfinished, find_unfinished


@dataclass(frozen=True)
class Refining:
    """What a clip is refined from, with what, and how. negative None: zeros."""

    clip: VideoClip
    model: Model
    vae: FallbackVAE
    positive: Conditioning
    negative: Conditioning | None
    settings: RefineSettings

    def find_files(self) -> Unfinished:
        others = [self.clip.content, self.settings.to_json()]
        return find_unfinished(self.model, self.positive, self.negative, self.vae.vae, others)


@dataclass(frozen=True)
class RefinedVideo:
    """A refined clip: its file, how the editor asks for that, and how far it is from what was refined."""

    path: Path
    saved: ui.SavedResult
    drift: Drift


def refine_video(refining: Refining, prefix: str, metadata: Mapping[str, str], notify: Notify) -> RefinedVideo:
    """Refines a clip as far as an earlier run has not, into the next free file of this prefix, with its sound."""
    clip, files = refining.clip, refining.find_files()
    if files.lacking is not None:
        notify(f"nothing is kept that a later run could go on from: {files.lacking}")
    with files.open():
        z, split = files.find_refined() or sample_clip(refining, files, notify)
        parts = ClipParts(files.stem, files.key, make_clock(clip.fps), {FINAL: StoredVideo(H264)})
        segments = decode_clip(refining, z, split, parts, files.resumes, notify)
        path, saved = choose_video_path(prefix, refining.settings.size)
        join_videos(path, parts.paths(FINAL, segments), parts.clock, metadata=dict(metadata), audio=clip.audio)
    return RefinedVideo(path, saved, Drift.summarize(torch.cat([segment.drift for segment in segments])))


def sample_clip(refining: Refining, files: Unfinished, notify: Notify) -> tuple[Tensor, VAESplit]:
    """Stage 2's latent [1, 16, T, H, W] in float32 on the CPU, and how its decoding is to be split."""
    settings, vae, states = refining.settings, refining.vae, files.sampling
    state = files.find_state()
    if state is None:
        reference = vae.encode_frames(refining.clip.frames, settings.size, make_progress_callback())
    else:
        notify(f"going on from evaluation {state.step} of {settings.steps}")
        reference = torch.zeros(state.x.shape)  # what is made of it is in the state

    def keep(state: SolverState) -> None:
        if files.resumes:
            states.keep(state, {"key": files.key})

    sampler = make_resumable_euler(state, keep)
    conditioning = refining.positive, refining.negative
    z = refine_latents(refining.model, *conditioning, reference.cpu(), settings, sampler=sampler).float().cpu()
    check_finite(z, refining.model.model.get_dtype())
    split = vae.first_split("decode", clip_size(*z.shape[2:]))
    files.keep_refined(z, split)
    return z, split


def decode_clip(
    refining: Refining, z: Tensor, split: VAESplit, parts: ClipParts, resume: bool, notify: Notify
) -> list[Segment]:
    """Writes the parts that are not there, with what they are to take from the frames before; smaller pieces where
    memory runs out."""
    vae, clip, callback = refining.vae, refining.clip, make_progress_callback()
    t, size = z.shape[2], clip_size(*z.shape[2:])
    vae.make_room("decode", size)

    def run_pass(split: VAESplit) -> list[Segment]:
        def open_stream(start: int, added: AddedColor) -> Generator[Span, None, None]:
            decoded = vae.stream_decode(z, split, start, callback)
            return match_spans(decoded, clip.frames, t, split, refining.settings.match, start, added)

        return write_segments(parts, t, split, open_stream, notify, resume)

    return vae.run_with_fallback("decode", size, split, run_pass)
