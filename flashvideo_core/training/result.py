"""The file that a run on own clips leaves: a LoRA, or the whole stage."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..checkpoint import make_metadata, open_weights, stored_dtype
from ..weights.atomic import save_weights
from .lora import convert_lora
from .options import TrainingOptions
from .prepare import WeightFiles


def get_result_path(folder: Path, options: TrainingOptions) -> Path:
    """lora.safetensors, stage1.safetensors or stage2.safetensors."""
    return folder / ("lora.safetensors" if options.mode == "lora" else f"stage{options.stage}.safetensors")


def export_result(
    folder: Path,
    model: nn.Module,
    ema: Mapping[str, Tensor],
    options: TrainingOptions,
    weights: WeightFiles,
    about: Mapping[str, str],
) -> None:
    """Writes the result from the EMA weights: a LoRA in the dtype that its base has in training, or the whole stage
    in the dtype of the file that it started from. about: what the metadata tell besides."""
    source = open_weights(weights.files[f"stage{options.stage}"])
    if options.mode == "lora":
        tensors = convert_lora(model, ema, weights.dtype)
        metadata = {"base": json.dumps(weights.hashes[f"stage{options.stage}"]), "format": "pt"}
        metadata |= {name: str(getattr(options, name)) for name in ("stage", "rank", "alpha", "steps")}
    else:
        tensors = {name: value.detach().cpu().to(stored_dtype(source)).contiguous() for name, value in ema.items()}
        inherited = {name: value for name, value in source.metadata.items() if name != "source_sha256"}
        metadata = inherited | make_metadata(model.config)
    save_weights(get_result_path(folder, options), tensors, metadata | dict(about))
