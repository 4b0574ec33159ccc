"""A hash of all that a sampling takes from a MODEL and its conditioning, the same after a restart.

What is hashed is content: tensors by their bits, numbers, texts and containers of these, LoRA by its tensors, the
functions of this pack by their names. Where something else is found, a function of another pack above all, nothing can
be said of what it will do, and there is no hash.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from types import FunctionType

import comfy.ldm.modules.attention
import comfy.weight_adapter
import torch
from torch import Tensor

from .models import WeightsFile
from .types import Model

PACK = __name__.removesuffix("nodes.bridge.fingerprint")
PATCHES = (
    *("patches", "object_patches", "weight_wrapper_patches", "hook_patches", "forced_hooks", "injections"),
    *("model_options", "wrappers", "callbacks", "attachments", "additional_models"),
)
"""Where a ModelPatcher keeps what was put before a model."""


class UnknownContentError(Exception):
    """Something before the model whose content cannot be told; the message names it."""


def find_weights(model: Model) -> WeightsFile:
    """The file that a MODEL was loaded from. Raises UnknownContentError where it is no longer what was loaded."""
    loaded = getattr(model.model.model_config, "weights_file", None)
    with suppress(OSError):
        if loaded is not None and WeightsFile.look_at(loaded.path) == loaded:
            return loaded
    raise UnknownContentError("the file of the model's weights has changed since it was loaded")


def hash_model(model: Model, weights: str) -> str:
    """weights: the hash of the file that `find_weights` tells. Raises UnknownContentError."""
    inner = model.model
    attention = comfy.ldm.modules.attention.optimized_attention.__name__
    run = [inner.get_dtype(), inner.manual_cast_dtype, model.load_device.type, attention]
    return hash_content({"weights": weights, "run": run, **{name: getattr(model, name) for name in PATCHES}})


def hash_content(value: object) -> str:
    """SHA-256 in hexadecimal. Raises UnknownContentError."""
    digest = hashlib.sha256()
    for part in _list_parts(value):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _list_parts(value: object) -> Iterator[bytes]:
    """The value as a sequence of bytes that no other value has."""
    kind = type(value)
    yield kind.__qualname__.encode()
    if value is None or kind in (bool, int, float, str, bytes, torch.dtype, torch.device):
        yield repr(value).encode("utf-8", "surrogatepass")
    elif kind in (Tensor, torch.nn.Parameter):
        yield f"{value.dtype} {list(value.shape)}".encode()
        yield value.detach().reshape(-1).cpu().contiguous().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        yield from _list_items([[key, hash_content(value[key])] for key in value], is_sorted=True)
    elif kind in (list, tuple):
        yield from _list_items(value)
    elif kind in (set, frozenset):
        yield from _list_items(value, is_sorted=True)
    elif kind in comfy.weight_adapter.adapters:
        yield from _list_items([value.weights, value.multiplier, value.shape])
    elif is_dataclass(value) and kind.__dataclass_params__.frozen:
        yield from _list_items([[field.name, getattr(value, field.name)] for field in fields(value)])
    elif kind is functools.partial:
        yield from _list_items([value.func, value.args, value.keywords])
    elif kind is FunctionType and value.__module__.startswith(PACK) and "<" not in value.__qualname__:
        yield f"{value.__module__.removeprefix(PACK)}.{value.__qualname__}".encode()
    else:
        raise UnknownContentError(f"what {getattr(value, '__qualname__', kind.__qualname__)} does cannot be told")


def _list_items(values: Iterable[object], is_sorted: bool = False) -> Iterator[bytes]:
    """is_sorted: of a container whose order says nothing."""
    hashes = [hash_content(value) for value in values]
    yield str(len(hashes)).encode()
    yield "".join(sorted(hashes) if is_sorted else hashes).encode()
