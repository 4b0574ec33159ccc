"""T5-XXL as a text encoder, through the package transformers, which is imported where it is used."""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from .config import STAGE1
from .device import on_device
from .errors import InputError
from .text import note_dropped_end
from .types import TextEncoder


def load_t5_encoder(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> TextEncoder:
    """T5-XXL as the released code calls it: 226 tokens, truncated and padded, no attention mask, all rows.

    `folder` holds a T5 encoder and its tokenizer in transformers' layout. The encoder is on `device` while it encodes.
    Raises InputError when the transformers package is not installed or the folder cannot be loaded; nothing is
    downloaded. Source: docs/released-model.md 3.9.
    """
    check_t5(folder)
    try:
        from transformers import AutoTokenizer, T5EncoderModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # the caller says what is loaded
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = T5EncoderModel.from_pretrained(folder, local_files_only=True, torch_dtype=dtype).eval()
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{folder} holds no T5 encoder with tokenizer: {str(error).splitlines()[0]}") from None

    def encode(prompt: str) -> Tensor:
        length = {"truncation": True, "max_length": STAGE1.text_length, "padding": "max_length"}
        tokens = tokenizer(prompt, return_tensors="pt", **length)
        if len(tokenizer(prompt, verbose=False)["input_ids"]) > STAGE1.text_length:
            note_dropped_end(prompt, f"{STAGE1.text_length} tokens")
        with torch.no_grad(), on_device(model, torch.device(device)):
            return model(input_ids=tokens["input_ids"].to(device)).last_hidden_state.float().cpu()

    return encode


def check_t5(folder: str | Path) -> None:
    """Raises InputError when a T5 encoder cannot be loaded from there, without loading it."""
    if importlib.util.find_spec("transformers") is None:
        raise InputError("--t5 needs the transformers package: pip install transformers sentencepiece")
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} is no folder of a T5 encoder with tokenizer: it has no config.json")
