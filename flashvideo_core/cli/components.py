"""What every command that samples needs first: the components' files, their configs and hashes, device and dtype."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..components import EMBEDDED, LORA, TINY, Pipeline, component_files, load_pipeline, read_component_configs
from ..config import SmallDecoderConfig, TransformerConfig, VAEConfig
from ..device import DTYPES as NAMED_DTYPES
from ..device import pick_device, pick_dtype
from ..errors import InputError, WriteError, one_line
from ..kernels import choose_kernel, load_kernel
from ..types import Notify, ProgressCallback
from ..weights.reader import file_sha256, open_file
from .allocator import keep_freed_memory
from .decoder import check_decoder, choose_decoder
from .options import ComponentOptions
from .record import WeightsHash

DTYPES = NAMED_DTYPES | {"fp32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KNOWN_BY_SOURCE_ABOVE = 1 << 30  # bytes; a file above it that carries its source's hash is known by that


@dataclass(frozen=True)
class Components:
    """The components of a run by name, looked at and not loaded yet. configs: not of text."""

    files: dict[str, Path]
    configs: dict[str, TransformerConfig | VAEConfig | SmallDecoderConfig]
    hashes: dict[str, WeightsHash]
    device: torch.device
    dtype: torch.dtype
    kernel: str  # of attention, as choose_kernel names it

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def paths(self) -> dict[str, str]:
        """Absolute paths of the files that are not embedded, for the sidecar alone."""
        return {name: str(path.resolve()) for name, path in self.files.items() if path.parent != TINY}

    def load(self, callback: ProgressCallback) -> Pipeline:
        if self.device.type == "cpu":
            keep_freed_memory()
        attention = load_kernel(self.kernel, self.device)
        pipe = load_pipeline(**self.files, device=self.device, dtype=self.dtype, attention=attention)
        callback("load", 1, 1, None)
        return pipe


def find_components(
    options: ComponentOptions,
    needed: Iterable[str],
    notify: Notify,
    fallback: dict[str, Path] | None = None,
    kernel: str | None = None,
) -> Components:
    """The needed components: as named, else of the fallback, or (when there is neither) embedded.

    kernel: of attention, in a run that is repeated; another one in its place is said. Raises InputError for one that is
    missing, a file that holds something else, and a device that cannot be used.
    """
    device = pick_device(options.device)
    named = (fallback or {}) | options.named_files()
    recorded = named.pop("decoder", None)
    files = component_files(**named)
    files = {name: path for name, path in files.items() if name in needed or (name == LORA and "stage2" in needed)}
    for name in needed:
        if name not in files:
            option = "--t5 or --embeddings" if name == "text" else f"--{name}"
            raise InputError(f"{name} is not given; name it with {option} (or name no weights, for the embedded model)")
    if decoder := choose_decoder(options, files.get("vae"), recorded):
        files["decoder"] = decoder
    configs = read_component_configs(files)
    dtype = DTYPES[options.dtype] if options.dtype else pick_dtype(device)
    chosen = choose_kernel(options.attention or "auto", device, dtype, kernel)
    if kernel not in (None, chosen):
        notify(f"the clip was made with the attention kernel {kernel}, this is {chosen}: last bits may differ")
    hashes = {name: hash_weights(path, notify) for name, path in files.items()}
    if decoder:
        check_decoder(decoder, configs["vae"], hashes["vae"])
    return Components(files, configs, hashes, device, dtype, chosen)


def hash_weights(path: Path, notify: Notify) -> WeightsHash:
    """The file's name and SHA-256; for a large file of ours the SHA-256 of its source."""
    if path.is_dir():  # a T5 encoder, 9.5 GB in several files
        listing = sorted((file.name, file.stat().st_size) for file in path.iterdir())
        return {"file": path.name, "listing_sha256": hashlib.sha256(json.dumps(listing).encode()).hexdigest()}
    name = EMBEDDED if path.parent == TINY else path.name
    size = path.stat().st_size
    if size > KNOWN_BY_SOURCE_ABOVE and path.suffix == ".safetensors":
        metadata = open_file(path).metadata
        if "source_sha256" in metadata:
            return {"file": name, "bytes": size, "source_sha256": metadata["source_sha256"]}
    if size > KNOWN_BY_SOURCE_ABOVE:
        notify(f"hashing {path.name} ({size / 1e9:.1f} GB); a converted file is known by its source's hash")
    return {"file": name, "sha256": file_sha256(path)}


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Ctrl-C and a full disk in here say how to go on."""
    kept = f"the same command goes on from the last state in {folder}"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept) from None
    except WriteError as error:
        raise WriteError(one_line(error), kept) from None
