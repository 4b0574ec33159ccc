"""The transformer of both stages: text and video tokens in one sequence, modulated apart.

Axes: B batch, T latent frames, H, W latent pixels, L text tokens, N = T*(H/2)*(W/2) video tokens,
d hidden size. Names: `txt` text tokens [B, L, d], `img` video tokens [B, N, d], `vec` the summed time
embedding [B, e]. Source: golden README 3.1-3.5.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import HEAD_DIM, apply_rope, attention, rope_rotations
from .config import TransformerConfig

# Video tokens that are projected at once. Only attention needs all of them: between the blocks a sequence is a list of
# parts, so that what an MLP or rotary positions take beside it does not grow with the clip.
PART = 8192


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
        self, parts: list[Tensor], length: int, vec: Tensor, ropes: Sequence[Tensor], attend: Callable
    ) -> list[Tensor]:
        """parts [B, l, d] of one sequence, `length` tokens of text at the head of the first; ropes of their videos."""
        video, text = (m.chunk(6, dim=-1) for m in self.modulation(F.silu(vec))[:, None].chunk(2, dim=-1))
        shift1, scale1, gate1, shift2, scale2, gate2 = zip(text, video, strict=True)
        texts = [length] + [0] * (len(parts) - 1)
        hidden = (modulated(self.norm1(x), n, shift1, scale1) for x, n in zip(parts, texts, strict=True))
        q, k, v = map(joined, [list(pieces) for pieces in zip(*map(self.heads, hidden, ropes), strict=True)])
        out = attend(q, k, v)
        del q, k, v
        out = rearrange(out, "b n l c -> b l (n c)").split([x.shape[1] for x in parts], dim=1)
        parts = [gated(x, self.attn_out(y), n, gate1) for x, y, n in zip(parts, out, texts, strict=True)]
        return [
            gated(x, self.mlp(modulated(self.norm2(x), n, shift2, scale2)), n, gate2)
            for x, n in zip(parts, texts, strict=True)
        ]

    def heads(self, h: Tensor, rope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, heads, l, 64] of a part."""
        q, k, v = rearrange(self.qkv(h), "b l (s n c) -> s b n l c", s=3, c=HEAD_DIM)
        if not v.requires_grad:
            v = v.contiguous()  # so that the projection can go, which gradients keep anyway
        return apply_rope(self.q_norm(q), rope), apply_rope(self.k_norm(k), rope), v

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
        ref_step: int | None = None,
        *,
        attention: Callable = attention,
        on_block: Callable[[int], None] | None = None,
    ) -> Tensor:
        """The raw network output (stage 1: v; stage 2: dx/dt), same shape and dtype as x.

        x [B, 16, T, H, W], scaled and noised, H and W even; timestep [B], 0..1000, may be fractional;
        txt [B, L, text_dim]; ref_step 0..999, stage 2 only. `attention(q, k, v)` takes and returns
        [B, heads, L+N, 64]; `on_block(i)` is called before block i and may raise to stop.
        """
        t, h, w = x.shape[2], x.shape[3] // self.config.patch, x.shape[4] // self.config.patch
        vec = self.embed_time(timestep, t, ref_step, x.dtype)
        ropes = rope_rotations(t, h, w, x.device).split(PART)
        img = self.patch_embed(rearrange(x, "b c t h w -> (b t) c h w"))
        img = rearrange(img, "(b t) d h w -> b (t h w) d", t=t).split(PART, dim=1)
        length = txt.shape[1]
        parts = [torch.cat([self.text_embed(txt.to(x.dtype)), img[0]], dim=1), *img[1:]]
        del img
        for i, block in enumerate(self.blocks):
            if on_block is not None:
                on_block(i)
            parts = block(parts, length, vec, ropes, attention)
        parts = [parts[0][:, length:], *parts[1:]]
        shift, scale = self.head_modulation(F.silu(vec))[:, None].chunk(2, dim=-1)
        img = torch.cat([self.head(modulate(self.head_norm(self.norm_out(x)), shift, scale)) for x in parts], dim=1)
        return rearrange(
            img, "b (t h w) (c p q) -> b c t (h p) (w q)", t=t, h=h, w=w, p=self.config.patch, q=self.config.patch
        )

    def embed_time(self, timestep: Tensor, latent_frames: int, ref_step: int | None, dtype: torch.dtype) -> Tensor:
        """The time embedding [B, e]; stage 2 adds the latent frame count and the reference's noise step."""
        d = self.config.hidden
        vec = self.time_embed(timestep_embedding(timestep, d).to(dtype))
        if self.config.reference:
            count = torch.full_like(timestep, latent_frames)
            step = torch.full_like(timestep, self.config.defaults.ref_step if ref_step is None else ref_step)
            vec = (
                vec
                + self.frames_embed(timestep_embedding(count, d).to(dtype))
                + self.ref_embed(timestep_embedding(step, d).to(dtype))
            )
        return vec


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, x, 1 + scale)


def modulated(x: Tensor, length: int, shifts: tuple, scales: tuple) -> Tensor:
    """`modulate` of a part whose first `length` tokens are text; shifts and scales are (text's, video's)."""
    return by_kind(modulate, length, (x,), shifts, scales)


def gated(x: Tensor, y: Tensor, length: int, gates: tuple) -> Tensor:
    """x + gate * y, likewise."""
    return by_kind(lambda x, y, gate: torch.addcmul(x, gate, y), length, (x, y), gates)


def by_kind(call: Callable, length: int, parts: tuple, *pairs: tuple) -> Tensor:
    """call(parts, one of each pair) for text tokens and for video tokens; [B, l, d] again."""
    if length == 0:
        return call(*parts, *(video for _, video in pairs))
    text = call(*(x[:, :length] for x in parts), *(text for text, _ in pairs))
    return torch.cat([text, call(*(x[:, length:] for x in parts), *(video for _, video in pairs))], dim=1)


def joined(parts: list[Tensor]) -> Tensor:
    """Queries, keys or values of all parts, which are let go."""
    out = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    parts.clear()
    return out


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """[B] -> [B, width] in float32, cosines first (golden README 3.1)."""
    half = width // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
