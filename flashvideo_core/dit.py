"""The transformer of both stages: text and video tokens in one sequence, modulated apart.

Axes: B batch, T latent frames, H, W latent pixels, L tokens of text and video, n heads, d hidden size, e width of the
time embedding. Names: `x` the tokens [B, L, d], of which the first `text` are the text's and the other T*(H/2)*(W/2)
the video's; `vec` the time embedding [B, e]. Source: docs/released-model.md 3.1-3.5.
"""

import functools
import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import apply_rope, attention, rope_rotations
from .chunks import map_chunks, records_gradients, update_chunks
from .config import HEAD_DIM, TransformerConfig
from .types import AroundBlock, AttentionFn, OnBlock

CHUNK = 8192  # tokens: enough to keep a GPU busy, and a twelfth of a 1080p clip's
VIDEO, TEXT = slice(0, 1), slice(1, 2)  # of a modulation [B, 2, d]


class MLPEmbedder(nn.Module):
    def __init__(self, hidden: int, time_dim: int, ops=nn, **kw):
        super().__init__()
        self.up = ops.Linear(hidden, time_dim, **kw)
        self.down = ops.Linear(time_dim, time_dim, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.up(x)))


class Block(nn.Module):
    """Pre-norm attention and MLP with shared weights; text and video have their own shift, scale and gate."""

    def __init__(self, config: TransformerConfig, ops=nn, **kw):
        super().__init__()
        d = config.hidden
        self.modulation = ops.Linear(config.time_dim, 12 * d, **kw)
        self.norm1 = ops.LayerNorm(d, eps=1e-5, **kw)
        self.qkv = ops.Linear(d, 3 * d, **kw)
        self.q_norm = ops.LayerNorm(HEAD_DIM, eps=1e-6, **kw)
        self.k_norm = ops.LayerNorm(HEAD_DIM, eps=1e-6, **kw)
        self.attn_out = ops.Linear(d, d, **kw)
        self.norm2 = ops.LayerNorm(d, eps=1e-5, **kw)
        self.mlp_up = ops.Linear(d, 4 * d, **kw)
        self.mlp_down = ops.Linear(4 * d, d, **kw)

    def forward(
        self, x: Tensor, text: int, vec: Tensor, rope: Tensor, attention: AttentionFn, chunk: int | None = None
    ) -> Tensor:
        """x [B, L, d] -> the same shape, and the same tensor unless chunk (see chunks.py) is None. rope [L, 32]."""
        modulation = self.modulation(F.silu(vec)).unflatten(-1, (2, 6, -1))
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.unbind(2)

        def project(x: Tensor, i: slice) -> tuple[Tensor, Tensor, Tensor]:
            qkv = self.qkv(modulate(self.norm1(x), text - i.start, shift1, scale1))
            return self.split_heads(qkv, rope[i])

        def add_attention(x: Tensor, i: slice) -> Tensor:
            h = self.attn_out(rearrange(y[:, :, i], "b n l c -> b l (n c)"))
            return add_gated(x, h, text - i.start, gate1)

        def add_mlp(x: Tensor, i: slice) -> Tensor:
            h = self.mlp(modulate(self.norm2(x), text - i.start, shift2, scale2))
            return add_gated(x, h, text - i.start, gate2)

        q, k, v = map_chunks(project, x, chunk)
        y = attention(q, k, v)
        del q, k, v
        x = update_chunks(add_attention, x, chunk)
        return update_chunks(add_mlp, x, chunk)

    def split_heads(self, qkv: Tensor, rope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, l, 3 d] -> q, k and v [B, n, l, 64]; q and k normalized, and turned by rope [l, 32]."""
        q, k, v = rearrange(qkv, "b l (s n c) -> s b n l c", s=3, c=HEAD_DIM)
        q, k = apply_rope(self.q_norm(q), rope), apply_rope(self.k_norm(k), rope)
        return q, k, v if v.requires_grad else v.contiguous()  # a view would keep qkv, which gradients keep anyway

    def mlp(self, h: Tensor) -> Tensor:
        h = self.mlp_up(h)
        if h.requires_grad:
            return self.mlp_down(F.gelu(h, approximate="tanh"))
        return self.mlp_down(torch.ops.aten.gelu_(h, approximate="tanh"))  # the widest map of a block, kept once


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig, ops=nn, **kw):
        super().__init__()
        self.config = config
        d, e, p, c = config.hidden, config.time_dim, config.patch, config.latent_channels
        self.patch_embed = ops.Conv2d(c, d, p, stride=p, **kw)
        self.text_embed = ops.Linear(config.text_dim, d, **kw)
        self.time_embed = MLPEmbedder(d, e, ops, **kw)
        if config.reference:
            self.frames_embed = MLPEmbedder(d, e, ops, **kw)
            self.ref_embed = MLPEmbedder(d, e, ops, **kw)
        self.blocks = nn.ModuleList(Block(config, ops, **kw) for _ in range(config.layers))
        self.norm_out = ops.LayerNorm(d, eps=1e-5, **kw)
        self.head_norm = ops.LayerNorm(d, eps=1e-6, **kw)
        self.head_modulation = ops.Linear(e, 2 * d, **kw)
        self.head = ops.Linear(d, c * p * p, **kw)

    def forward(
        self,
        x: Tensor,
        timestep: Tensor,
        txt: Tensor,
        ref_step: int | Tensor | None = None,
        *,
        attention: AttentionFn = attention,
        on_block: OnBlock | None = None,
        chunk: int = CHUNK,
        rope: Tensor | None = None,
        around_block: AroundBlock | None = None,
    ) -> Tensor:
        """The raw network output (objective "v": v; "flow": dx/dt), same shape and dtype as x.

        x [B, 16, T, H, W], scaled and noised, H and W even; timestep [B], 0..1000, may be fractional;
        txt [B, l, text_dim]; ref_step 0..999 or [B] of them, with a reference only. `attention(q, k, v)` takes and
        returns [B, n, L, 64]; `on_block(i)` is called before block i and may raise to stop. `chunk` tokens are
        projected at once (chunks.py). `rope` [l + T*H*W/4, 32]: other rotations than those of the released positions;
        `around_block(i, block, x)` is called in place of `block(x)`.
        """
        t, h, w = x.shape[2], x.shape[3] // self.config.patch, x.shape[4] // self.config.patch
        text, vec = txt.shape[1], self.embed_time(timestep, t, ref_step, x.dtype)
        rope = rope_rotations(t, h, w, x.device, text) if rope is None else rope
        chunk = None if records_gradients(self, x, txt) else chunk
        x = torch.cat([self.text_embed(txt.to(x.dtype)), self.embed_patches(x)], dim=1)
        for i, block in enumerate(self.blocks):
            if on_block is not None:
                on_block(i)
            if around_block is None:
                x = block(x, text, vec, rope, attention, chunk)
            else:
                bound = {"text": text, "vec": vec, "rope": rope, "attention": attention, "chunk": chunk}
                x = around_block(i, functools.partial(block, **bound), x)
        shift, scale = self.head_modulation(F.silu(vec))[:, None].chunk(2, dim=-1)
        x = self.head(modulate(self.head_norm(self.norm_out(x[:, text:])), 0, shift, scale))
        p = self.config.patch
        return rearrange(x, "b (t h w) (c p q) -> b c t (h p) (w q)", t=t, h=h, w=w, p=p, q=p)

    def embed_patches(self, x: Tensor) -> Tensor:
        """Video tokens [B, T*(H/2)*(W/2), d] of a latent [B, 16, T, H, W], in the order t, h, w."""
        img = self.patch_embed(rearrange(x, "b c t h w -> (b t) c h w"))
        return rearrange(img, "(b t) d h w -> b (t h w) d", t=x.shape[2])

    def embed_time(
        self, timestep: Tensor, latent_frames: int, ref_step: int | Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """The time embedding [B, e]; with a reference also of the latent frame count and the reference's noise step."""
        d = self.config.hidden
        vec = self.time_embed(timestep_embedding(timestep, d).to(dtype))
        if self.config.reference:
            count = torch.full_like(timestep, latent_frames)
            step = self.config.defaults.ref_step if ref_step is None else ref_step
            step = step if isinstance(step, Tensor) else torch.full_like(timestep, step)
            vec = (
                vec
                + self.frames_embed(timestep_embedding(count, d).to(dtype))
                + self.ref_embed(timestep_embedding(step, d).to(dtype))
            )
        return vec


def modulate(x: Tensor, text: int, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift of tokens x [B, l, d], of which the first `text` (none if not positive) are the text's.

    shift and scale are [B, 2, d], the video's and the text's, or [B, 1, d] where there is no text.
    """
    if text <= 0:
        return torch.addcmul(shift[:, VIDEO], x, 1 + scale[:, VIDEO])
    txt = torch.addcmul(shift[:, TEXT], x[:, :text], 1 + scale[:, TEXT])
    return torch.cat([txt, modulate(x[:, text:], 0, shift, scale)], dim=1)


def add_gated(x: Tensor, y: Tensor, text: int, gate: Tensor) -> Tensor:
    """x + gate y of tokens [B, l, d], likewise."""
    if text <= 0:
        return torch.addcmul(x, gate[:, VIDEO], y)
    txt = torch.addcmul(x[:, :text], gate[:, TEXT], y[:, :text])
    return torch.cat([txt, add_gated(x[:, text:], y[:, text:], 0, gate)], dim=1)


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """[B] -> [B, width] in float32, cosines first (docs/released-model.md 3.1)."""
    half = width // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
