"""`--codec`, `--bit-depth`, `--timing`, `--fps`: what of a command stands in its files and in its record."""

import json
from fractions import Fraction

import av
import pytest
import torch
from support.cli_run import SMALL, component_options, list_files, read_events, run
from support.video_files import smooth_clip

from flashvideo_core.cli.from_record import recorded_output
from flashvideo_core.cli.options import OutputOptions
from flashvideo_core.cli.record import Record
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.codecs import H264, choose_format
from flashvideo_core.media.picture_writer import write_pictures
from flashvideo_core.media.video_reader import read_video, survey_video
from flashvideo_core.media.video_writer import write_video

SIZE = ["--size", "64x96", "--refine-steps", "1"]
TIMES = tuple(Fraction(time, 1000) for time in (0, 40, 80, 200, 210, 300, 333))  # six frames
SOUND = Audio(torch.sin(torch.arange(48000) / 20)[None] / 3, 48000)


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    return component_options(tmp_path_factory.mktemp("formats"))


def info(capsys, path):
    return read_events(run(capsys, "info", path, "--json")[1])[-1]["files"][str(path)]


def test_times_and_sound_of_a_film_are_kept_in_hevc_of_ten_bits(components, tmp_path, capsys):
    film, out = tmp_path / "film.mp4", tmp_path / "out"
    write_video(film, smooth_clip(6), 18, times=TIMES, audio=SOUND)
    command = ["refine", film, "--prompt", "x", *components[2:], *SIZE, "--output", out]
    command += ["--timing", "keep", "--codec", "h265", "--bit-depth", "10"]
    code, said, err = run(capsys, *command)
    assert (code, said) == (0, f"{out / 'final.mp4'}\n"), err
    assert "every frame keeps its time" in err and "5 of its 6 frames are used" in err
    for name in ("final.mp4", "side_by_side.mp4"):
        clip = survey_video(out / name, keep_times=True)
        assert clip.times == TIMES[:6] and clip.audio.samples.shape[1] == round(TIMES[5] * 48000)
    with av.open(str(out / "final.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.codec_tag) == ("hevc", "yuv420p10le", "hvc1")
    found = info(capsys, out / "final.mp4")
    assert (found["kind"], found["codec"], found["bit_depth"], found["timing"]) == ("clip", "h265", 10, "keep")
    assert "already finished" in run(capsys, *command)[2]
    code, _, err = run(capsys, *command, "--timing", "constant", "--codec", "prores", "--bit-depth", "10")
    assert code == 0 and "holds another clip" in err and "resampled to its average" in err
    assert list_files(out) == {"final.mov", "side_by_side.mp4", "clip.json"}  # final.mp4 was the other clip's
    assert {"codec": "prores", "bit_depth": 10}.items() <= info(capsys, out / "final.mov").items()
    assert "crf" not in info(capsys, out)


def test_a_folder_of_pictures_and_videos_into_pictures(components, tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    write_pictures(source, smooth_clip(6), 8, choose_format("png", 8))
    write_video(source / "film.mp4", smooth_clip(2), 12, audio=SOUND)
    command = ["refine", source, "--prompt", "x", *components[2:], *SIZE, "--output", out]
    command += ["--codec", "png", "--bit-depth", "16", "--json"]
    code, said, err = run(capsys, *command)
    assert code == 0, err
    clips = read_events(said)[-1]["clips"]
    assert [clip["path"] for clip in clips] == [str(out / name / "final") for name in ("in", "film")]
    assert "*.png: shown at 25 frames a second" in said and "*.png: 5 of its 6 frames are used" in said
    pictures = [f"final/0000{i}.png" for i in range(1, 6)]
    assert list_files(out / "in") == {*pictures, "side_by_side.mp4", "clip.json"}
    assert list_files(out / "film") == {pictures[0], "final/sound.wav", "side_by_side.mp4", "clip.json"}
    record = json.loads((out / "in" / "clip.json").read_text())
    assert record["source"]["file"] == "*.png" and (record["fps"], record["bit_depth"]) == (25, 16)
    assert info(capsys, out / "in" / "final")["codec"] == "png"
    assert all(clip["skipped"] for clip in read_events(run(capsys, *command)[1])[-1]["clips"])
    (out / "film" / "final" / "notes.txt").write_text("mine")
    code, _, err = run(capsys, *command, "--seed", "1")
    assert code == 2 and "holds notes.txt, which is no picture of a clip" in err
    assert (out / "film" / "final" / "notes.txt").is_file()


def test_a_clip_is_made_again_in_its_codec_or_in_another():
    record = Record("x", None, None, {}, "float32", "cpu", Fraction(8), 60, choose_format("av1", 10))
    again = recorded_output(record, OutputOptions("out", None))
    assert (again.codec, again.bit_depth, again.crf, again.output) == ("av1", 10, 60, "out")
    named = OutputOptions(None, 20, codec="av1", bit_depth=8)
    assert recorded_output(record, named) == named
    other = recorded_output(record, OutputOptions(None, None, codec="h264"))  # 60 is no quality of H.264
    assert (other.codec, other.bit_depth, other.checked_crf()) == ("h264", None, 17)


def test_older_records_are_of_h264_at_a_constant_rate():
    record = Record("x", None, None, {}, "float32", "cpu", Fraction(8), 17)
    assert (record.video, record.timing) == (H264, "constant")
    assert not {"codec", "bit_depth", "timing"} & record.to_json().keys()


REFUSED = {
    "--fps is for pictures; ": ["--fps", "8"],
    "bit_depth is 8; it must be 10 for prores": ["--codec", "prores", "--bit-depth", "8"],
    "crf is 52; it must be 0 (the best) to 51 for h265": ["--codec", "h265", "--crf", "52"],
    "crf is 9; png has no quality to choose": ["--codec", "png", "--crf", "9"],
}


@pytest.mark.parametrize(("rule", "options"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_is_refused_before_the_work(rule, options, components, tmp_path, capsys):
    write_video(tmp_path / "a.mp4", smooth_clip(1), 8)
    command = ["refine", tmp_path / "a.mp4", "--prompt", "x", *components[2:], *SIZE, "--output", tmp_path / "out"]
    code, _, err = run(capsys, *command, *options)
    assert code == 2 and rule in err and "\n" not in err.strip()
    assert not (tmp_path / "out").exists()


def test_vbench_takes_files_of_its_kind(components, tmp_path, capsys):
    command = ["generate", "x", *components, *SMALL, "--layout", "vbench", "--output", tmp_path, "--codec", "prores"]
    code, _, err = run(capsys, *command)
    assert code == 2 and "--layout vbench is a folder of mp4 files, and prores goes into none" in err


def test_one_picture_is_a_clip_of_one_frame_at_the_rate_that_is_named(components, tmp_path, capsys):
    write_pictures(tmp_path / "in", smooth_clip(1), 8, choose_format("png", 8))
    command = ["refine", tmp_path / "in" / "00001.png", "--prompt", "x", *components[2:], *SIZE, "--fps", "12"]
    assert run(capsys, *command, "--output", tmp_path / "out")[0] == 0
    clip = read_video(tmp_path / "out" / "final.mp4")
    assert len(clip.frames) == 1 and clip.fps == 12
