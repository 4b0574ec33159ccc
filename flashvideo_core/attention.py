"""Attention and rotary positions: the one place where tokens meet. kernels.py chooses between the functions here.

Axes: B batch, n heads, L tokens, D = 64 head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import HEAD_DIM

_AXIS_DIMS = (16, 24, 24)  # head channels that turn with t, h, w (docs/released-model.md 3.3)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention without mask, scale 1/8. q, k, v and the result are [B, n, L, 64]."""
    return F.scaled_dot_product_attention(q, k, v)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by its formula: quicker to train short sequences with on a CPU, far too large for long ones."""
    scores = q @ k.transpose(-1, -2) * HEAD_DIM**-0.5
    return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


def chunked_attention(q: Tensor, k: Tensor, v: Tensor, scores: int = 1 << 28) -> Tensor:
    """`plain_attention` for as many queries at a time as have `scores` products with keys, at least one.

    Exact, and its memory grows with L alone: for where torch has no fused kernel.
    """
    queries = max(1, scores // (q.shape[0] * q.shape[1] * k.shape[2]))
    return torch.cat([plain_attention(chunk, k, v) for chunk in q.split(queries, dim=2)], dim=2)


def rope_rotations(
    t: int,
    h: int,
    w: int,
    device: torch.device | None = None,
    text: int = 0,
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Tensor:
    """Rotations e^(i angle) of all tokens, complex64 [text + t*h*w, 32], one for each pair of channels.

    Positions are integers in the order t, h, w, never scaled with the size (docs/released-model.md 3.3); the `text`
    tokens before them are not turned. Another scale and shift (t, h, w) than the released 1 and 0 put token i of an
    axis at scale * i + shift.
    """
    axes = []
    for size, dim, factor, start in zip((t, h, w), _AXIS_DIMS, scale, shift, strict=True):
        theta = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)
        positions = factor * torch.arange(size, dtype=torch.float32, device=device) + start
        axes.append(positions[:, None] * theta)
    at, ah, aw = axes
    angles = torch.cat(
        [
            at[:, None, None].expand(t, h, w, -1),
            ah[None, :, None].expand(t, h, w, -1),
            aw[None, None, :].expand(t, h, w, -1),
        ],
        dim=-1,
    ).reshape(t * h * w, HEAD_DIM // 2)
    angles = F.pad(angles, (0, 0, text, 0))
    return torch.complex(angles.cos(), angles.sin())


def rope_table(t: int, h: int, w: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """The same as the released code has it: cosines and sines [t*h*w, 64], both channels of a pair (2j, 2j+1) alike."""
    rotations = rope_rotations(t, h, w, device)
    return rotations.real.repeat_interleave(2, dim=-1), rotations.imag.repeat_interleave(2, dim=-1)


def apply_rope(x: Tensor, rotations: Tensor) -> Tensor:
    """x [B, n, L, 64] turned by rotations [L, 32].

    A pair (a, b) becomes (a cos - b sin, b cos + a sin), in float32: a product of complex numbers, which takes a
    quarter of the time that the same on real ones takes on a CPU. A compiler gets the real ones: torch's inductor
    generates no code for complex ones, and says so.
    """
    if torch.compiler.is_compiling():
        return apply_real_rope(x, *torch.view_as_real(rotations).unbind(-1))
    turned = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * rotations
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def apply_real_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The same by its formula; cos and sin [L, 32]."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2).to(x.dtype)
