"""T5-XXL as a text encoder, through the package transformers, which is imported where it is used."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .config import STAGE1
from .device import on_device
from .errors import InputError
from .text import note_dropped_end
from .types import TextEncoder


@dataclass(frozen=True)
class T5Encoder:
    """A text -> [1, 226, width] in float32 on the CPU (a TextEncoder). The model is on `device` while it encodes."""

    model: nn.Module
    tokenizer: Callable[..., Mapping[str, Tensor]]
    device: torch.device

    def __call__(self, text: str) -> Tensor:
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[Tensor]:
        """Each by itself, as released, in one stay on the device."""
        with torch.no_grad(), on_device(self.model, self.device):
            return [self.model(input_ids=self.tokenize(text)).last_hidden_state.float().cpu() for text in texts]

    def tokenize(self, text: str) -> Tensor:
        """Token ids [1, 226] on the device; what is cut off is said."""
        length = {"truncation": True, "max_length": STAGE1.text_length, "padding": "max_length"}
        if len(self.tokenizer(text, verbose=False)["input_ids"]) > STAGE1.text_length:
            note_dropped_end(text, f"{STAGE1.text_length} tokens")
        return self.tokenizer(text, return_tensors="pt", **length)["input_ids"].to(self.device)


def load_t5_encoder(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.bfloat16
) -> T5Encoder:
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

    return T5Encoder(model, tokenizer, torch.device(device))


def encode_ahead(encoder: TextEncoder, texts: Sequence[str]) -> TextEncoder:
    """The encoder with these texts encoded already where that saves T5's 9.5 GB their way to a card and back for each.

    Another encoder, and T5 on the CPU, encode a text when it is asked for.
    """
    if not isinstance(encoder, T5Encoder) or encoder.device.type == "cpu":
        return encoder
    texts = list(dict.fromkeys(texts))
    known = dict(zip(texts, encoder.encode_all(texts), strict=True))
    return lambda text: known[text] if text in known else encoder(text)


def check_t5(folder: str | Path) -> None:
    """Raises InputError when a T5 encoder cannot be loaded from there, without loading it."""
    if importlib.util.find_spec("transformers") is None:
        raise InputError("--t5 needs the transformers package: pip install transformers sentencepiece")
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"{folder} is no folder of a T5 encoder with tokenizer: it has no config.json")
