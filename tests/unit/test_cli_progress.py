"""What a command says: bars, plain lines and JSON, with the time left."""

import io
import json
import logging

from flashvideo_core.cli.progress import Reporter, clock_time, warnings_to


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def sampled(reporter, clock, seconds, phase="stage1", total=4):
    for step in range(1, total + 1):
        clock.now += seconds
        reporter.progress(phase, step, total)


def test_a_bar_on_a_terminal_shows_the_time_left():
    out, err, clock = io.StringIO(), Terminal(), Clock()
    sampled(Reporter(out, err, clock=clock), clock, 60)
    lines = [line.rstrip() for line in err.getvalue().split("\r")[1:]]
    assert lines[0] == "stage 1      [######..................] 1/4  3:00 left"
    assert lines[2] == "stage 1      [##################......] 3/4  1:00 left"
    assert lines[3] == "stage 1      [########################] 4/4  4:00"
    assert err.getvalue().endswith("\n") and out.getvalue() == ""


def test_a_shorter_line_covers_a_longer_one():
    err, clock = Terminal(), Clock()
    sampled(Reporter(io.StringIO(), err, clock=clock), clock, 4000)
    assert len({len(line.rstrip("\n")) for line in err.getvalue().split("\r")[1:]}) == 1


def test_a_phase_begins_where_the_one_before_ended():
    """The first step's time counts, and so does what was said between (a note is not part of a phase)."""
    err, clock = Terminal(), Clock()
    reporter = Reporter(io.StringIO(), err, clock=clock)
    sampled(reporter, clock, 10, "text", 1)
    clock.now += 100
    reporter.note("something in between")
    sampled(reporter, clock, 5, "stage1", 2)
    assert "1/2  0:05 left" in err.getvalue() and "2/2  0:10" in err.getvalue()


def test_what_follows_a_bar_begins_on_its_own_line():
    err, clock = Terminal(), Clock()
    reporter = Reporter(io.StringIO(), err, clock=clock)
    reporter.progress("stage1", 1, 3)
    reporter.note("a note")
    reporter.progress("stage1", 2, 3)
    reporter.fail("error", "what was wrong")
    lines = [line.split("\r")[-1].rstrip() for line in err.getvalue().split("\n")]
    assert lines[1::2] == ["a note", "error: what was wrong"]


def test_plain_lines_where_there_is_no_terminal():
    err, clock = io.StringIO(), Clock()
    sampled(Reporter(io.StringIO(), err, clock=clock), clock, 6)
    assert err.getvalue().splitlines() == ["stage 1: 2/4, 0:12 left", "stage 1: 4/4 in 0:24"]
    err.truncate(0), err.seek(0)
    sampled(Reporter(io.StringIO(), err, clock=clock), clock, 0.1, total=500)
    assert len(err.getvalue().splitlines()) == 5  # each 10 s and at the end, not 500


def test_json_is_one_object_a_line_and_the_result_is_last():
    out, err, clock = io.StringIO(), Terminal(), Clock()
    reporter = Reporter(out, err, as_json=True, clock=clock)
    sampled(reporter, clock, 2, total=2)
    reporter.note("n")
    reporter.step("clip", "a line", path="p")
    reporter.finish({"clips": []}, ["a line for people"])
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"event": "progress", "phase": "stage1", "step": 1, "total": 2, "seconds_left": 2.0},
        {"event": "progress", "phase": "stage1", "step": 2, "total": 2, "seconds_left": 0.0},
        {"event": "note", "message": "n"},
        {"event": "clip", "path": "p"},
        {"event": "result", "clips": []},
    ]
    assert err.getvalue() == ""


def test_warnings_of_the_core_become_notes_while_a_command_runs():
    err = io.StringIO()
    with warnings_to(Reporter(io.StringIO(), err)):
        logging.getLogger("flashvideo_core.text").warning("the encoder ignores: %s", "zebra")
    assert err.getvalue() == "the encoder ignores: zebra\n"
    assert logging.getLogger("flashvideo_core").handlers == []


def test_times():
    assert [clock_time(s) for s in (0, 59.4, 60, 3599.6, 3725)] == ["0:00", "0:59", "1:00", "1:00:00", "1:02:05"]
