"""The live preview of a clip in motion: the latent frames of one estimate as pictures, sent to nodes/web/preview.js."""

import base64
import io

import latent_preview
from comfy_execution.utils import get_executing_context
from PIL import ImageOps
from server import PromptServer
from torch import Tensor

EVENT = "flashvideo_preview"
MAX_FRAMES = 33  # of a clip that has more, as many are shown at equal distances


def can_animate(previewer: latent_preview.LatentPreviewer | None, denoised: Tensor) -> bool:
    """Whether ComfyUI's own fast preview is chosen, for a clip. A pack that replaced it (VideoHelperSuite) animates by
    itself."""
    return type(previewer) is latent_preview.Latent2RGBPreviewer and denoised.ndim == 5 and denoised.shape[2] > 1


def send_animation(previewer: latent_preview.Latent2RGBPreviewer, denoised: Tensor) -> None:
    """Sends the first clip of a model's denoised latent [B, 16, T, h, w] to the editor that queued the run."""
    server, context = getattr(PromptServer, "instance", None), get_executing_context()
    if server is None or context is None or server.client_id is None:
        return
    message = {"node": context.node_id, "prompt_id": context.prompt_id, "frames": encode_frames(previewer, denoised)}
    server.send_sync(EVENT, message, server.client_id)


def encode_frames(previewer: latent_preview.Latent2RGBPreviewer, denoised: Tensor) -> list[str]:
    """JPEGs in base64, as large as ComfyUI's preview of one frame."""
    stride = -(-denoised.shape[2] // MAX_FRAMES)
    return [encode_frame(previewer, z) for z in denoised[:1, :, ::stride].split(1, 2)]


def encode_frame(previewer: latent_preview.Latent2RGBPreviewer, z: Tensor) -> str:
    """One latent frame [1, 16, 1, h, w]."""
    _, image, size = previewer.decode_latent_to_preview_image("JPEG", z)
    file = io.BytesIO()
    ImageOps.contain(image, (size, size)).save(file, "JPEG", quality=85)
    return base64.b64encode(file.getvalue()).decode()
