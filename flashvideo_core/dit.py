"""The transformer of both stages: text and video tokens in one sequence, modulated apart.

Axes: B batch, T latent frames, H, W latent pixels, L text tokens, N = T*(H/2)*(W/2) video tokens,
d hidden size. Names: `txt` text tokens [B, L, d], `img` video tokens [B, N, d], `vec` the summed time
embedding [B, e], `pe` the rope table. Source: golden README 3.1-3.5.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .attention import HEAD_DIM, apply_rope, attention, rope_table
from .config import TransformerConfig


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

    def forward(self, txt: Tensor, img: Tensor, vec: Tensor, pe, attend: Callable) -> tuple[Tensor, Tensor]:
        shift, scale, gate = [], [], []
        for i, m in enumerate(self.modulation(F.silu(vec))[:, None].chunk(12, dim=-1)):
            (shift, scale, gate)[i % 3].append(m)  # 0, 1: video attention, MLP; 2, 3: text
        length = txt.shape[1]
        halves = ((self.norm1, lambda h: self.attention(h, pe, attend), 0, 2), (self.norm2, self.mlp, 1, 3))
        for norm, run, i, j in halves:
            h = [modulate(norm(txt), shift[j], scale[j]), modulate(norm(img), shift[i], scale[i])]
            h = run(torch.cat(h, dim=1))
            txt, img = torch.addcmul(txt, gate[j], h[:, :length]), torch.addcmul(img, gate[i], h[:, length:])
        return txt, img

    def attention(self, h: Tensor, pe, attend: Callable) -> Tensor:
        q, k, v = rearrange(self.qkv(h), "b l (s n c) -> s b n l c", s=3, c=HEAD_DIM)
        q, k = apply_rope(self.q_norm(q), pe), apply_rope(self.k_norm(k), pe)
        return self.attn_out(rearrange(attend(q, k, v), "b n l c -> b l (n c)"))

    def mlp(self, h: Tensor) -> Tensor:
        return self.mlp_down(F.gelu(self.mlp_up(h), approximate="tanh"))


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig, ops=nn, **kw):
        super().__init__()
        self.config = config
        d, e, p, c = config.hidden, config.time_dim, config.patch, config.latent_channels
        self.patch_embed = ops.Conv2d(c, d, p, stride=p, **kw)
        self.text_embed = ops.Linear(config.text_dim, d, **kw)
        self.time_embed = MLPEmbedder(d, e, ops, **kw)
        if config.stage == 2:
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
        pe = rope_table(t, h, w, x.device)
        img = self.patch_embed(rearrange(x, "b c t h w -> (b t) c h w"))
        img = rearrange(img, "(b t) d h w -> b (t h w) d", t=t)
        txt = self.text_embed(txt.to(x.dtype))
        for i, block in enumerate(self.blocks):
            if on_block is not None:
                on_block(i)
            txt, img = block(txt, img, vec, pe, attention)
        shift, scale = self.head_modulation(F.silu(vec))[:, None].chunk(2, dim=-1)
        img = self.head(modulate(self.head_norm(self.norm_out(img)), shift, scale))
        return rearrange(
            img, "b (t h w) (c p q) -> b c t (h p) (w q)", t=t, h=h, w=w, p=self.config.patch, q=self.config.patch
        )

    def embed_time(self, timestep: Tensor, latent_frames: int, ref_step: int | None, dtype: torch.dtype) -> Tensor:
        """The time embedding [B, e]; stage 2 adds the latent frame count and the reference's noise step."""
        d = self.config.hidden
        vec = self.time_embed(sinusoid(timestep, d).to(dtype))
        if self.config.stage == 2:
            count = torch.full_like(timestep, latent_frames)
            step = torch.full_like(timestep, self.config.defaults.ref_step if ref_step is None else ref_step)
            vec = vec + self.frames_embed(sinusoid(count, d).to(dtype)) + self.ref_embed(sinusoid(step, d).to(dtype))
        return vec


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, x, 1 + scale)


def sinusoid(t: Tensor, width: int) -> Tensor:
    """[B] -> [B, width] in float32, cosines first (golden README 3.1)."""
    half = width // 2
    freqs = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * freqs
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
