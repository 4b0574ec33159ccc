"""The VAE as a comfy.sd.VAE, so that ComfyUI's own VAE nodes, offloading and tiled retry work on it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from ...flashvideo_core.checkpoint import Weights, make_metadata, match_tensors, open_weights, read_tensor
from ...flashvideo_core.config import SmallDecoderConfig, VAEConfig
from ...flashvideo_core.errors import InputError
from ...flashvideo_core.memory import VAESplit, decoder_peak, plan_vae_split, vae_peak
from ...flashvideo_core.sizes import clip_size, floor_frame_count
from ...flashvideo_core.tiling import count_tiles, map_tiles
from ...flashvideo_core.types import DrawNoise, ProgressCallback
from ...flashvideo_core.vae import VAE
from ...flashvideo_core.vae_chunks import AUTO, ChunkSize
from ...flashvideo_core.weights.wrappers import pack_metadata
from .decoder import HostedDecoder
from .hosted import Hosted
from .progress import make_progress_callback, make_tile_callbacks


class ChunkedVAE(Hosted, VAE):
    """The core VAE behind the methods that comfy.sd.VAE calls.

    Frames go through the device group by group; tiles are blended on the CPU.
    """

    def decode(
        self,
        z: Tensor,
        callback: ProgressCallback | None = None,
        phase: str = "decode",
        out: Tensor | None = None,
        chunk_size: ChunkSize = AUTO,
        output_buffer: Tensor | None = None,
    ) -> Tensor:
        """ComfyUI names the result to fill `output_buffer`, the core `out`."""
        out = output_buffer if out is None else out
        return super().decode(z, callback or make_progress_callback(), phase, out, chunk_size)

    def encode(
        self,
        x: Tensor,
        draw_noise: DrawNoise | None = None,
        callback: ProgressCallback | None = None,
        phase: str = "handoff",
        chunk_size: ChunkSize = AUTO,
        device: torch.device | None = None,
    ) -> Tensor:
        """Frames at the end that do not make 4n+1 are left out, as ComfyUI's VAE Encode expects. device: not used."""
        x = x[:, :, : floor_frame_count(x.shape[2])]
        return super().encode(x, draw_noise, callback or make_progress_callback(), phase, chunk_size)

    def encode_tiled(
        self,
        x: Tensor,
        tile_x: int = 512,
        tile_y: int = 512,
        overlap: int = 64,
        tile_t: int | None = None,
        overlap_t: int | None = None,
        callback: ProgressCallback | None = None,
    ) -> Tensor:
        """Tiles in pixels, multiples of 8."""
        latent_size = (x.shape[-2] // 8, x.shape[-1] // 8)
        count = count_tiles(latent_size, (tile_y // 8, tile_x // 8), overlap // 8)
        callbacks = iter(make_tile_callbacks(callback or make_progress_callback(), count))
        return map_tiles(
            lambda tile: self.encode(tile, None, next(callbacks)), x.cpu(), (tile_y, tile_x), overlap, (1, 8)
        )


class FlashVideoVAE(comfy.sd.VAE):
    """comfy.sd.VAE around our module, with ComfyUI's choice of device and dtype."""

    module_class: type[ChunkedVAE] | type[HostedDecoder] = ChunkedVAE

    def __init__(self, weights: Weights, device: torch.device | None = None, dtype: torch.dtype | None = None):
        with hide_missing_weights_warning():  # without weights the base class sets its defaults and leaves the rest
            super().__init__(sd={})
        self.latent_channels, self.latent_dim = weights.config.latent_channels, 3
        self.upscale_ratio = (lambda frames: max(0, frames * 4 - 3), 8, 8)
        self.downscale_ratio = (lambda frames: max(0, (frames + 3) // 4), 8, 8)
        self.upscale_index_formula = self.downscale_index_formula = (4, 8, 8)
        self.handles_tiling = True
        self.working_dtypes = [torch.float16, torch.bfloat16, torch.float32]
        self.memory_used_decode = self.decode_peak
        self.memory_used_encode = lambda shape, dtype: shape[0] * self.peak("encode", tuple(shape[2:]), dtype)
        self.device = device or mm.vae_device()
        self.output_device = mm.intermediate_device()
        self.vae_dtype = dtype or mm.vae_dtype(self.device, self.working_dtypes)
        self.saved_metadata = pack_metadata(weights.metadata | make_metadata(weights.config))
        self._build(weights)

    def get_sd(self) -> dict[str, Tensor]:
        """What ComfyUI's save nodes write: the weights, and what load_vae has to know of them."""
        return super().get_sd() | self.saved_metadata

    def _build(self, weights: Weights) -> None:
        self.first_stage_model = self.module_class(weights.config, self.vae_dtype).eval().requires_grad_(False)
        mm.archive_model_dtypes(self.first_stage_model)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.first_stage_model, load_device=self.device, offload_device=mm.vae_offload_device()
        )
        sources = match_tensors(weights, self.first_stage_model)
        state = {name: read_tensor(weights, source).to(self.vae_dtype) for name, source in sources.items()}
        self.first_stage_model.load_state_dict(state, strict=True, assign=self.patcher.is_dynamic())
        self.patcher.cached_patcher_init = (load_vae_patcher, (weights.path, self.device, self.vae_dtype))
        self.model_size()

    def decode_peak(self, shape: Sequence[int], dtype: torch.dtype) -> int:
        """Of a latent [B, 16, T, h, w]."""
        return shape[0] * self.peak("decode", clip_size(*shape[2:]), dtype)

    def peak(self, kind: str, clip: tuple[int, int, int], dtype: torch.dtype) -> int:
        """Bytes at the peak of one pass ("decode", "encode") over a clip (frames, height, width)."""
        return vae_peak(self.first_stage_model.config, kind, clip, dtype, self.device)

    def plan_split(self, kind: str, clip: tuple[int, int, int], free: int) -> VAESplit:
        """How a pass is split to fit into `free` bytes."""
        return plan_vae_split(self.first_stage_model.config, kind, clip, self.vae_dtype, self.device, free)


class FlashVideoDecoder(FlashVideoVAE):
    """A small decoder as a comfy.sd.VAE that only decodes."""

    module_class = HostedDecoder

    def peak(self, kind: str, clip: tuple[int, int, int], dtype: torch.dtype) -> int:
        return decoder_peak(self.first_stage_model.config, clip, dtype, self.device)

    def plan_split(self, kind: str, clip: tuple[int, int, int], free: int) -> VAESplit:
        return None


def load_vae(path: str | Path, device: torch.device | None = None, dtype: torch.dtype | None = None) -> FlashVideoVAE:
    """The VAE of a released .pt, our safetensors or diffusers' CogVideoX file, or a small decoder (taecvx) as one that
    only decodes. Raises InputError for others."""
    weights = open_weights(path, "vae")
    if isinstance(weights.config, SmallDecoderConfig):
        return FlashVideoDecoder(weights, device, dtype)
    if not isinstance(weights.config, VAEConfig):
        raise InputError(f"{path} is not a FlashVideo or CogVideoX VAE; choose it in the model loader instead")
    return FlashVideoVAE(weights, device, dtype)


def load_vae_patcher(
    path: Path, device: torch.device, dtype: torch.dtype, disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """ComfyUI's factory for copies of the VAE on other devices."""
    return load_vae(path, device, dtype).patcher


@contextmanager
def hide_missing_weights_warning() -> Iterator[None]:
    """Drops that one warning of comfy.sd.VAE, which goes to the root logger; whatever else is logged passes."""

    def is_other(record: logging.LogRecord) -> bool:
        return "No VAE weights detected" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
