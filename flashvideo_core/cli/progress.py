"""How a command speaks: progress and notes on stderr, results on stdout.

On a terminal a bar with the time left, otherwise plain lines; for programs (`--json`) one JSON object a line on stdout,
each with an "event", the last one being "result", "error" or "interrupted". Where a clip's phases were announced, bar
and time left are the clip's.

Written here and not taken from tqdm, which the core does not require: a phase is first heard of when its first step is
done, and began where the one before ended, which is how long that step took; tqdm's clock starts at the bar's making.
It has no plain lines at intervals for logs, and its bar would have to be closed around every note all the same.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from .clip_estimate import ClipEstimate, Remaining

if TYPE_CHECKING:  # imports torch, which --help does without
    from ..types import Clock, Preview

LABELS = {
    "text": "prompt",
    "stage1": "stage 1",
    "draft_decode": "draft decode",
    "handoff": "hand-off",
    "stage2": "stage 2",
}
BAR_WIDTH = 24
LINE_WIDTH = 78  # covers what a longer line before left
PLAIN_SECONDS = 10.0  # between two plain lines of one phase


class Reporter:
    """`progress` is the callback of the core; the other methods are what a command says itself.

    has_bars: on a terminal; False where several processes write to the same one.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        as_json: bool = False,
        clock: Clock = time.monotonic,
        has_bars: bool = True,
    ):
        self.out, self.err, self.as_json, self.clock = out, err, as_json, clock
        self.shows_bars = has_bars and not as_json and err.isatty()
        self.is_bar_open = False
        self.phase, self.first = "", 1  # the phase, and its first step in this run: not 1 where an earlier one began it
        self.phase_start = self.last_report = self.last_line = clock()
        self.clip: ClipEstimate | None = None

    def expect(self, work: Mapping[str, float]) -> None:
        """A clip of these phases begins, in their order, each with what it costs: the time left is then all of its.

        How long the phases of an earlier one took is not forgotten.
        """
        self.last_report = self.clock()
        self.clip = ClipEstimate(work, self.last_report, self.clip.rates if self.clip else {})

    def progress(self, phase: str, step: int, total: int, preview: Preview | None = None) -> None:
        """Called after each step of a phase (types.ProgressCallback). A phase begins where the one before ended."""
        now = self.clock()
        if step == 1 or phase != self.phase:
            self.phase, self.first, self.phase_start = phase, step, self.last_report
        seconds, steps = now - self.phase_start, step - self.first + 1
        own = Remaining(step / total, seconds, seconds / steps * (total - step))
        of_clip = self.clip and self.clip.estimate(phase, own, steps / total, now)
        shown = of_clip or own
        if self.as_json:
            self._emit_progress(phase, step, total, own, of_clip)
        elif self.shows_bars:
            self._draw(phase, step, total, shown)
        elif step == total:
            more = f", {clock_time(shown.left)} left" if shown.left else ""
            self._write(f"{LABELS.get(phase, phase)}: {total}/{total} in {clock_time(seconds)}{more}")
        elif now - max(self.last_line, self.phase_start) >= PLAIN_SECONDS:
            self._write(f"{LABELS.get(phase, phase)}: {step}/{total}, {clock_time(shown.left)} left")
        self.last_report = now

    def note(self, text: str) -> None:
        """Something that the user should know and that stops nothing."""
        if self.as_json:
            self._emit("note", message=text)
        else:
            self._write(text)
        self.last_report = self.clock()

    def step(self, event: str, text: str, **fields: object) -> None:
        """Something is done: a line on stdout, or an event of that name with its fields."""
        self.close()
        if self.as_json:
            self._emit(event, **fields)
        else:
            self.out.write(text + "\n")
            self.out.flush()
        self.last_report = self.clock()

    def finish(self, result: Mapping[str, object], lines: Iterable[str] = ()) -> None:
        """The last word of a command that succeeded."""
        self.close()
        if self.as_json:
            self._emit("result", **result)
        else:
            self.out.writelines(line + "\n" for line in lines)
            self.out.flush()

    def fail(self, event: str, text: str) -> None:
        """The last word of a command that did not: one line on stderr, for people and programs alike."""
        self.close()
        if self.as_json:
            self._emit(event, message=text)
        self.err.write(f"{event}: {text}\n")
        self.err.flush()

    def close(self) -> None:
        """Ends an open bar, so that what follows begins on a line of its own."""
        if self.is_bar_open:
            self.err.write("\n")
            self.is_bar_open = False

    def _emit_progress(self, phase: str, step: int, total: int, own: Remaining, of_clip: Remaining | None) -> None:
        in_clip = {}
        if of_clip is not None:
            in_clip = {"clip_share": round(of_clip.share, 3), "clip_seconds_left": round(of_clip.left, 1)}
        self._emit("progress", phase=phase, step=step, total=total, seconds_left=round(own.left, 1), **in_clip)

    def _draw(self, phase: str, step: int, total: int, shown: Remaining) -> None:
        filled = int(BAR_WIDTH * shown.share)
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        right = f"{clock_time(shown.left)} left" if shown.left else clock_time(shown.elapsed)
        line = f"{LABELS.get(phase, phase):<13}[{bar}] {step}/{total}  {right}"
        self.err.write("\r" + line.ljust(LINE_WIDTH))
        self.is_bar_open = True
        if step == total and not shown.left:
            self.close()
        self.err.flush()

    def _write(self, line: str) -> None:
        self.close()
        self.err.write(line + "\n")
        self.err.flush()
        self.last_line = self.clock()

    def _emit(self, event: str, **fields: object) -> None:
        self.out.write(json.dumps({"event": event, **fields}) + "\n")
        self.out.flush()


def clock_time(seconds: float) -> str:
    """3725.2 -> 1:02:05."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def describe_rate(done: int, total: int, seconds: float) -> str:
    left, rate = seconds / done * (total - done), 3600 * done / seconds
    return f"{done} of {total} in {clock_time(seconds)}, {clock_time(left)} left, {rate:.1f} clips an hour"


@contextmanager
def warnings_to(reporter: Reporter) -> Iterator[None]:
    """Warnings that the core logs become notes of the reporter."""
    said = set()

    def emit(record: logging.LogRecord) -> None:
        """Both stages read the prompt: what is said of it once is not said again."""
        text = record.getMessage()
        if text not in said:
            said.add(text)
            reporter.note(text)

    handler = logging.Handler(logging.WARNING)
    handler.emit = emit
    logger = logging.getLogger(__package__.split(".")[0])
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
