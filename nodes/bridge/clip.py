"""Text: the embedded word-level encoder as a CLIP, T5-XXL through ComfyUI's own, and plain-text encoding."""

import logging
from pathlib import Path

import comfy.model_patcher
import comfy.sd
import folder_paths
import torch
from torch import nn

from ...flashvideo_core.checkpoint import load_text
from ...flashvideo_core.text import WordEncoder, word_ids
from ...flashvideo_core.weights.reader import open_file

T5_TOKENS = 226


class WordTokenizer:
    """Words of the embedded vocabulary as ComfyUI tokens (id, weight 1)."""

    def __init__(self, words: list[str], max_words: int):
        self.vocabulary, self.max_words = {word: i + 1 for i, word in enumerate(words)}, max_words

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs) -> dict:
        ids, unknown = word_ids(text, self.vocabulary, self.max_words)
        if unknown:
            logging.warning("FlashVideo: the embedded text encoder ignores: %s", ", ".join(unknown))
        return {"flashvideo_words": [[(i, 1.0) for i in ids or [0]]]}

    def state_dict(self) -> dict:
        return {}


class WordModel(nn.Module):
    """The embedded encoder with the methods that comfy.sd.CLIP calls."""

    dtypes = {torch.float32}

    def __init__(self, encoder: WordEncoder):
        super().__init__()
        self.encoder = encoder

    def reset_clip_options(self) -> None: ...

    def set_clip_options(self, options: dict) -> None: ...

    def encode_token_weights(self, tokens: dict) -> tuple:
        ids = [[i for i, _ in row] for row in tokens["flashvideo_words"]]
        return self.encoder(torch.tensor(ids)).float(), None


def load_word_clip(path: str | Path) -> comfy.sd.CLIP:
    """The embedded encoder as a CLIP. It is tiny and runs on the CPU."""
    encoder, words = load_text(path)
    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model = WordModel(encoder)
    clip.tokenizer = WordTokenizer(words, encoder.config.max_words)
    cpu = torch.device("cpu")
    clip.patcher = comfy.model_patcher.ModelPatcher(clip.cond_stage_model, load_device=cpu, offload_device=cpu)
    clip.patcher.is_clip = True
    clip.layer_idx, clip.use_clip_schedule, clip.apply_hooks_to_conds = None, False, None
    clip.tokenizer_options = {}
    return clip


def load_text_clip(path: str | Path) -> comfy.sd.CLIP:
    """A word-level encoder of ours, or T5-XXL as ComfyUI's CLIPLoader of type cogvideox loads it."""
    path = Path(path)
    if path.suffix == ".safetensors" and "config" in open_file(path)[2]:
        return load_word_clip(path)
    embeddings = folder_paths.get_folder_paths("embeddings")
    return comfy.sd.load_clip([str(path)], embeddings, clip_type=comfy.sd.CLIPType.COGVIDEOX)


def encode(clip, text: str) -> list:
    """CONDITIONING of a plain text: no weight syntax, cut to 226 tokens whose last one ends the sentence."""
    tokens = clip.tokenize(text, disable_weights=True)
    cut = {key: [row if len(row) <= T5_TOKENS else row[: T5_TOKENS - 1] + row[-1:] for row in rows]
           for key, rows in tokens.items()}  # fmt: skip
    return clip.encode_from_tokens_scheduled(cut)


def is_embedded(clip) -> bool:
    return isinstance(clip.cond_stage_model, WordModel)
