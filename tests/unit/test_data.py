"""What becomes of a folder or a CSV of clips: captions, spans at the chosen rate, sizes, and what is left out."""

import csv

import pytest
import torch
from support.own_clips import SIZE, make_clip, write_clip
from support.video_files import encode_clip

from flashvideo_core.errors import InputError
from flashvideo_core.media.video_reader import probe_video, read_frames, read_video
from flashvideo_core.training.data import Source, find_sources
from flashvideo_core.training.spans import Span, cut_spans, find_spans, read_span, resample_frames, split_at_repeats


def reasons(skipped) -> dict[str, str]:
    return {skip.what.rsplit("/", 1)[-1]: skip.reason for skip in skipped}


def test_a_folder_gives_its_captioned_clips_in_order_and_a_reason_for_the_rest(tmp_path):
    (tmp_path / "deep").mkdir()
    write_clip(tmp_path / "deep/b.mp4", "  two\n words ", 5)
    write_clip(tmp_path / "a.mp4", "one", 5)
    write_clip(tmp_path / "silent.mp4", None, 5)
    write_clip(tmp_path / "empty.mp4", " \n", 5)
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "lonely.txt").write_text("a caption of nothing")
    (tmp_path / ".hidden").write_text("x")
    sources, skipped = find_sources(tmp_path)
    assert sources == [Source(tmp_path / "a.mp4", "one"), Source(tmp_path / "deep/b.mp4", "two words")]
    assert reasons(skipped) == {
        "silent.mp4": "no caption: there is no silent.txt beside it",
        "empty.mp4": "its caption empty.txt is empty",
        "notes.md": "neither a clip by its name nor the caption of one",
        "lonely.txt": "neither a clip by its name nor the caption of one",
    }


