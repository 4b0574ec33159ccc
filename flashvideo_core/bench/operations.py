"""Arithmetic of the released graph, in floating point operations (a multiply and an add are two).

Counted are convolutions, matrix products and attention, in the order in which the released code runs them: the spatial
norm's 1x1x1 convolutions after the resize, 3x3 after the enlargement. Work that is saved shows as a higher rate.
"""

from ..config import TransformerConfig, VAEConfig
from ..windows import Window
from .sizes import Latent, Size

RGB = 3


def count_operations(workload: str, size: Size, window: Window | None = None) -> int:
    """Of one run of a workload. The samplers evaluate two branches of guidance a step. window: of "dit"."""
    clip, draft = size.clip_latent, size.draft_latent
    if workload == "vae-decode":
        return count_decode(size.vae, size.vae_latent)
    if workload == "vae-encode":
        return count_encode(size.vae, size.vae_latent)
    if workload == "dit":
        return count_transformer(size.transformer, clip, window)
    stage1 = 2 * size.steps[0] * count_transformer(size.stage1, draft)
    stage2 = 2 * size.steps[1] * count_transformer(size.stage2, clip)
    if workload in ("stage1", "stage2"):
        return stage1 if workload == "stage1" else stage2
    decodes = count_decode(size.vae, draft) + count_decode(size.vae, clip)
    return stage1 + stage2 + decodes + count_encode(size.vae, clip)


def count_decode(config: VAEConfig, latent: Latent) -> int:
    """Of one decoded latent (T, H, W)."""
    (t, h, w), z = latent, config.latent_channels
    widths = [config.channels * m for m in reversed(config.multipliers)]
    per_pixel = 27 * z * widths[0] + 2 * _count_res_block(widths[0], widths[0], z)
    total, cin = per_pixel * t * h * w, widths[0]
    for i, cout in enumerate(widths):
        blocks = [_count_res_block(cin, cout, z)] + [_count_res_block(cout, cout, z)] * config.blocks
        total += sum(blocks) * t * h * w
        if i < len(widths) - 1:
            t, h, w = (2 * t - 1 if i < 2 else t), 2 * h, 2 * w
            total += 9 * cout * cout * t * h * w
        cin = cout
    return 2 * (total + (2 * z * cin + 27 * cin * RGB) * t * h * w)


def count_encode(config: VAEConfig, latent: Latent) -> int:
    """Of the encode that gives a latent (T, H, W)."""
    t, h, w = 4 * latent[0] - 3, 8 * latent[1], 8 * latent[2]
    widths = [config.channels * m for m in config.multipliers]
    total, cin = 27 * RGB * widths[0] * t * h * w, widths[0]
    for i, cout in enumerate(widths):
        blocks = [_count_res_block(cin, cout)] + [_count_res_block(cout, cout)] * (config.blocks - 1)
        total += sum(blocks) * t * h * w
        if i < len(widths) - 1:
            t, h, w = ((t + 1) // 2 if i < 2 else t), h // 2, w // 2
            total += 9 * cout * cout * t * h * w
        cin = cout
    return 2 * (total + (2 * _count_res_block(cin, cin) + 27 * cin * 2 * config.latent_channels) * t * h * w)


def _count_res_block(cin: int, cout: int, modulation: int = 0) -> int:
    """Multiply-adds a pixel; `modulation`: latent channels that the spatial norms read (0: plain norms)."""
    skip = cin * cout if cin != cout else 0
    return 27 * (cin + cout) * cout + skip + 2 * modulation * (cin + cout)


def count_transformer(config: TransformerConfig, latent: Latent, window: Window | None = None) -> int:
    """Of one evaluation of one branch; with a window a query of the video has a window's keys and the text's."""
    d, e, patch = config.hidden, config.time_dim, config.latent_channels * config.patch**2
    t, h, w = latent[0], latent[1] // config.patch, latent[2] // config.patch
    video, seen = t * h * w, t * (min(h, window.height) * min(w, window.width) if window else h * w)
    tokens, text = config.text_length + video, config.text_length
    block = 12 * d * d * tokens + 2 * (text * tokens + video * (text + seen)) * d + 12 * d * e
    embeds = 3 if config.reference else 1
    outside = 2 * patch * d * video + config.text_dim * d * config.text_length + 2 * e * d + embeds * (d * e + e * e)
    return 2 * (config.layers * block + outside)
