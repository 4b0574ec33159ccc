"""The shipped workflows in a real ComfyUI: the recorded nodes are its own, templates are offered, and they run."""

import copy
import shutil
import urllib.request
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from support.comfyui import NodeInfo, Prompt
from support.editor_server import FILE_INPUTS, recorded
from support.make_workflows import select_nodes
from support.workflow_files import NAMES, inputs_of, load_prompt, on_tiny

from flashvideo_core.checkpoint import open_weights
from flashvideo_core.components import TINY
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video

pytestmark = pytest.mark.comfyui


def with_pngs(prompt: Prompt) -> Prompt:
    """The same graph, which also saves the finished clip's frames without loss."""
    images = [inputs_of(prompt, "SaveVideo")["video"][0], 0]
    return prompt | {"png": {"class_type": "SaveImage", "inputs": {"filename_prefix": "frames", "images": images}}}


def pngs(server, result) -> list[bytes]:
    """The pixels of the saved frames, in their order."""
    return [Image.open(path).tobytes() for path in sorted(files(server, result)) if path.suffix == ".png"]


def files(server, result) -> list[Path]:
    """The files that the output nodes name, in the server's output folder."""
    out = []
    for output in result.outputs.values():
        for entry in [*output.get("images", []), *output.get("latents", [])]:
            if entry["type"] == "output":
                out.append(server.base / "output" / entry["subfolder"] / entry["filename"])
    return out


def clip(server, result) -> Path:
    assert result.error is None, (result.error_node, result.error)
    (path,) = [path for path in files(server, result) if path.suffix == ".mp4"]
    return path


def test_recording_is_what_the_server_says(server):
    live, kept = select_nodes(server.get("/object_info")), recorded()
    assert live.keys() == kept.keys()
    for name in live:
        assert without_files(live[name]) == without_files(kept[name]), name


def test_offered_as_templates_with_pictures(server):
    assert sorted(server.get("/api/workflow_templates")["ComfyUI-FlashVideo"]) == NAMES
    for ending in ("json", "jpg"):
        url = f"{server.url}/api/workflow_templates/ComfyUI-FlashVideo/tiny-two-stage.{ending}"
        with urllib.request.urlopen(url, timeout=30) as response:
            assert response.status == 200


def test_tiny_two_stage_runs_as_shipped(server):
    prompt = load_prompt("tiny-two-stage")
    result = server.run(prompt, timeout=900)
    with av.open(clip(server, result)) as container:
        stream = container.streams.video[0]
        wanted = open_weights(TINY / "stage2.safetensors").config.defaults
        assert (stream.height, stream.width) == wanted.size
        assert stream.average_rate == wanted.fps
        assert sum(1 for _ in container.decode(stream)) == wanted.frames


def test_one_evaluation_by_either_lora_loader(server):
    """The student as shipped, and its file through ComfyUI's own loader; stage 2 without it makes another clip."""
    prompt = with_pngs(on_tiny(load_prompt("tiny-one-evaluation")))
    stage2, lora = (inputs_of(prompt, name) for name in ("FlashVideoStage2", "FlashVideoLoRALoader"))
    assert (stage2["steps"], stage2["cfg"]) == (1, 1.0)
    ours = pngs(server, server.complete(prompt))
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    shutil.copyfile(TINY / "lora.safetensors", server.base / "models" / "loras" / "student.safetensors")
    inputs = {"model": lora["model"], "lora_name": "student.safetensors", "strength_model": 1.0}
    prompt[stage2["model"][0]] = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    theirs = pngs(server, server.complete(prompt))
    stage2["model"] = lora["model"]
    assert len(ours) == 5 and ours == theirs
    assert ours != pngs(server, server.complete(prompt))


@pytest.mark.parametrize("name", ["released-two-stage-with-review", "low-memory"])
def test_review_holds_back_until_approved(server, name):
    prompt = on_tiny(load_prompt(name))
    assert inputs_of(prompt, "FlashVideoReview")["decision"] == "review"
    held = server.run(prompt)
    assert held.error is None
    assert files(server, held) == []
    inputs_of(prompt, "FlashVideoReview")["decision"] = "approve"
    video = read_video(clip(server, server.run(prompt)))
    assert video.frames.shape == (5, 64, 96, 3)


def test_refine_a_video_keeps_fps_sound_and_colours(server):
    frames = torch.full((6, 32, 48, 3), 0.2)
    frames[..., 0] = torch.linspace(0.3, 0.9, 48)  # reddish, with some contrast to match
    tone = torch.sin(torch.arange(22050) * 0.05)[None]
    write_video(server.base / "input" / "clip.mp4", frames, 12, audio=Audio(tone, 44100))
    prompt = on_tiny(load_prompt("refine-a-video"))
    inputs_of(prompt, "FlashVideoVideoLoader")["file"] = "clip.mp4"
    video = read_video(clip(server, server.run(prompt)))
    assert video.frames.shape == (5, 64, 96, 3)  # 4n+1 of the six frames
    assert video.fps == 12
    assert video.audio.samples.abs().max() > 0.1
    assert torch.allclose(video.frames.mean((0, 1, 2)), frames.mean((0, 1, 2)), atol=0.08)


def test_refine_a_video_starts_with_the_sample(server):
    video = read_video(clip(server, server.run(on_tiny(load_prompt("refine-a-video")))))
    assert video.frames.shape == (17, 64, 96, 3) and video.fps == 8


def test_refine_a_long_video_starts_with_the_sample(server):
    video = read_video(clip(server, server.run(on_tiny(load_prompt("refine-a-long-video")))))
    assert video.frames.shape == (17, 64, 96, 3) and video.fps == 8


def test_resume_from_a_draft_saved_by_save_latent(server):
    """Compared as PNGs: ComfyUI's H.264 of the very same frames differs from run to run (seen in 0.33)."""
    prompt = with_pngs(on_tiny(load_prompt("released-two-stage-with-review")))
    inputs_of(prompt, "FlashVideoReview")["decision"] = "approve"
    first = server.run(prompt)
    assert read_video(clip(server, first)).frames.shape == (5, 64, 96, 3)
    (saved,) = [path for path in files(server, first) if path.suffix == ".latent"]
    resumed = with_pngs(on_tiny(load_prompt("resume-from-draft")))
    (server.base / "input" / inputs_of(resumed, "LoadLatent")["latent"]).write_bytes(saved.read_bytes())
    again = server.run(resumed)
    assert read_video(clip(server, again)).frames.shape == (5, 64, 96, 3)
    assert len(pngs(server, first)) == 5
    assert pngs(server, again) == pngs(server, first)


def without_files(info: NodeInfo) -> NodeInfo:
    """A node's definition without the lists of files, which differ between machines."""
    info = copy.deepcopy(info)
    for group in info["input"].values():
        for key, spec in group.items():
            if key in FILE_INPUTS and isinstance(spec[0], list):
                spec[0] = []
            elif key in FILE_INPUTS and len(spec) > 1:
                spec[1].pop("options", None)
                spec[1].pop("default", None)
    return info
