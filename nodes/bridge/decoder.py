"""A small decoder (taecvx, or the embedded one) behind the methods that comfy.sd.VAE calls."""

from typing import NoReturn

from torch import Tensor

from ...flashvideo_core.errors import InputError
from ...flashvideo_core.small_decoder import SmallDecoder
from ...flashvideo_core.types import ProgressCallback
from ...flashvideo_core.vae_chunks import AUTO, ChunkSize
from .hosted import Hosted
from .progress import make_progress_callback

ONLY_DECODES = "this VAE is a small decoder, which cannot encode; connect the VAE itself here"


class HostedDecoder(Hosted, SmallDecoder):
    """Whatever would encode says that this one cannot."""

    def decode(
        self,
        z: Tensor,
        callback: ProgressCallback | None = None,
        phase: str = "decode",
        out: Tensor | None = None,
        chunk_size: ChunkSize = AUTO,
        output_buffer: Tensor | None = None,
    ) -> Tensor:
        """As the whole VAE's; chunk_size is not needed, frames go one at a time where they are large."""
        out = output_buffer if out is None else out
        return super().decode(z, callback or make_progress_callback(), phase, out)

    def encode(self, *args, **kwargs) -> NoReturn:
        raise InputError(ONLY_DECODES)

    encode_tiled = encode
