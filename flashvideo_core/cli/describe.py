"""What a file is, as JSON: weights, a draft, embeddings, a clip of ours or any video."""

from collections.abc import Iterable
from pathlib import Path

from ..checkpoint import Weights, build_meta_model, match_tensors, open_weights, stored_dtype
from ..components import load_embeddings
from ..config import TextConfig, TransformerConfig
from ..errors import InputError
from ..media.draft_file import LATENT, load_draft
from ..media.video_reader import probe_video
from ..sizes import clip_size
from ..weights.file_kind import find_file_kind
from ..weights.gguf_file import GGUFTensors
from ..weights.reader import open_file
from ..weights.sources import TensorSource
from ..weights.wrappers import find_stored
from .record import check_named_record, is_draft_folder, read_record_json
from .tables import Facts

EMBEDDING = "stage1"  # the name of a tensor that tells embeddings from weights, as LATENT does a draft
WEIGHTS = (".safetensors", ".sft", ".pt", ".pth", ".ckpt", ".bin", ".gguf")


def describe_file(path: Path) -> Facts:
    """The kind of a file and what is in it. Raises InputError for one that cannot be used."""
    path = path / "draft.safetensors" if is_draft_folder(path) else path
    if path.is_dir() or path.suffix == ".json":
        return {"kind": "clip", **read_record_json(path)}
    if path.suffix.lower() not in WEIGHTS and not has_tensors(path):
        return describe_video(path)
    names = open_file(path).shapes
    if LATENT in names:
        return describe_draft(path)
    if EMBEDDING in names:
        return {"kind": "embeddings", **{name: list(t.shape) for name, t in load_embeddings(path).items()}}
    return describe_weights(open_weights(path))


def has_tensors(path: Path) -> bool:
    """Whether a file is one of tensors, whatever its name."""
    try:
        return bool(find_file_kind(path))
    except InputError:
        return False


def describe_weights(weights: Weights) -> Facts:
    """The model, complete (a file with something missing is an InputError), and how it is stored."""
    model, config = build_meta_model(weights), weights.config
    sources = match_tensors(weights, model)
    kinds = {TransformerConfig: f"transformer of stage {getattr(config, 'stage', '')}", TextConfig: "text encoder"}
    facts = {"kind": kinds.get(type(config), "VAE"), "origin": weights.origin}
    if isinstance(config, TransformerConfig):
        facts |= {"stage": config.stage, "layers": config.layers, "hidden": config.hidden, "heads": config.heads}
        facts |= {"text_dim": config.text_dim, "text_length": config.text_length, "time_dim": config.time_dim}
        facts |= {"latent_scale": config.latent_scale, "lora": describe_lora(weights, sources.values())}
        facts["defaults"] = vars(config.defaults)
    else:
        facts |= vars(config)
    facts["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    facts["dtype"] = describe_storage(weights, sources.values())
    facts["bytes"] = weights.path.stat().st_size
    return facts | {name: value for name, value in weights.metadata.items() if name == "source_sha256"}


def describe_storage(weights: Weights, sources: Iterable[TensorSource]) -> str:
    if any(source.scale for source in sources):
        return "fp8"
    stored, _ = find_stored(weights.tensors, next(iter(weights.tensors)))
    return stored.name_kind() if isinstance(stored, GGUFTensors) else str(stored_dtype(weights)).removeprefix("torch.")


def describe_lora(weights: Weights, sources: Iterable[TensorSource]) -> str | None:
    adapted = [source.lora for source in sources if source.lora]
    if not adapted:
        return None
    return f"rank {weights.shapes[adapted[0][0][0]][0]} on {len(adapted)} layers, merged when loaded"


def describe_draft(path: Path) -> Facts:
    latent, record = load_draft(path)
    check_named_record(path, record)
    frames, height, width = clip_size(*latent.shape[2:])
    return {"kind": "draft", "frames": frames, "height": height, "width": width, **record}


def describe_video(path: Path) -> Facts:
    """A clip of ours where the container holds its record."""
    found = probe_video(path)
    facts = {"kind": "video", "frames": found.frames, "height": found.height, "width": found.width}
    facts |= {"fps": float(found.fps), "sound": found.has_audio}
    try:
        return facts | read_record_json(path) | {"kind": "clip"}
    except InputError:
        return facts
