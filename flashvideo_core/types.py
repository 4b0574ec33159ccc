"""The signatures that recur: what is injected into the networks and samplers, and how progress leaves them.

Names for type checkers and readers only; nothing here runs. Axes: B batch, n heads, L tokens, T latent frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from torch import Tensor

Preview = Callable[[], Tensor]
"""The current denoised latent [B, 16, T, H, W] in VAE units, computed only when somebody wants to see it."""

AttentionFn = Callable[[Tensor, Tensor, Tensor], Tensor]
"""attention(q, k, v) on [B, n, L, 64] -> the same shape: softmax attention without mask, scale 1/8."""

OnBlock = Callable[[int], None]
"""on_block(i) is called before transformer block i; raising in it stops the run."""

BlockFn = Callable[[Tensor], Tensor]
"""One transformer block with everything but its tokens [B, L, d] bound; it may write into them."""

AroundBlock = Callable[[int, BlockFn, Tensor], Tensor]
"""around_block(i, block, x) -> tokens like x, in place of block(x) for transformer block i."""

OnPass = Callable[[Sequence[str]], None]
"""on_pass(branches) is called before a network evaluates these branches of guidance ("cond", "uncond")."""

OnStep = Callable[[int, Tensor], None]
"""on_step(i, denoised) is called after evaluation i of a sampler with its estimate of the clean latent."""

Velocity = Callable[[Tensor, float], Tensor]
"""velocity(x, t) -> dx/dt like the state x [B, 16, T, H, W] at time t, 0 (noised reference) to 1 (clean)."""

OnTile = Callable[[int, int], None]
"""on_tile(done, total) is called after each spatial tile."""

DrawNoise = Callable[[Tensor], Tensor]
"""draw_noise(x) returns standard normal noise of x's shape on x's device; each call draws anew."""

TextEncoder = Callable[[str], Tensor]
"""encode(prompt) -> text embeddings [1, L, text_dim] in float32."""

Clock = Callable[[], float]
"""Seconds that only grow, as time.perf_counter; tests pass one of their own."""

Notify = Callable[[str], None]
"""notify(text) says one line to the user."""


class FrameReader(Protocol):
    """The frames of a clip that are not in memory: read as often as they are needed, some at a time."""

    size: tuple[int, int]
    """(height, width)."""

    def __len__(self) -> int:
        """How many there are."""

    def cut(self, count: int, /) -> "FrameReader":
        """The first `count` of them."""

    def read(self, ranges: Iterable[tuple[int, int]], /) -> Iterator[Tensor]:
        """[n, H, W, 3] in 0..1 for each of the ranges [start, stop) of frames, which are ascending and apart."""


Frames = Tensor | FrameReader
"""The frames of a clip: [F, H, W, 3] in 0..1, or where they can be read."""


class ProgressCallback(Protocol):
    """The one way progress leaves the core. Raising in it stops the work at once."""

    def __call__(self, phase: str, step: int, total: int, preview: Preview | None, /) -> None:
        """Step 1..total of a phase (text, stage1, draft_decode, handoff, stage2, decode) is done."""


class Model(Protocol):
    """A transformer with everything but these bound; what guidance, losses and samplers call."""

    def __call__(self, x: Tensor, timestep: Tensor, txt: Tensor, /) -> Tensor:
        """x [B, 16, T, H, W] scaled and noised, timestep [B] in 0..1000, txt [B, L, text_dim] -> velocity like x."""


class Branches(Protocol):
    """The branches of classifier-free guidance by name (guidance.make_branches)."""

    def __call__(self, x: Tensor, timestep: float, names: Sequence[str], /) -> list[Tensor]:
        """x [B, 16, T, H, W], timestep 0..1000 -> a velocity like x for each of names."""


class GuidedModel(Protocol):
    """What a guidance scale combines (guidance.make_cond_uncond)."""

    def __call__(self, x: Tensor, timestep: float, cfg: float, /) -> tuple[Tensor, Tensor | None]:
        """x [B, 16, T, H, W] -> (conditional, unconditional) velocities like x; None where cfg is 1."""
