"""The shipped workflows: complete, made of known nodes and values, offered as templates, and they run."""

import copy
import json
import urllib.request

import av
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from support.comfy_server import PACK, ComfyServer, requires_comfyui
from support.editor_server import recorded
from support.make_workflows import wanted

from flashvideo_core.components import TINY
from flashvideo_core.config import from_json
from flashvideo_core.media.audio import Audio
from flashvideo_core.media.video_reader import read_video
from flashvideo_core.media.video_writer import write_video

WORKFLOWS = PACK / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
IN_EDITOR_ONLY = {"MarkdownNote"}
FILE_INPUTS = {"model_name", "vae_name", "clip_name", "lora_name", "file", "latent"}
LOADERS = {"FlashVideoModelLoader", "FlashVideoVAELoader", "CLIPLoader"}


def workflow(name: str) -> dict:
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def api(name: str) -> dict:
    return json.loads((WORKFLOWS / "api" / f"{name}.json").read_text())


def only(prompt: dict, class_type: str) -> dict:
    """The inputs of the only node of a class."""
    (node,) = [node for node in prompt.values() if node["class_type"] == class_type]
    return node["inputs"]


def test_the_five_workflows_are_there():
    assert NAMES == [
        "low-memory",
        "refine-a-video",
        "released-two-stage-with-review",
        "resume-from-draft",
        "tiny-two-stage",
    ]
    assert sorted(path.stem for path in (WORKFLOWS / "api").iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_has_a_picture_for_the_template_browser(name):
    with Image.open(WORKFLOWS / f"{name}.jpg") as picture:
        assert picture.width >= 800
    assert (WORKFLOWS / f"{name}.jpg").stat().st_size < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_have_the_same_nodes(name):
    shown = {str(n["id"]): n["type"] for n in workflow(name)["nodes"] if n["type"] not in IN_EDITOR_ONLY}
    assert shown == {id: node["class_type"] for id, node in api(name).items()}


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_values_are_those_of_the_nodes(name):
    infos = recorded()
    for node in api(name).values():
        required, optional = (infos[node["class_type"]]["input"].get(k, {}) for k in ("required", "optional"))
        assert set(required) <= set(node["inputs"]), node
        for key, value in node["inputs"].items():
            spec = {**required, **optional}.get(key.split(".")[0])
            assert spec is not None, (node["class_type"], key)
            options = spec[0] if isinstance(spec[0], list) else spec[1].get("options") if len(spec) > 1 else None
            if options and key not in FILE_INPUTS and "." not in key and not isinstance(options[0], dict):
                assert value in options, (node["class_type"], key, value)


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_offered_for_download(name):
    for node in workflow(name)["nodes"]:
        if node["type"] not in LOADERS:
            continue
        file = node["widgets_values"][0]
        offered = node["properties"].get("models", [])
        if "(embedded)" in file:
            assert offered == []
        else:
            assert [model["name"] for model in offered] == [file]
            assert offered[0]["url"].startswith("https://huggingface.co/")
            assert offered[0]["url"].endswith("/" + file)
            assert offered[0]["directory"] in ("diffusion_models", "vae", "text_encoders")


def test_seeds_stay_fixed():
    """A seed that moves on after each run would throw the reviewed drafts away."""
    for name in NAMES:
        for node in workflow(name)["nodes"]:
            if node["type"] in ("FlashVideoStage1", "FlashVideoStage2"):
                assert "fixed" in node["widgets_values"]


def test_tiny_uses_the_values_stored_with_its_weights():
    prompt = api("tiny-two-stage")
    for stage, names in (
        (1, {"steps": "steps", "cfg": "cfg", "guidance": "guidance", "frames": "frames"}),
        (2, {"steps": "steps", "cfg": "cfg", "shift": "shift", "noise_step": "ref_step"}),
    ):
        inputs = only(prompt, f"FlashVideoStage{stage}")
        with safe_open(TINY / f"stage{stage}.safetensors", "pt") as file:
            defaults = from_json(file.metadata()["config"]).defaults
        assert {key: inputs[key] for key in names} == {key: getattr(defaults, name) for key, name in names.items()}


def test_every_node_has_a_help_page_that_names_every_input():
    for name, info in recorded().items():
        if name.startswith("FlashVideo"):
            page = (PACK / "nodes" / "web" / "docs" / f"{name}.md").read_text()
            for key in [*info["input"].get("required", {}), *info["input"].get("optional", {})]:
                assert f"**{key}**" in page, (name, key)


def test_the_browser_code_asks_no_network():
    code = "".join(path.read_text() for path in (PACK / "nodes" / "web").rglob("*.js"))
    assert "http" not in code
    assert "import(" not in code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ComfyServer(base=tmp_path_factory.mktemp("comfy")) as running:
        yield running


def on_tiny(prompt: dict) -> dict:
    """The same graph with the embedded tiny model and small, short clips."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "FlashVideoModelLoader":
            inputs["model_name"] = f"tiny stage {1 if '1' in inputs['model_name'] else 2} (embedded)"
        elif node["class_type"] == "FlashVideoVAELoader":
            inputs["vae_name"] = "tiny (embedded)"
        elif node["class_type"] == "CLIPLoader":
            node.update(class_type="FlashVideoTextEncoderLoader", inputs={"clip_name": "tiny (embedded)"})
        elif node["class_type"] == "FlashVideoStage1":
            inputs.update(preset="custom", width=48, height=32, frames=5, steps=2)
        elif node["class_type"] == "FlashVideoHandoff":
            inputs.update(target="custom", width=96, height=64)
    return prompt


def with_pngs(prompt: dict) -> dict:
    """The same graph, which also saves the finished clip's frames without loss."""
    images = [only(prompt, "SaveVideo")["video"][0], 0]
    return prompt | {"png": {"class_type": "SaveImage", "inputs": {"filename_prefix": "frames", "images": images}}}


def pngs(server, result) -> list[bytes]:
    """The pixels of the saved frames, in their order."""
    return [Image.open(path).tobytes() for path in sorted(files(server, result)) if path.suffix == ".png"]


def files(server, result) -> list:
    """The files that the output nodes name, in the server's output folder."""
    out = []
    for output in result.outputs.values():
        for entry in [*output.get("images", []), *output.get("latents", [])]:
            if entry["type"] == "output":
                out.append(server.base / "output" / entry["subfolder"] / entry["filename"])
    return out


def clip(server, result):
    assert result.error is None, (result.error_node, result.error)
    (path,) = [path for path in files(server, result) if path.suffix == ".mp4"]
    return path


@pytest.mark.comfyui
@requires_comfyui
class TestInServer:
    def test_recording_is_what_the_server_says(self, server):
        live, kept = wanted(server.get("/object_info")), recorded()
        assert live.keys() == kept.keys()
        for name in live:
            assert without_files(live[name]) == without_files(kept[name]), name

    def test_offered_as_templates_with_pictures(self, server):
        assert sorted(server.get("/api/workflow_templates")["ComfyUI-FlashVideo"]) == NAMES
        for ending in ("json", "jpg"):
            url = f"{server.url}/api/workflow_templates/ComfyUI-FlashVideo/tiny-two-stage.{ending}"
            with urllib.request.urlopen(url, timeout=30) as response:
                assert response.status == 200

    def test_tiny_two_stage_runs_as_shipped(self, server):
        prompt = api("tiny-two-stage")
        result = server.run(prompt, timeout=900)
        with av.open(clip(server, result)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (384, 256)
            assert stream.average_rate == 8
            assert sum(1 for _ in container.decode(stream)) == 17

    @pytest.mark.parametrize("name", ["released-two-stage-with-review", "low-memory"])
    def test_review_holds_back_until_approved(self, server, name):
        prompt = on_tiny(api(name))
        assert only(prompt, "FlashVideoReview")["decision"] == "review"
        held = server.run(prompt)
        assert held.error is None
        assert files(server, held) == []
        only(prompt, "FlashVideoReview")["decision"] = "approve"
        video = read_video(clip(server, server.run(prompt)))
        assert video.frames.shape == (5, 64, 96, 3)

    def test_refine_a_video_keeps_fps_sound_and_colours(self, server):
        frames = torch.full((6, 32, 48, 3), 0.2)
        frames[..., 0] = torch.linspace(0.3, 0.9, 48)  # reddish, with some contrast to match
        tone = torch.sin(torch.arange(22050) * 0.05)[None]
        write_video(server.base / "input" / "clip.mp4", frames, 12, audio=Audio(tone, 44100))
        video = read_video(clip(server, server.run(on_tiny(api("refine-a-video")))))
        assert video.frames.shape == (5, 64, 96, 3)  # 4n+1 of the six frames
        assert video.fps == 12
        assert video.audio.samples.abs().max() > 0.1
        assert torch.allclose(video.frames.mean((0, 1, 2)), frames.mean((0, 1, 2)), atol=0.08)

    def test_resume_from_a_draft_saved_by_save_latent(self, server):
        """Compared as PNGs: ComfyUI's H.264 of the very same frames differs from run to run (seen in 0.33)."""
        prompt = with_pngs(on_tiny(api("released-two-stage-with-review")))
        only(prompt, "FlashVideoReview")["decision"] = "approve"
        first = server.run(prompt)
        assert read_video(clip(server, first)).frames.shape == (5, 64, 96, 3)
        (saved,) = [path for path in files(server, first) if path.suffix == ".latent"]
        resumed = with_pngs(on_tiny(api("resume-from-draft")))
        (server.base / "input" / only(resumed, "LoadLatent")["latent"]).write_bytes(saved.read_bytes())
        again = server.run(resumed)
        assert read_video(clip(server, again)).frames.shape == (5, 64, 96, 3)
        assert len(pngs(server, first)) == 5
        assert pngs(server, again) == pngs(server, first)


def without_files(info: dict) -> dict:
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
