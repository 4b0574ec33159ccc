"""The drafts that a distillation learns on, as reference latents in the cache: made by stage 1, or any clips.

No large clip is needed: the teacher makes that of the draft (teacher.py). Files as in cache.py:

    references/HASH.safetensors   z [16, T, H, W] float16 in VAE units: a draft after the hand-off
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..checkpoint import load_transformer, load_vae
from ..components import Pipeline
from ..config import TransformerConfig
from ..errors import InputError
from ..phases import decode_draft, sample_draft
from ..setting_rules import SEEDS
from ..settings import DraftSettings
from ..sizes import latent_size
from ..types import Notify, ProgressCallback
from ..vae_passes import encode, plan_split
from ..weights.reader import file_sha256
from .cache import hash_json, write_tensor
from .data import Skipped, find_sources
from .options import TrainingOptions
from .prepare import WeightFiles, fill_text, load_encoder, load_text_encoder
from .spans import Span, find_spans, read_span


@dataclass(frozen=True)
class DraftPrompt:
    """What stage 1 is asked for. seed None: the run's seed plus the number of the prompt."""

    caption: str
    seed: int | None = None


@dataclass(frozen=True)
class CachedDraft:
    """A draft in the cache, by its files; frames and size (height, width) are the latent's."""

    z_ref: Path
    txt: Path
    frames: int
    size: tuple[int, int]


def prepare_prompt_drafts(
    prompts: Sequence[DraftPrompt],
    cache: Path,
    config: TransformerConfig,
    settings: DraftSettings,
    options: TrainingOptions,
    weights: WeightFiles,
    progress: ProgressCallback,
) -> list[CachedDraft]:
    """Stage 1's drafts of the prompts, handed off to options.size; what is not in the cache yet is made.

    config is stage 2's; the phase of progress is "drafts". Raises InputError as stage 1 does.
    """
    asked = [(prompt.caption, replace(settings, seed=seed)) for prompt, seed in zip_seeds(prompts, options.seed)]
    files = [name_prompt_draft(cache, caption, draft, options, weights) for caption, draft in asked]
    missing = {file: what for file, what in zip(files, asked, strict=True) if not file.exists()}
    pipe = load_draft_pipeline(weights) if missing else None
    for done, (file, (caption, draft)) in enumerate(missing.items(), 1):
        write_tensor(file, "z", make_reference(pipe, caption, draft, options.size))
        progress("drafts", done, len(missing), None)
    texts = fill_text(cache, [caption for caption, _ in asked], config, weights)
    frames, *size = latent_size(settings.frames, *options.size)
    captions = [texts[caption] for caption, _ in asked]
    return [CachedDraft(file, txt, frames, tuple(size)) for file, txt in zip(files, captions, strict=True)]


def zip_seeds(prompts: Sequence[DraftPrompt], seed: int) -> list[tuple[DraftPrompt, int]]:
    """Each prompt with its own seed, or the one that it gets by its number."""
    return [(p, (seed + i) % SEEDS if p.seed is None else p.seed) for i, p in enumerate(prompts)]


def name_prompt_draft(
    cache: Path, caption: str, draft: DraftSettings, options: TrainingOptions, weights: WeightFiles
) -> Path:
    """Where the reference of a draft of stage 1 is, or will be."""
    made_of = [weights.hashes[name] for name in ("stage1", "text", "vae")]
    name = hash_json("draft", made_of, str(weights.dtype), caption, draft.to_json(), options.size)
    return cache / "references" / f"{name}.safetensors"


def load_draft_pipeline(weights: WeightFiles) -> Pipeline:
    """What makes drafts: everything but stage 2."""
    stage1 = load_transformer(weights.files["stage1"], dtype=weights.dtype)
    vae = load_vae(weights.files["vae"], dtype=weights.dtype)
    text = load_text_encoder(weights)
    return Pipeline(stage1, None, vae, text, device=weights.device, dtype=weights.dtype)


def make_reference(pipe: Pipeline, caption: str, settings: DraftSettings, size: tuple[int, int]) -> Tensor:
    """Stage 1, its decoding and the hand-off as at inference: [16, T, H, W] in VAE units."""
    latent, plan = sample_draft(pipe, caption, settings)
    frames = decode_draft(pipe, caption, latent, settings, plan).frames
    split = plan_split(pipe, "encode", (len(frames), *size))
    return encode(pipe, frames, size, split=split)[0].half()


def prepare_clip_drafts(
    data: Path,
    cache: Path,
    config: TransformerConfig,
    options: TrainingOptions,
    weights: WeightFiles,
    notify: Notify,
    progress: ProgressCallback,
) -> list[CachedDraft]:
    """The user's clips (data.py), scaled to options.draft_size and handed off as drafts are.

    notify hears of everything that is left out; the phase of progress is "drafts". Raises InputError when nothing is
    left.
    """
    sources, skipped = find_sources(data)
    spans, unfit = find_spans(sources, size=options.draft_size, frames=options.frames, fps=options.fps)
    files = name_clip_drafts(cache, spans, options, weights)
    unread = fill_clip_drafts(files, options, weights, progress)
    for skip in [*skipped, *unfit, *unread]:
        notify(str(skip))
    usable = [span for span in spans if files[span].exists()]
    if not usable:
        raise InputError(f"{data} holds no clip that can be learnt on; the notes above say why")
    texts = fill_text(cache, [span.source.caption for span in usable], config, weights)
    return [make_cached_draft(files[span], texts[span.source.caption], span, options) for span in usable]


def name_clip_drafts(
    cache: Path, spans: Sequence[Span], options: TrainingOptions, weights: WeightFiles
) -> dict[Span, Path]:
    """Where the references of clips are, or will be. Reads every source once, for its hash."""
    hashes = {path: file_sha256(path) for path in {span.source.path for span in spans}}
    made_of = [weights.hashes["vae"], str(weights.dtype), options.draft_size, options.size]
    names = {span: hash_json("clip", hashes[span.source.path], span.frames, made_of) for span in spans}
    return {span: cache / "references" / f"{name}.safetensors" for span, name in names.items()}


def fill_clip_drafts(
    files: Mapping[Span, Path], options: TrainingOptions, weights: WeightFiles, progress: ProgressCallback
) -> list[Skipped]:
    """Makes the missing references of clips; returns the clips that could not be read."""
    missing, skipped = {span: path for span, path in files.items() if not path.exists()}, []
    encode_frames = load_encoder(weights) if missing else None
    for done, (span, path) in enumerate(missing.items(), 1):
        try:
            write_tensor(path, "z", encode_frames(read_span(span, options.draft_size), options.size).half())
        except ValueError as error:  # PyAV's own errors are ValueErrors too
            skipped.append(Skipped.from_error(str(span), error))
        progress("drafts", done, len(missing), None)
    return skipped


def make_cached_draft(z_ref: Path, txt: Path, span: Span, options: TrainingOptions) -> CachedDraft:
    """The draft's files and the size of its latent."""
    frames, *size = latent_size(len(span.frames), *options.size)
    return CachedDraft(z_ref, txt, frames, tuple(size))
