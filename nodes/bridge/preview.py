"""The latent format of a stage, with which ComfyUI scales latents and draws its live previews."""

import json

import comfy.latent_formats

from ...flashvideo_core.config import STAGE1, TransformerConfig
from ...flashvideo_core.errors import InputError

# Published least-squares fit of CogVideoX latents times 0.7 to RGB in -1..1, one row a latent channel.
COGVIDEOX_RGB = (
    (0.1195, 0.0992, -0.0048),
    (-0.0012, 0.0550, 0.0213),
    (-0.0141, -0.0087, -0.0210),
    (0.0306, 0.1219, 0.0140),
    (0.0927, 0.0303, 0.0508),
    (0.0379, 0.0494, 0.0586),
    (0.0177, 0.0088, 0.0360),
    (0.1061, 0.0234, 0.0572),
    (0.1274, -0.0110, 0.0433),
    (-0.0187, 0.0822, 0.1061),
    (0.0084, 0.0762, 0.0930),
    (0.1294, 0.1236, 0.0448),
    (0.0457, 0.0411, -0.0177),
    (0.0002, -0.0140, 0.0533),
    (0.0808, 0.1155, -0.0215),
    (-0.0152, -0.0058, 0.0722),
)


class StageLatent(comfy.latent_formats.CogVideoX):
    """VAE units outside, times the stage's latent scale inside; the preview factors work on the inside.

    A file may carry the factors of its own VAE as `latent_rgb` in its metadata: 16 rows for latents in VAE
    units, then one with the offset (tiny/preview.py fits them).
    """

    def __init__(self, config: TransformerConfig, metadata: dict[str, str]):
        self.scale_factor, self.own_rgb = config.latent_scale, metadata.get("latent_rgb")
        if "latent_rgb" in metadata:
            *rows, self.latent_rgb_factors_bias = read_rgb(metadata["latent_rgb"])
            gain = 1 / config.latent_scale
        else:
            rows, gain = COGVIDEOX_RGB, STAGE1.latent_scale / config.latent_scale
        self.latent_rgb_factors = [[gain * value for value in row] for row in rows]


def read_rgb(text: str) -> list[list[float]]:
    """17 rows of 3 numbers from JSON. Raises InputError for anything else."""
    try:
        rows = [[float(value) for value in row] for row in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        rows = []
    if [len(row) for row in rows] != [3] * (len(COGVIDEOX_RGB) + 1):
        raise InputError("the latent_rgb in the file's metadata cannot be read; it is 17 rows of 3 numbers")
    return rows