def test_a_table_names_clips_beside_it(tmp_path):
    (tmp_path / "clips").mkdir()
    write_clip(tmp_path / "clips/a.mp4", None, 5)
    table = tmp_path / "clips.csv"
    with table.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet writes it
        rows = [["caption", "video", "more"], ["one, with a comma", "clips/a.mp4", "1"]]
        csv.writer(file).writerows([*rows, ["two", "clips/b.mp4", ""], ["", "clips/a.mp4", ""], ["three", "", ""]])
    sources, skipped = find_sources(table)
    assert sources == [Source(tmp_path / "clips/a.mp4", "one, with a comma")]
    assert [skip.reason for skip in skipped] == [
        "there is no file 'clips/b.mp4'",
        "clips/a.mp4 has no caption",
        "there is no file ''",
    ]
    assert [skip.what.rsplit(" line ", 1)[1] for skip in skipped] == ["3", "4", "5"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_captions_are_unicode_as_editors_save_it(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    write_clip(tmp_path / "a.mp4", None, 5)
    (tmp_path / "a.txt").write_text(mark + "ein grüner Ball", encoding)
    assert find_sources(tmp_path)[0] == [Source(tmp_path / "a.mp4", "ein grüner Ball")]
    (tmp_path / "t.csv").write_text(mark + "video,caption\na.mp4,grün\n", encoding)
    assert find_sources(tmp_path / "t.csv")[0] == [Source(tmp_path / "a.mp4", "grün")]


def test_captions_in_another_encoding_are_not_guessed(tmp_path):
    write_clip(tmp_path / "a.mp4", None, 5)
    (tmp_path / "a.txt").write_text("grün", "latin-1")
    sources, skipped = find_sources(tmp_path)
    assert sources == [] and reasons(skipped) == {"a.mp4": "its caption a.txt is neither UTF-8 nor marked UTF-16"}
    (tmp_path / "t.csv").write_text("video,caption\na.mp4,grün\n", "latin-1")
    with pytest.raises(InputError, match=r"t\.csv is neither UTF-8 nor marked UTF-16"):
        find_sources(tmp_path / "t.csv")


def test_a_csv_that_python_cannot_read_is_one_line(tmp_path):
    (tmp_path / "t.csv").write_text("video,caption\na.mp4,x\nb.mp4," + "x" * 200_000 + "\n")
    with pytest.raises(InputError, match=r"t\.csv cannot be read as CSV, at line 3: field larger than"):
        find_sources(tmp_path / "t.csv")


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is neither a folder of clips nor a"):
        find_sources(tmp_path / "nowhere")
    (tmp_path / "t.csv").write_text("file,text\na,b\n")
    with pytest.raises(ValueError, match="has no column caption and no column video"):
        find_sources(tmp_path / "t.csv")


def test_a_long_clip_is_cut_end_to_end_at_the_chosen_rate(tmp_path):
    """50 frames at 24 fps are 17 at 8 fps, every third: three spans of 5, two frames left."""
    source = write_clip(tmp_path / "a.mp4", "x", 50, 24)
    spans = cut_spans(source, SIZE, 5, 8)
    assert [span.frames for span in spans] == [(0, 3, 6, 9, 12), (15, 18, 21, 24, 27), (30, 33, 36, 39, 42)]
    assert cut_spans(source, SIZE, 17, 8)[0].frames == tuple(range(0, 51, 3))[:17]


@pytest.mark.parametrize(
    ("source_fps", "frames", "fps", "count"),
    [(8, 49, 8, 49), (24, 145, 8, 49), (24, 144, 8, 48), (23.976, 49, 24, 49), (30, 31, 8, 9), (25, 26, 8, 9)],
)
def test_as_many_frames_as_the_time_holds(source_fps, frames, fps, count):
    times = tuple(round(1000 * i / source_fps) / 1000 for i in range(frames))  # as a container in milliseconds has them
    numbers = resample_frames(times, fps)
    assert len(numbers) == count and numbers == sorted(numbers) and numbers[-1] < frames
    for i, number in enumerate(numbers):
        assert abs(times[number] - i / fps) <= 0.5 / source_fps + 0.001


def test_uneven_timing_is_resampled_by_time():
    """A pause of half a second in the source stays half a second."""
    times = (0.0, 0.125, 0.25, 0.75, 0.875, 1.0)
    assert resample_frames(times, 8) == [0, 1, 2, 2, 2, 3, 3, 4, 5]


def test_no_frame_of_uneven_timing_is_shown_twice(tmp_path):
    """Where one would be, a clip ends: 2 is shown three times and 3 twice."""
    runs = split_at_repeats([0, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7])
    assert runs == [[0, 1, 2], [2], [2, 3], [3, 4, 5, 6, 7]]
    pts = [*range(0, 700, 100), *range(900, 1700, 100)]  # 10 fps; nothing at 0.7 and 0.8 s
    encode_clip(tmp_path / "a.mkv", make_clip(len(pts)), pts=pts, max_b_frames=0)
    source = Source(tmp_path / "a.mkv", "x")
    assert [span.frames for span in cut_spans(source, SIZE, 5, 8)] == [(0, 1, 2, 4, 5), (6, 7, 8, 9, 10)]
    with pytest.raises(ValueError, match="it has 8 frames at 8 fps without one shown twice; a training clip has 9"):
        cut_spans(source, SIZE, 9, 8)


def test_unfit_clips_are_named_with_the_rule_they_break(tmp_path):
    sources = [
        write_clip(tmp_path / "short.mp4", "x", 4),
        write_clip(tmp_path / "slow.mp4", "x", 9, 4),
        write_clip(tmp_path / "small.mp4", "x", 9, size=(32, 48)),
        Source(tmp_path / "broken.mp4", "x"),
        write_clip(tmp_path / "good.mp4", "x", 9),
    ]
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    spans, skipped = find_spans(sources, size=SIZE, frames=5, fps=8)
    assert [str(span) for span in spans] == ["good.mp4[0..4]"]
    assert reasons(skipped) == {
        "short.mp4": "it has 4 frames at 8 fps; a training clip has 5",
        "slow.mp4": "its 4 fps are fewer than the 8 of training",
        "small.mp4": "its 32x48 pixels are fewer than the 64x96 of training",
        "broken.mp4": "not a video file (or one that is cut off or damaged)",
    }


def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    source = write_clip(tmp_path / "p.mp4", "x", 1)
    assert cut_spans(source, SIZE, 49, 8) == [Span(source, (0,))]


@pytest.mark.parametrize(("wrong", "said"), [({"frames": 6}, "4n\\+1"), ({"fps": 0}, "fps is 0; it must be over 0")])
def test_bad_numbers_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        find_spans([], size=SIZE, **wrong)


def test_frames_by_number_are_those_of_the_whole_video(tmp_path):
    source = write_clip(tmp_path / "a.mp4", "x", 9)
    whole = read_video(source.path).frames
    assert torch.equal(read_frames(source.path, (0, 3, 3, 8)), whole[[0, 3, 3, 8]])
    with pytest.raises(ValueError, match="frame 9 could not be decoded"):
        read_frames(source.path, (8, 9))
    assert len(probe_video(source.path).times) == 9 and probe_video(source.path).times[8] == pytest.approx(1.0)


def test_a_cut_covers_the_size_from_its_middle(tmp_path):
    """Twice as large and wider: reduced by two, and cut alike on both sides."""
    source = write_clip(tmp_path / "a.mp4", "x", 5, size=(128, 256))
    seen = read_span(Span(source, (0, 4)), SIZE)
    assert seen.shape == (3, 2, *SIZE) and seen.abs().max() <= 1
    wide = make_clip(1, (64, 128))[:, :, 16:112].permute(3, 0, 1, 2) * 2 - 1
    assert (seen[:, :1] - wide).abs().mean() < 0.03  # H.264 is lossy
    same = write_clip(tmp_path / "b.mp4", "x", 5)
    exact = read_frames(same.path, (0, 4)).permute(3, 0, 1, 2) * 2 - 1
    assert torch.equal(read_span(Span(same, (0, 4)), SIZE), exact)
