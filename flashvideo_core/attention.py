"""Attention and rotary positions: the one place where tokens meet. kernels.py chooses between the functions here.

Axes: B batch, n heads, L tokens, D = 64 head width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import HEAD_DIM

SCORES = 1 << 28  # products of a query and a key that `chunked_attention` holds at once
_AXIS_DIMS = (16, 24, 24)  # head channels that turn with t, h, w (docs/released-model.md 3.3)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention without mask, scale 1/8. q, k, v and the result are [B, n, L, 64]."""
    return F.scaled_dot_product_attention(q, k, v)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same by its formula: quicker to train short sequences with on a CPU, far too large for long ones."""
    scores = q @ k.transpose(-1, -2) * HEAD_DIM**-0.5
    return scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v


def chunked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`plain_attention` for some queries at a time: exact, and its memory grows with L alone. For where torch has no
    fused kernel."""
    rows = max(1, SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    return torch.cat([plain_attention(part, k, v) for part in q.split(rows, dim=2)], dim=2)


def rope_rotations(t: int, h: int, w: int, device=None) -> Tensor:
    """A rotation e^(i angle) for each pair of channels, complex64 [t*h*w, 32], of integer positions in t, h, w order
    (docs/released-model.md 3.3). Positions are never scaled with the size."""
    axes = []
    for size, dim in zip((t, h, w), _AXIS_DIMS, strict=True):
        theta = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)
        axes.append(torch.arange(size, dtype=torch.float32, device=device)[:, None] * theta)
    at, ah, aw = axes
    angles = torch.cat(
        [
            at[:, None, None].expand(t, h, w, -1),
            ah[None, :, None].expand(t, h, w, -1),
            aw[None, None, :].expand(t, h, w, -1),
        ],
        dim=-1,
    ).reshape(t * h * w, HEAD_DIM // 2)
    return torch.complex(angles.cos(), angles.sin())


def rope_table(t: int, h: int, w: int, device=None) -> tuple[Tensor, Tensor]:
    """The same as the released code has it: cosines and sines [t*h*w, 64], both channels of a pair (2j, 2j+1) alike."""
    rotations = rope_rotations(t, h, w, device)
    return rotations.real.repeat_interleave(2, dim=-1), rotations.imag.repeat_interleave(2, dim=-1)


def apply_rope(x: Tensor, rotations: Tensor) -> Tensor:
    """Turns the last tokens of x [B, n, L, 64], as many as there are rotations; the text before them stays.

    A pair (a, b) becomes (a cos - b sin, b cos + a sin), in float32: a product of complex numbers, which takes a
    quarter of the time that the same on real ones takes on a CPU.
    """
    txt, img = x[:, :, : -len(rotations)], x[:, :, -len(rotations) :].float()
    turned = torch.view_as_complex(img.unflatten(-1, (-1, 2))) * rotations
    return torch.cat([txt, torch.view_as_real(turned).flatten(-2).to(x.dtype)], dim=2)
