"""The live preview of a clip in motion: the latent frames of one estimate as pictures, sent to nodes/web/preview.js."""

import base64
import io

import latent_preview
from comfy_execution.utils import get_executing_context
from PIL import Image, ImageOps
from server import PromptServer
from torch import Tensor

from .preview_decoder import DecoderPreviewer

EVENT = "flashvideo_preview"
MAX_FRAMES = 33  # of a clip that has more, as many are shown at equal distances


def can_animate(previewer: latent_preview.LatentPreviewer | None, denoised: Tensor) -> bool:
    """Whether ComfyUI's own fast preview is chosen, for a clip. A pack that replaced it (VideoHelperSuite) animates by
    itself."""
    is_ours = type(previewer) in (latent_preview.Latent2RGBPreviewer, DecoderPreviewer)
    return is_ours and denoised.ndim == 5 and denoised.shape[2] > 1


def send_animation(previewer: latent_preview.Latent2RGBPreviewer | DecoderPreviewer, denoised: Tensor) -> None:
    """Sends the first clip of a model's denoised latent [B, 16, T, h, w] to the editor that queued the run."""
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server is None or context is None or server.client_id is None:
        return
    frames, latent_frames = encode_frames(previewer, denoised), denoised.shape[2]
    message = {"node": context.node_id, "prompt_id": context.prompt_id, "frames": frames}
    if len(frames) > latent_frames:  # so that a clip takes the same time
        message["speed"] = len(frames) / latent_frames
    server.send_sync(EVENT, message, server.client_id)


def encode_frames(previewer: latent_preview.Latent2RGBPreviewer | DecoderPreviewer, denoised: Tensor) -> list[str]:
    """JPEGs in base64, as large as ComfyUI's preview of one frame."""
    if isinstance(previewer, DecoderPreviewer):
        frames = previewer.decode_clip(denoised)
        return [encode_picture(image) for image in frames[:: -(-len(frames) // MAX_FRAMES)]]
    stride = -(-denoised.shape[2] // MAX_FRAMES)
    latent_frames = denoised[:1, :, ::stride].split(1, 2)
    return [encode_picture(previewer.decode_latent_to_preview_image("JPEG", z)[1]) for z in latent_frames]


def encode_picture(image: Image.Image) -> str:
    size, file = latent_preview.MAX_PREVIEW_RESOLUTION, io.BytesIO()
    ImageOps.contain(image, (size, size)).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()
