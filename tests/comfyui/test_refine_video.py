"""FlashVideo Refine Video in a real server: what the command line makes, gone on with after the server was killed, and
what it says of input that cannot be."""

import json
import os
import time
from pathlib import Path

import pytest
import torch
from support.comfy_models import two_stage_prompt, write_small_models
from support.comfy_server import ComfyServer
from support.comfyui import PACK, Prompt
from test_node_feedback import remarks

from flashvideo_core import clip_parts
from flashvideo_core.cli import clip_writer
from flashvideo_core.cli.main import main
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.draft_file import load_draft
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video

pytestmark = pytest.mark.comfyui

SETTINGS = {"seed": 3, "steps": 2, "cfg": 3.0, "shift": 2.5, "noise_step": 300, "windows": "time", "match": "color"}
OPTIONS = "--seed 3 --refine-steps 2 --refine-cfg 3 --shift 2.5 --noise-step 300 --windows time --match-color color"
SAMPLING = 5e-5  # largest error over largest value
UNFINISHED = "output/FlashVideo/unfinished"


def write_film(path: Path, frames: int) -> None:
    """A gradient that moves, at 12 frames a second, with a tone; changed at a fixed time, which ComfyUI writes into the
    prompt."""
    x = torch.linspace(0, 0.5, 48).expand(32, 48)
    clip = torch.stack([torch.stack([x + i / 150, x, 0.5 - x], -1) for i in range(frames)])
    tone = 0.3 * torch.sin(torch.arange(44100 * frames // 12) * 0.05)
    write_video(path, clip, 12, audio=Audio(tone[None], 44100))
    os.utime(path, (0, 0))


def graph(**inputs: object) -> Prompt:
    out = {name: two_stage_prompt()[name] for name in ("model2", "vae", "clip", "text")}
    out["load"] = {"class_type": "LoadVideo", "inputs": {"file": "film.mp4"}}
    links = {"video": ["load", 0], "model": ["model2", 0], "vae": ["vae", 0], "positive": ["text", 1]}
    size = {"target": "custom", "width": 48, "height": 32, "filename_prefix": "refined"}
    out["refine"] = {"class_type": "FlashVideoRefineVideo", "inputs": {**links, **size, **SETTINGS, **inputs}}
    return out


def saved_video(server: ComfyServer, result) -> Path:
    (video,) = result.outputs["refine"]["images"]
    assert result.outputs["refine"]["animated"] == [True] and video["type"] == "output"
    return server.base / "output" / video["subfolder"] / video["filename"]


SMALL_PARTS = '''
import sys


class SmallParts:
    """Has a part of a video be one temporal group, as soon as a prompt has this node."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        for name, module in list(sys.modules.items()):
            if name.endswith("flashvideo_core.clip_parts"):
                module.SEGMENT = 1
        return {"required": {}}

    def run(self):
        return ()


NODE_CLASS_MAPPINGS = {"SmallParts": SmallParts}
'''


def test_a_killed_server_goes_on_to_the_same_bytes_which_are_the_command_line_s(tmp_path, monkeypatch):
    """Servers of their own, of which the first is killed while it writes. Against `refine`, which sums in another
    order, the latent agrees to SAMPLING, and so frames but for what H.264 rounds the other way."""
    parts, base = tmp_path / "small-parts", tmp_path / "base"
    for folder in (parts, base / "input"):
        folder.mkdir(parents=True)
    (parts / "__init__.py").write_text(SMALL_PARTS)
    write_small_models(base / "models")
    write_film(base / "input" / "film.mp4", 55)
    packs = {"ComfyUI-FlashVideo": PACK, "small-parts": parts}
    prompt = graph() | {"parts": {"class_type": "SmallParts", "inputs": {}}}
    with ComfyServer(packs, base=base) as server:
        server.submit(prompt)
        wait_for(base / UNFINISHED, "*.part-0001.safetensors")
        server.process.kill()
    assert not list((base / "output").glob("refined*"))
    (refined,) = (base / UNFINISHED).glob("*.refined.safetensors")
    latent, _ = load_draft(refined)
    with ComfyServer(packs, base=base) as server:
        gone_on = server.complete(prompt)
        said = [text for node, text in remarks(gone_on) if node == "refine"]
        assert any(text.startswith("going on after part ") for text in said), said
        assert not list((base / UNFINISHED).iterdir())
        server.forget()
        write_film(base / "input" / "film.mp4", 55)
        whole = server.complete(prompt)
        assert not any("going on" in text for _, text in remarks(whole))
        videos = [saved_video(server, result) for result in (gone_on, whole)]
    assert videos[0] != videos[1] and videos[0].read_bytes() == videos[1].read_bytes()
    own = refine_by_command(base, tmp_path / "cli", monkeypatch)
    wanted, _ = load_draft(own / ".refined.safetensors")
    assert (latent - wanted).abs().max() <= SAMPLING * wanted.abs().max()
    one, other = read_video(videos[0]), read_video(own / "final.mp4")
    assert one.frames.shape == (53, 32, 48, 3) and one.fps == other.fps == 12
    assert (one.frames - other.frames).abs().mean() <= 0.05 / 255
    assert torch.equal(one.audio.samples, other.audio.samples) and one.audio.samples.abs().max() > 0.2
    assert json.loads(one.metadata["prompt"])["refine"] == prompt["refine"]


def wait_for(folder: Path, pattern: str) -> None:
    deadline = time.monotonic() + 240
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def refine_by_command(base: Path, out: Path, monkeypatch) -> Path:
    """The folder of `refine` with the prompt's settings and parts, in which stage 2's latent is left."""
    monkeypatch.setattr(clip_writer, "remove_temporary", lambda job: None)
    monkeypatch.setattr(clip_parts, "SEGMENT", 1)
    files = {"stage2": "diffusion_models/small2", "vae": "vae/small", "t5": "text_encoders/small"}
    weights = [word for name, file in files.items() for word in (f"--{name}", f"{base}/models/{file}.safetensors")]
    options = [*OPTIONS.split(), "--prompt", "a red ball moves left", "--size", "32x48", "--device", "cpu"]
    assert main(["refine", f"{base}/input/film.mp4", *weights, *options, "--output", str(out)]) == 0
    return out


def test_a_video_of_images_is_refined_and_goes_on_to_other_nodes(server):
    """As ComfyUI's Create Video makes it, without sound, trimmed to 4n+1."""
    prompt = graph(video=["video", 0])
    del prompt["load"]
    image = {"width": 48, "height": 32, "batch_size": 7, "color": 0x4080C0}
    prompt["images"] = {"class_type": "EmptyImage", "inputs": image}
    prompt["video"] = {"class_type": "CreateVideo", "inputs": {"images": ["images", 0], "fps": 24.0}}
    prompt["components"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["refine", 0]}}
    prompt["show"] = {"class_type": "PreviewImage", "inputs": {"images": ["components", 0]}}
    result = server.complete(prompt)
    assert ("refine", "7 frames are trimmed to 5 (4n+1)") in remarks(result)
    clip = read_video(saved_video(server, result))
    assert (clip.frames.shape, clip.fps, clip.audio) == ((5, 32, 48, 3), 24, None)
    assert len(result.outputs["show"]["images"]) == 5


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"filename_prefix": "../out"}, "filename_prefix is '../out', where no video can be saved"),
        ({"model": ["model1", 0]}, "this is the stage-1 model; connect the stage-2 model here"),
        ({"width": 48, "height": 32, "video": ["late", 0]}, "it is trimmed to 1 seconds from 60 on"),
    ],
)
def test_bad_input_is_named_before_anything_is_sampled(server, inputs, message):
    write_film(server.base / "input" / "film.mp4", 9)
    prompt = graph(**inputs) | {"model1": two_stage_prompt()["model1"]}
    trim = {"video": ["load", 0], "start_time": 60.0, "duration": 1.0, "strict_duration": False}
    prompt["late"] = {"class_type": "Video Slice", "inputs": trim}
    result = server.run(prompt)
    assert result.error_node == "refine" and message in result.error, (result.error_node, result.error)
    assert result.progress("refine")[-1:] in ([], [(0.0, 1.0)])


def test_an_interrupted_run_leaves_no_video(server):
    write_film(server.base / "input" / "film.mp4", 49)
    prompt = graph(steps=20, filename_prefix="interrupted", windows="off")
    start = len(server.messages)
    prompt_id = server.submit(prompt)
    server.wait_for(lambda m: m["type"] == "progress_state" and is_under_way(m, 2), start)
    server.post("/interrupt", {})
    assert server.wait(prompt_id, start).error == "interrupted"
    assert not list((server.base / "output").glob("interrupted*"))


def is_under_way(message, evaluations: int) -> bool:
    """Whether stage 2 has made so many of its 20 evaluations."""
    state = message["data"]["nodes"].get("refine", {})
    return state.get("max") == 20 and state["value"] >= evaluations
