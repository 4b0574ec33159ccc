"""Arithmetic of the released graph, in floating point operations (a multiply and an add are two).

Counted are convolutions, matrix products and attention, in the order in which the released code runs them: the spatial
norm's 1x1x1 convolutions after the resize, 3x3 after the enlargement. Work that is saved shows as a higher rate.
"""

from ..config import TransformerConfig, VAEConfig
from .sizes import Latent, Size

RGB = 3


def operations(part: str, size: Size) -> int:
    """Of one run of a part. The samplers evaluate two branches a step."""
    stage1, stage2 = 2 * size.steps[0], 2 * size.steps[1]
    count = {
        "vae-decode": lambda: decode_operations(size.vae, size.latent),
        "vae-encode": lambda: encode_operations(size.vae, size.latent),
        "dit": lambda: transformer_operations(size.transformer, size.tokens),
        "stage1": lambda: stage1 * transformer_operations(size.stage1, size.draft),
        "stage2": lambda: stage2 * transformer_operations(size.stage2, size.tokens),
    }
    if part != "end-to-end":
        return count[part]()
    decodes = decode_operations(size.vae, size.draft) + decode_operations(size.vae, size.tokens)
    return count["stage1"]() + count["stage2"]() + decodes + encode_operations(size.vae, size.tokens)


def decode_operations(config: VAEConfig, latent: Latent) -> int:
    """Of one decoded latent (T, H, W)."""
    (t, h, w), z = latent, config.latent_channels
    widths = [config.channels * m for m in reversed(config.multipliers)]
    per_pixel = 27 * z * widths[0] + 2 * _res_block(widths[0], widths[0], z)
    total, cin = per_pixel * t * h * w, widths[0]
    for i, cout in enumerate(widths):
        blocks = [_res_block(cin, cout, z)] + [_res_block(cout, cout, z)] * config.blocks
        total += sum(blocks) * t * h * w
        if i < len(widths) - 1:
            t, h, w = (2 * t - 1 if i < 2 else t), 2 * h, 2 * w
            total += 9 * cout * cout * t * h * w
        cin = cout
    return 2 * (total + (2 * z * cin + 27 * cin * RGB) * t * h * w)


def encode_operations(config: VAEConfig, latent: Latent) -> int:
    """Of the encode that gives a latent (T, H, W)."""
    t, h, w = 4 * latent[0] - 3, 8 * latent[1], 8 * latent[2]
    widths = [config.channels * m for m in config.multipliers]
    total, cin = 27 * RGB * widths[0] * t * h * w, widths[0]
    for i, cout in enumerate(widths):
        blocks = [_res_block(cin, cout)] + [_res_block(cout, cout)] * (config.blocks - 1)
        total += sum(blocks) * t * h * w
        if i < len(widths) - 1:
            t, h, w = ((t + 1) // 2 if i < 2 else t), h // 2, w // 2
            total += 9 * cout * cout * t * h * w
        cin = cout
    return 2 * (total + (2 * _res_block(cin, cin) + 27 * cin * 2 * config.latent_channels) * t * h * w)


def _res_block(cin: int, cout: int, modulation: int = 0) -> int:
    """Multiply-adds a pixel; `modulation`: latent channels that the spatial norms read."""
    skip = cin * cout if cin != cout else 0
    return 27 * (cin + cout) * cout + skip + 2 * modulation * (cin + cout)


def transformer_operations(config: TransformerConfig, latent: Latent) -> int:
    """Of one evaluation of one branch."""
    d, e, patch = config.hidden, config.time_dim, config.latent_channels * config.patch**2
    video = latent[0] * (latent[1] // config.patch) * (latent[2] // config.patch)
    tokens = config.text_length + video
    block = 12 * d * d * tokens + 2 * tokens * tokens * d + 12 * d * e
    embeds = 3 if config.reference else 1
    outside = 2 * patch * d * video + config.text_dim * d * config.text_length + 2 * e * d + embeds * (d * e + e * e)
    return 2 * (config.layers * block + outside)
