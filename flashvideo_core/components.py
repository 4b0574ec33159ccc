"""The components of a pipeline (stage1, stage2, vae, text): their files, what those hold, and the loaded modules.

Files are looked at (`read_component_configs`) before gigabytes are loaded.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .attention import attention as default_attention
from .checkpoint import load_small_decoder, load_text, load_transformer, load_vae, open_weights
from .config import SmallDecoderConfig, TextConfig, TransformerConfig, VAEConfig
from .device import pick_device, pick_dtype
from .dit import Transformer
from .errors import InputError
from .kernels import choose_attention
from .small_decoder import SmallDecoder
from .t5 import check_t5, load_t5_encoder
from .text import make_word_encoder
from .types import AttentionFn, TextEncoder
from .vae import VAE
from .weights.lora import read_student_defaults
from .weights.reader import open_safetensors
from .weights.wrappers import Component, open_component

TINY = Path(__file__).parent / "tiny"
COMPONENTS = ("stage1", "stage2", "vae", "text")
LORA = "lora"  # stage 2's, beside the components
EMBEDDED = "embedded"  # what a record has in place of the file names of the embedded model
EMBEDDING_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_NAMES = {VAEConfig: "vae", SmallDecoderConfig: "decoder", TextConfig: "text"}


@dataclass(frozen=True)
class Pipeline:
    """The loaded components. One that a run does not need may be None. `files` are the components' paths.

    `embeddings` (by stage, [1, L, text_dim]) replace `text`. Modules are in the CPU's memory between the phases of a
    run and on `device` while they are at work.
    """

    stage1: Transformer | None
    stage2: Transformer | None
    vae: VAE | None
    text: TextEncoder | None
    embeddings: dict[str, Tensor] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    files: dict[str, Path] = field(default_factory=dict)
    attention: AttentionFn = default_attention
    decoder: SmallDecoder | None = None  # shows latents in place of the VAE's decoder; no hand-off goes through it


def load_pipeline(
    stage1: str | Path | None = None,
    stage2: str | Path | None = None,
    vae: str | Path | None = None,
    text: str | Path | TextEncoder | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    attention: str | AttentionFn = "auto",
    decoder: str | Path | None = None,
    lora: str | Path | None = None,
) -> Pipeline:
    """Loads the components from their files; without any, the embedded tiny model.

    text: a folder with a T5 encoder, a .safetensors of embeddings (keys stage1, stage2: [1, L, text_dim]) or
    of a word-level encoder, or a function prompt -> [1, L, text_dim]. device and dtype default to the best
    available; attention is a name of kernels.py or such a function; decoder is a small decoder's file (taecvx), with
    which drafts and clips are decoded quickly; lora is a LoRA file for stage 2, or "embedded". Stages that are stored
    in fp8 stay in it (fp8.py), but on MPS, which has no such numbers. Raises InputError for a file that does not hold
    the component that it is given for.
    """
    device = pick_device(device)
    dtype = dtype or pick_dtype(device)
    files = component_files(stage1, stage2, vae, text, lora)
    files |= {} if decoder is None else {"decoder": Path(decoder)}
    read_component_configs(files)
    kernel = attention if callable(attention) else choose_attention(attention, device, dtype)
    encoder, embeddings = (text, {}) if callable(text) else load_text_component(files.get("text"), device)
    options = {"dtype": dtype, "stay_fp8": device.type != "mps"}
    return Pipeline(
        load_transformer(files["stage1"], **options) if "stage1" in files else None,
        load_transformer(files["stage2"], lora=files.get("lora"), **options) if "stage2" in files else None,
        load_vae(files["vae"], dtype=dtype) if "vae" in files else None,
        encoder,
        embeddings,
        device,
        dtype,
        files,
        kernel,
        load_small_decoder(files["decoder"], dtype=dtype) if "decoder" in files else None,
    )


def component_files(
    stage1: str | Path | None = None,
    stage2: str | Path | None = None,
    vae: str | Path | None = None,
    text: str | Path | TextEncoder | None = None,
    lora: str | Path | None = None,
) -> dict[str, Path]:
    """The file (or folder) of each component that is given; those of the embedded model when none is. Beside them the
    LoRA for stage 2, if there is one."""
    given = dict(zip(COMPONENTS, (stage1, stage2, vae, text), strict=True))
    if all(path is None for path in given.values()):
        given = {name: TINY / f"{name}.safetensors" for name in COMPONENTS}
    given |= {LORA: TINY / f"{LORA}.safetensors" if str(lora) == EMBEDDED else lora}
    return {name: Path(path) for name, path in given.items() if isinstance(path, str | Path)}


def read_component_configs(files: dict[str, Path]) -> dict[str, TransformerConfig | VAEConfig | SmallDecoderConfig]:
    """The configs of all but the text encoder, read without their weights. Raises InputError for a wrong file."""
    kinds: dict[str, Component] = {"stage1": "transformer", "stage2": "transformer", "vae": "vae"}
    configs = {
        name: open_weights(path, kinds.get(name)).config for name, path in files.items() if name not in ("text", LORA)
    }
    for name, config in configs.items():
        found = f"stage{config.stage}" if isinstance(config, TransformerConfig) else _NAMES[type(config)]
        if found != name:
            raise InputError(f"{files[name]} holds the weights of {found}; {name} is needed here")
    if LORA in files and "stage2" in configs:
        configs["stage2"] = read_student_defaults(files[LORA], configs["stage2"])
    if "text" in files and files["text"].suffix != ".safetensors":
        check_t5(files["text"])
    elif "text" in files and not is_word_encoder(files["text"]):
        for name, txt in load_embeddings(files["text"]).items():
            if name in configs:
                check_width(txt, configs[name])
    return configs


def check_width(txt: Tensor, config: TransformerConfig) -> None:
    """Raises InputError when text embeddings [B, L, text_dim] are not of the width that a stage needs."""
    if txt.shape[-1] != config.text_dim:
        raise InputError(f"the text has width {txt.shape[-1]}; stage {config.stage} needs {config.text_dim}")


def load_text_component(path: Path | None, device: torch.device) -> tuple[TextEncoder | None, dict[str, Tensor]]:
    """(encoder, {}) or (None, embeddings by stage), by what lies at the path."""
    if path is None:
        return None, {}
    if path.suffix != ".safetensors":
        return load_t5_encoder(path, device), {}
    if is_word_encoder(path):
        return make_word_encoder(*load_text(path)), {}
    return None, load_embeddings(path)


def is_word_encoder(path: Path) -> bool:
    """Whether a file holds the embedded word-level encoder; else it holds embeddings, or a T5 of ComfyUI's."""
    return "config" in open_component(path, "text").metadata


