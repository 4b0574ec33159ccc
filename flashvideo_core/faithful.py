"""How far a refined clip is from its draft in colour and low frequencies, and taking both from the draft.

Low frequencies are means over a grid of GRID_ROWS rows of cells as wide as high: what is smaller than a cell is detail,
which stage 2 is to make up, and which nothing here touches. What is added to a frame is one colour, or a field that is
smooth over the cells. Both work on a few frames at a time and need nothing of those that follow.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

GRID_ROWS = 16
SETTLED = 16  # frames, two seconds of the released clips, over which the added colour follows the draft's
CHUNK = 4  # frames at a time
LEVELS = 255
MATCHES = ("none", "color", "low")
COLOR_LIMIT, LOW_LIMIT = 4.0, 8.0  # levels; docs/embedded-model.md has the distributions that they are from


@dataclass(frozen=True)
class Drift:
    """A refined clip against its draft, in levels of 255.

    color: of a frame's mean colour, in the channel that is furthest off. low: root mean square over cells and channels.
    Both are means over the frames; worst_frame, counted from 0, has the largest `low`.
    """

    color: float
    worst_color: float
    low: float
    worst_low: float
    worst_frame: int

    @classmethod
    def summarize(cls, measured: Tensor) -> "Drift":
        """From what `match_chunks` measured of each frame: [F, 2]."""
        color, low = (round(float(value), 3) for value in measured.mean(0))
        worst_color, worst_low = (round(float(value), 3) for value in measured.amax(0))
        return cls(color, worst_color, low, worst_low, int(measured[:, 1].argmax()))

    @property
    def is_large(self) -> bool:
        """Whether the clip is further from its draft than a refinement at the trained noise step is."""
        return self.color > COLOR_LIMIT or self.low > LOW_LIMIT

    def __str__(self) -> str:
        clip, worst = (f"{color:.1f} in colour, {low:.1f} in low frequencies" for color, low in self._pairs())
        return f"{clip} (worst frame, {self.worst_frame}: {worst})"

    def _pairs(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return (self.color, self.low), (self.worst_color, self.worst_low)


@dataclass
class AddedColor:
    """The colour that "color" adds to a frame: the mean of what the first frames lacked; from SETTLED of them on the
    newest counts 1 / SETTLED."""

    color: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    count: int = 0

    def follow(self, lacking: Tensor) -> Tensor:
        """With a frame that lacks this colour [3], float64."""
        self.count = min(self.count + 1, SETTLED)
        self.color = self.color + (lacking - self.color) / self.count
        return self.color


def match_draft(frames: Tensor, draft: Tensor, match: str) -> Drift:
    """Takes colour or low frequencies of frames [F, H, W, 3] from a draft [>=F, h, w, 3], in place, both in 0..1.

    match: one of MATCHES. Gives the drift of what is left; "none" changes no bit and only measures.
    """
    pairs = zip(frames.split(CHUNK), draft[: len(frames)].split(CHUNK), strict=True)
    measured = []
    for chunk, (matched, drift) in zip(frames.split(CHUNK), match_chunks(pairs, match), strict=True):
        measured.append(drift)
        if match != "none":
            chunk.copy_(matched)
    return Drift.summarize(torch.cat(measured))


def match_chunks(
    pairs: Iterable[tuple[Tensor, Tensor]], match: str, added: AddedColor | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some frames [f, H, W, 3] after the other, each with the draft's [f, h, w, 3], both in 0..1 -> (matched frames,
    their drift [f, 2]: colour and low frequencies in levels). How the clip is cut into chunks changes no bit, nor does
    going on from the colour that was `added` to the frames before (None: there are none), which follows these.
    """
    added = added or AddedColor()
    for frames, draft in pairs:
        grid = choose_grid(frames.shape[1:3])
        lacking = average_cells(draft, grid) - average_cells(frames, grid)
        if match == "low":
            frames = (frames + enlarge(lacking, frames)).clamp_(0, 1)
        elif match == "color":
            colors = torch.stack([added.follow(color) for color in lacking.double().mean((2, 3))]).float()
            frames = (frames + colors[:, None, None]).clamp_(0, 1)
        if match != "none":
            lacking = average_cells(draft, grid) - average_cells(frames, grid)
        yield frames, measure_drift(lacking)


def make_thumbnails(draft: Tensor, size: tuple[int, int]) -> Tensor:
    """A draft [F, h, w, 3] as small as it is looked at beside refined frames of size (H, W), for which it may stand:
    [F, rows, columns, 3].
    """
    cells = [average_cells(chunk, choose_grid(size)) for chunk in draft.split(CHUNK)]
    return torch.cat(cells).permute(0, 2, 3, 1)


def choose_grid(size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of cells for refined frames of size (H, W); no cell is smaller than a pixel."""
    height, width = size
    rows = min(GRID_ROWS, height)
    return rows, min(width, max(1, round(rows * width / height)))


def average_cells(frames: Tensor, grid: tuple[int, int]) -> Tensor:
    """[F, H, W, 3] -> [F, 3, rows, columns]."""
    return F.interpolate(frames[..., :3].permute(0, 3, 1, 2).float(), grid, mode="area")


def enlarge(cells: Tensor, frames: Tensor) -> Tensor:
    """[F, 3, rows, columns] -> a smooth field [F, H, W, 3] of the frames' size with nearly these means."""
    size, grid = frames.shape[1:3], cells.shape[2:]
    field = F.interpolate(cells, size, mode="bicubic")
    field += F.interpolate(cells - F.interpolate(field, grid, mode="area"), size, mode="bicubic")  # smoothed away
    return field.permute(0, 2, 3, 1)


def measure_drift(lacking: Tensor) -> Tensor:
    """What frames lack of their draft, [F, 3, rows, columns] -> [F, 2]: colour and low frequencies in levels."""
    color = lacking.mean((2, 3)).abs().amax(1)
    return LEVELS * torch.stack([color, lacking.square().mean((1, 2, 3)).sqrt()], 1)
