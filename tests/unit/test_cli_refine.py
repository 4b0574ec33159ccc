"""`refine`: a saved draft, or any video with a prompt; what it keeps and what it says."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors.torch import save_file
from support.cli_run import component_options, list_files, read_events, run
from support.video_files import encode_clip, smooth_clip

from flashvideo_core.cli.refine_source import SourceOptions, open_video
from flashvideo_core.cli.source_files import SourceFiles
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video

SIZE = ["--size", "64x96", "--refine-steps", "1"]


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    return [*component_options(tmp_path_factory.mktemp("refine"))[2:]]  # stage 1 is not needed


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """11 frames at 24000/1001 fps with a tone that sets in with frame 4."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    x = torch.linspace(0, 1, 96).expand(64, 96)
    frames = torch.stack([torch.stack([(x + i / 11) % 1, x, 1 - x], -1) for i in range(11)])
    time = torch.arange(48000 // 2) / 48000
    tone = torch.where(time > 4 * 1001 / 24000, 0.3 * torch.sin(2 * torch.pi * 440 * time), 0.0)
    write_video(path, frames, Fraction(24000, 1001), audio=Audio(tone[None], 48000))
    return path


def test_a_video_keeps_its_rate_and_its_sound_in_time(film, components, tmp_path, capsys):
    out = tmp_path / "out"
    code, said, err = run(capsys, "refine", film, "--prompt", "bars", *components, *SIZE, "--output", out)
    assert (code, said) == (0, f"{out / 'final.mp4'}\n")
    assert "film.mp4: 9 of its 11 frames are used (4n+1" in err
    assert list_files(out) == {"final.mp4", "side_by_side.mp4", "clip.json"}
    source, clip = read_video(film), read_video(out / "final.mp4")
    assert clip.frames.shape == (9, 64, 96, 3)
    assert clip.fps == source.fps == Fraction(24000, 1001)
    samples = clip.audio.samples
    assert clip.audio.rate == 48000 and samples.shape[1] == round(9 * 1001 / 24000 * 48000)
    onset = int((samples.abs() > 0.1).any(0).nonzero()[0])
    assert abs(onset - 4 * 1001 / 24000 * 48000) < 100  # samples, 2 ms
    assert read_video(out / "side_by_side.mp4").audio is not None


def test_the_left_half_of_the_comparison_is_the_input(film, components, tmp_path, capsys):
    run(capsys, "refine", film, "--prompt", "bars", *components, *SIZE, "--crf", "1", "--output", tmp_path)
    both = read_video(tmp_path / "side_by_side.mp4").frames
    assert (both[:, :, :96] - read_video(film).frames[:9]).square().mean() < 1e-3


def test_the_record_names_the_source_and_the_same_command_is_not_run_again(film, components, tmp_path, capsys):
    command = ["refine", film, "--prompt", "bars", *components, *SIZE, "--frames", "5", "--output", tmp_path, "--json"]
    events = read_events(run(capsys, *command)[1])
    made, steps = events[-1]["clips"], [event for event in events if "clip_share" in event]
    assert list(dict.fromkeys(event["phase"] for event in steps)) == ["handoff", "stage2", "decode"]
    assert 0 < steps[0]["clip_share"] < 1 and (steps[-1]["clip_share"], steps[-1]["clip_seconds_left"]) == (1, 0)
    assert made == [{"prompt": "bars", "seed": 0, "path": str(tmp_path / "final.mp4"), "skipped": False}]
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["source"]["file"] == "film.mp4" and len(record["source"]["sha256"]) == 64
    assert record["fps"] == "24000/1001"
    assert len(read_video(tmp_path / "final.mp4").frames) == 5
    assert read_events(run(capsys, *command)[1])[-1]["clips"][0]["skipped"]
    code, _, err = run(capsys, "generate", "--from", tmp_path)
    assert code == 2 and "refined from film.mp4; repeat it with: refine film.mp4" in err


def test_a_video_of_ours_brings_its_prompt(film, components, tmp_path, capsys):
    record = {"flashvideo": json.dumps({"prompt": "a grey square"})}
    write_video(tmp_path / "ours.mp4", read_video(film).frames[:1], 8, metadata=record)
    code, out, _ = run(
        capsys, "refine", tmp_path / "ours.mp4", *components, *SIZE, "--output", tmp_path / "o", "--json"
    )
    assert code == 0 and read_events(out)[-1]["clips"][0]["prompt"] == "a grey square"


def test_a_latent_that_comfyui_saved_is_refined_in_its_folder(components, tmp_path, capsys):
    """Load Latent's file has the tensor alone; the prompt is then given."""
    latent = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    save_file(
        {"latent_tensor": latent, "latent_format_version_0": torch.tensor([])}, tmp_path / "ComfyUI_1.safetensors"
    )
    command = ["refine", tmp_path / "ComfyUI_1.safetensors", "--prompt", "bars", *components, *SIZE, "--seed", "4"]
    assert run(capsys, *command)[0] == 0
    assert list_files(tmp_path) == {"ComfyUI_1.safetensors", "final.mp4", "side_by_side.mp4", "clip.json"}
    record = json.loads((tmp_path / "clip.json").read_text())
    assert record["stage2"]["seed"] == 4 and record["source"]["file"] == "ComfyUI_1.safetensors"
    clip = read_video(tmp_path / "final.mp4")
    assert (len(clip.frames), clip.fps, clip.audio) == (5, 8, None)


@pytest.mark.parametrize("shape", [(1, 47, 65), (2, 20, 34)], ids=["one frame, odd size", "two frames"])
def test_short_and_odd_videos(shape, components, tmp_path, capsys):
    """Lossless RGB, as yuv420p has no odd sizes."""
    import av

    frames = torch.rand(*shape, 3, generator=torch.Generator().manual_seed(2))
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.height, stream.width, stream.pix_fmt = shape[1], shape[2], "bgr0"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray((frame * 255).byte().numpy(), "rgb24")
            container.mux(stream.encode(picture.reformat(format="bgr0")))
        container.mux(stream.encode(None))
    code, _, err = run(capsys, "refine", tmp_path / "in.mkv", "--prompt", "x", *components, *SIZE, "--output", tmp_path)
    assert code == 0, err
    clip = read_video(tmp_path / "final.mp4")
    assert clip.frames.shape == (1, 64, 96, 3) and clip.fps == 5
    assert ("1 of its 2 frames are used" in err) == (shape[0] == 2)


def test_a_stretch_is_said(film, components, tmp_path, capsys):
    _, _, err = run(
        capsys,
        "refine",
        film,
        "--prompt",
        "x",
        *components,
        "--size",
        "64x64",
        "--refine-steps",
        "1",
        "--output",
        tmp_path,
    )
    assert "96x64 is stretched to 64x64; width 80 and height 48 would keep its proportions" in err


def test_a_rate_that_cannot_be_written_is_refused_before_the_work(components, tmp_path, capsys):
    (tmp_path / "raw.y4m").write_bytes(b"YUV4MPEG2 W16 H16 F15000:1 C420jpeg\n" + 5 * (b"FRAME\n" + bytes(384)))
    out = tmp_path / "out"
    code, _, err = run(capsys, "refine", tmp_path / "raw.y4m", "--prompt", "x", *components, *SIZE, "--output", out)
    assert code == 2 and "fps must be over 0 and at most 1000, got 15000" in err
    assert not out.exists()


def test_frames_that_stand_in_for_missing_ones_are_counted(tmp_path):
    pts = [0, 125, 250, 375, 500, 1000, 1125]  # 7 stored at 8 fps, three not
    encode_clip(tmp_path / "a.mkv", smooth_clip(7), pts=pts, max_b_frames=0)
    said = []
    files = SourceFiles("a", (tmp_path / "a.mkv",))
    source = open_video(files, SourceOptions(), said.append)
    assert len(source.frames) == 9 and source.fps == 8
    assert said == [
        "a.mkv: the nearest frames in time stand in for 3 missing at its 8 fps",
        "a.mkv: 9 of its 10 frames are used (4n+1)",
    ]
    assert len(open_video(files, SourceOptions(frames=5), said.append).frames) == 5
