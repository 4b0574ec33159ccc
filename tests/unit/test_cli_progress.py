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


CLIP = {"handoff": 10.0, "stage2": 30.0, "decode": 20.0}


def expecting(err, clock, **options):
    reporter = Reporter(io.StringIO(), err, clock=clock, **options)
    reporter.expect(CLIP)
    return reporter


def test_one_bar_goes_over_all_phases_of_a_clip():
    """stage 2 is estimated by what the hand-off took, the decode by its kind, both then by themselves."""
    err, clock = Terminal(), Clock()
    reporter = expecting(err, clock)
    sampled(reporter, clock, 10, "handoff", 2)  # 2 s for a unit of work
    sampled(reporter, clock, 120, "stage2", 2)  # 8
    sampled(reporter, clock, 60, "decode", 2)  # 6
    lines = [line.rstrip() for line in err.getvalue().split("\r")[1:]]
    assert lines == [
        "hand-off     [##......................] 1/2  1:50 left",
        "hand-off     [####....................] 2/2  1:40 left",
        "stage 2      [###########.............] 1/2  2:40 left",
        "stage 2      [####################....] 2/2  0:40 left",
        "decode       [####################....] 1/2  1:00 left",
        "decode       [########################] 2/2  6:20",
    ]
    assert err.getvalue().count("\n") == 1 and err.getvalue().endswith("\n")


def test_the_second_of_several_clips_knows_how_long_the_first_took():
    err, clock = Terminal(), Clock()
    reporter = expecting(err, clock)
    for phase, seconds in zip(CLIP, (10, 120, 60), strict=True):
        sampled(reporter, clock, seconds, phase, 2)
    clock.now += 1000
    reporter.expect(dict.fromkeys(CLIP, 20.0))
    sampled(reporter, clock, 20, "handoff", 2)
    assert "hand-off     [###.....................] 2/2  4:40 left" in err.getvalue()  # 20 * (8 + 6)


def test_a_clip_that_goes_on_from_a_later_phase_has_only_what_is_left():
    err, clock = Terminal(), Clock()
    reporter = expecting(err, clock)
    sampled(reporter, clock, 3, "text", 1)  # is none of the clip's phases
    clock.now += 60
    reporter.progress("stage2", 3, 4)  # an earlier run did the first two of its evaluations
    clock.now += 60
    reporter.progress("stage2", 4, 4)
    lines = [line.rstrip() for line in err.getvalue().split("\r")[1:]]
    assert lines[0] == "prompt       [########################] 1/1  0:03"
    assert lines[1:] == [  # 30 units of work in 240 s
        "stage 2      [#####...................] 3/4  3:40 left",
        "stage 2      [##########..............] 4/4  2:40 left",
    ]


def test_plain_lines_and_json_tell_the_time_left_of_the_clip():
    err, clock = io.StringIO(), Clock()
    sampled(expecting(err, clock), clock, 12, "handoff", 2)
    assert err.getvalue().splitlines() == ["hand-off: 1/2, 2:12 left", "hand-off: 2/2 in 0:24, 2:00 left"]
    out = io.StringIO()
    reporter = Reporter(out, err, as_json=True, clock=clock)
    reporter.expect(CLIP)
    sampled(reporter, clock, 12, "handoff", 2)
    first = {"event": "progress", "phase": "handoff", "step": 1, "total": 2, "seconds_left": 12.0}
    assert json.loads(out.getvalue().splitlines()[0]) == first | {"clip_share": 0.083, "clip_seconds_left": 132.0}
