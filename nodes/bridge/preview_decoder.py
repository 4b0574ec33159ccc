"""The live preview through a small decoder, where ComfyUI's preview method is TAESD and there is one: the clip itself.

ComfyUI's own previewer has no name for taecvx and shows one frame; this one is for our samplings alone.
"""

import logging
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import latent_preview
import torch
import torch.nn.functional as F
from comfy.cli_args import LatentPreviewMethod, args
from PIL import Image
from torch import Tensor

from ...flashvideo_core.checkpoint import load_small_decoder, open_weights
from ...flashvideo_core.components import TINY
from ...flashvideo_core.small_decoder import SmallDecoder
from .preview import StageLatent

APPROXIMATE, TAECVX = "vae_approx", "taecvx"  # ComfyUI's folder of small decoders, and how the file's name begins


class DecoderPreviewer(latent_preview.LatentPreviewer):
    """Pictures of a model's denoised latent [B, 16, T, h, w], of its first clip, not larger than ComfyUI's previews."""

    def __init__(self, decoder: SmallDecoder, latent_format: StageLatent):
        self.decoder, self.latent_format = decoder, latent_format

    def decode_latent_to_preview(self, x0: Tensor) -> Image.Image:
        """The first frame."""
        return self.decode_clip(x0[:, :, :1])[0]

    @torch.no_grad()
    def decode_clip(self, denoised: Tensor) -> list[Image.Image]:
        """All 4T-3 frames. A large latent is averaged down first, which costs detail and saves most of the work."""
        z = shrink(self.latent_format.process_out(denoised[:1].float()), latent_preview.MAX_PREVIEW_RESOLUTION // 8)
        pixels = self.decoder.decode(z)[0].add(1).mul(127.5).round().byte().permute(1, 2, 3, 0).cpu()
        return [Image.fromarray(frame.numpy()) for frame in pixels]


def shrink(z: Tensor, side: int) -> Tensor:
    """z [1, 16, T, h, w] with its longer side at most `side`, its frames averaged over areas."""
    h, w = z.shape[-2:]
    share = side / max(h, w)
    if share >= 1:
        return z
    size = (max(1, round(share * h)), max(1, round(share * w)))
    return F.interpolate(z[0].transpose(0, 1), size=size, mode="area").transpose(0, 1)[None]


def make_decoder_previewer(latent_format: StageLatent, device: torch.device) -> DecoderPreviewer | None:
    """None unless the user has chosen TAESD, and there is a small decoder of the stage's VAE."""
    if args.preview_method != LatentPreviewMethod.TAESD:
        return None
    path = find_preview_decoder(latent_format)
    if path is None:
        logging.warning("FlashVideo: no small decoder to preview with; taecvx belongs into models/%s", APPROXIMATE)
        return None
    dtype = mm.vae_dtype(device, [torch.float16, torch.bfloat16, torch.float32])
    return DecoderPreviewer(load_small_decoder(path, device, dtype), latent_format)


def find_preview_decoder(latent_format: StageLatent) -> Path | None:
    """The embedded decoder for stages of the embedded VAE, which are known by their preview colours; for those without
    colours of their own, which have CogVideoX's VAE, the first taecvx."""
    if latent_format.own_rgb is None:
        files = list_small_decoders()
        return Path(folder_paths.get_full_path_or_raise(APPROXIMATE, files[0])) if files else None
    embedded = open_weights(TINY / "stage1.safetensors", "transformer").metadata["latent_rgb"]
    return TINY / "decoder.safetensors" if latent_format.own_rgb == embedded else None


def list_small_decoders() -> list[str]:
    """The files of models/vae_approx that are decoders of CogVideoX's latents, by their name."""
    return [name for name in folder_paths.get_filename_list(APPROXIMATE) if Path(name).name.startswith(TAECVX)]