def load_embeddings(path: str | Path) -> dict[str, Tensor]:
    """Text embeddings from a safetensors file with the keys stage1 and stage2, [1, L, text_dim] each."""
    file, found = open_safetensors(Path(path)), {}
    for name in ("stage1", "stage2"):
        if name not in file.shapes:
            raise InputError(f"{path} holds no {name}; embeddings are stage1 and stage2, each [1, L, text_dim]")
        txt = file.tensors[name]
        if txt.ndim != 3 or txt.shape[0] != 1 or 0 in txt.shape:
            raise InputError(f"{path} holds {name} as {list(txt.shape)}; it must be [1, L, text_dim]")
        if txt.dtype not in EMBEDDING_DTYPES:
            kept = str(txt.dtype).removeprefix("torch.")
            raise InputError(f"{path} holds {name} in {kept}; float32, bfloat16 or float16 is needed")
        if not torch.isfinite(txt).all():
            raise InputError(f"{path} holds NaN or infinity in {name}")
        found[name] = txt.float()
    return found


def require_component(pipe: Pipeline, name: str) -> nn.Module:
    """The component stage1, stage2 or vae. Raises InputError when it is not loaded."""
    model = getattr(pipe, name)
    if model is None:
        raise InputError(f"{name} is not loaded: give its weights with --{name}")
    return model
