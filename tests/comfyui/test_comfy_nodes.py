"""The nodes in a real ComfyUI server: schemas, whole runs, cache, progress, interrupt, bad input, memory."""

import base64
import copy
import io
import re
import time
from pathlib import Path

import av
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.comfy_models import two_stage_prompt
from support.comfy_server import PACK, ComfyServer, requires_comfyui

pytestmark = [pytest.mark.comfyui, requires_comfyui]


@pytest.fixture
def prompt():
    return two_stage_prompt()


def ok(result):
    assert result.error is None, (result.error_node, result.error)
    return result


def with_outputs(prompt: dict, **outputs) -> dict:
    """The prompt with a Save Latent node for each name=link instead of the saved clip."""
    out = {name: node for name, node in prompt.items() if name != "save"}
    for name, link in outputs.items():
        out[name] = {"class_type": "SaveLatent", "inputs": {"samples": link, "filename_prefix": name}}
    return out


def saved_latents(server, result) -> dict[str, torch.Tensor]:
    out = {}
    for name, output in result.outputs.items():
        entry = output["latents"][0]
        out[name] = load_file(server.base / "output" / entry["subfolder"] / entry["filename"])["latent_tensor"]
    return out


# Start and schemas


def test_start_is_quiet_and_quick(server):
    log = server.log()
    assert "IMPORT FAILED" not in log
    assert "Cannot import" not in log
    assert not [line for line in log.splitlines() if "WARNING" in line and "lash" in line]
    seconds = re.search(r"([\d.]+) seconds: \S*ComfyUI-FlashVideo", log)
    assert float(seconds[1]) < 1.0


# The table of design.md. An input is (type, default, options); a COMBO without default starts at its first option.
FILES = object()
SEED, INT, FLOAT = ("INT", 0), "INT", "FLOAT"
MOTIONS = ["none", "very low motion", "low motion", "medium motion", "high motion", "very high motion"]
TABLE = {
    "FlashVideoModelLoader": (
        {
            "model_name": ("COMBO", None, FILES),
            "weight_dtype": ("COMBO", "default", ["default", "fp8_e4m3fn", "bf16", "fp16", "fp32"]),
        },
        {},
        [("model", "MODEL")],
    ),
    "FlashVideoVAELoader": ({"vae_name": ("COMBO", None, FILES)}, {}, [("vae", "VAE")]),
    "FlashVideoTextEncoderLoader": ({"clip_name": ("COMBO", None, FILES)}, {}, [("clip", "CLIP")]),
    "FlashVideoTextEncode": (
        {
            "clip": ("CLIP", None),
            "prompt": ("STRING", None),
            "motion": ("COMBO", "medium motion", MOTIONS),
            "negative_prompt": ("STRING", ""),
        },
        {},
        [("stage1", "CONDITIONING"), ("stage2", "CONDITIONING"), ("negative", "CONDITIONING")],
    ),
    "FlashVideoStage1": (
        {
            "model": ("MODEL", None),
            "positive": ("CONDITIONING", None),
            "seed": ("INT", 0),
            "steps": ("INT", 51),
            "cfg": ("FLOAT", 8),
            "guidance": ("COMBO", "released", ["released", "constant"]),
            "preset": (
                "COMBO",
                "released 480x256",
                ["released 480x256", "16:9 480x272", "tiny 96x64", "custom"],
            ),
            "width": ("INT", 480),
            "height": ("INT", 256),
            "frames": ("INT", 49),
            "drafts": ("INT", 1),
        },
        {"negative": ("CONDITIONING", None)},
        [("latent", "LATENT")],
    ),
    "FlashVideoHandoff": (
        {
            "vae": ("VAE", None),
            "target": (
                "COMBO",
                "released 1920x1072",
                ["released 1920x1072", "16:9 1920x1088", "4x the draft", "custom"],
            ),
            "width": ("INT", 1920),
            "height": ("INT", 1072),
        },
        {"latent": ("LATENT", None), "images": ("IMAGE", None)},
        [("latent", "LATENT")],
    ),
    "FlashVideoStage2": (
        {
            "model": ("MODEL", None),
            "positive": ("CONDITIONING", None),
            "latent": ("LATENT", None),
            "seed": ("INT", 0),
            "steps": ("INT", 4),
            "cfg": ("FLOAT", 13),
            "shift": ("FLOAT", 2.5),
            "noise_step": ("INT", 675),
        },
        {"negative": ("CONDITIONING", None)},
        [("latent", "LATENT")],
    ),
    "FlashVideoDecode": (
        {
            "vae": ("VAE", None),
            "latent": ("LATENT", None),
            "tiling": ("COMBO", "auto", ["auto", "off", "large", "medium", "small"]),
            "crop": ("COMBO", "auto", ["auto", "none"]),
            "fps": ("FLOAT", 8),
        },
        {},
        [("images", "IMAGE"), ("video", "VIDEO")],
    ),
}


@pytest.mark.parametrize("node", TABLE)
def test_ids_types_and_defaults_are_those_of_the_table(server, node):
    info = server.get(f"/object_info/{node}")[node]
    required, optional, outputs = TABLE[node]
    for group, wanted in (("required", required), ("optional", optional)):
        found = info["input"].get(group, {})
        assert set(found) == set(wanted)
        for name, (kind, default, *options) in wanted.items():
            assert found[name][0] == kind, name
            assert found[name][1].get("default") == default, name
            if options and options[0] is not FILES:
                assert sorted(found[name][1]["options"]) == sorted(options[0]), name
    assert list(zip(info["output_name"], info["output"], strict=True)) == outputs


def test_every_node_is_described(server):
    nodes = {name: info for name, info in server.get("/object_info").items() if name.startswith("FlashVideo")}
    assert set(TABLE) <= set(nodes)
    for name, info in nodes.items():
        assert info["category"].split("/")[0] == "FlashVideo"
        assert info["display_name"].startswith("FlashVideo ")
        assert info["description"] and "flashvideo" in info["search_aliases"], name
        for group in ("required", "optional"):
            for input_name, (_, options, *_) in info["input"].get(group, {}).items():
                assert options.get("tooltip"), f"{name}.{input_name} has no tooltip"


def test_loaders_list_files_and_the_embedded_model(server):
    def options(node, name):
        return server.get(f"/object_info/{node}")[node]["input"]["required"][name][1]["options"]

    models = options("FlashVideoModelLoader", "model_name")
    embedded = ["tiny stage 1 (embedded)", "tiny stage 2 (embedded)"]
    assert models == ["small1.safetensors", "small2.safetensors", *embedded]
    assert options("FlashVideoVAELoader", "vae_name")[-1] == "tiny (embedded)"
    assert options("FlashVideoTextEncoderLoader", "clip_name")[-1] == "tiny (embedded)"


# Whole runs


def test_prompt_to_video_file_and_cache(server, prompt):
    first = ok(server.run(prompt))
    assert set(first.executed) == set(prompt)
    with av.open(str(server.base / "output" / first.outputs["save"]["images"][0]["filename"])) as file:
        frames = list(file.decode(video=0))
        stream = file.streams.video[0]
        assert (len(frames), stream.width, stream.height, stream.average_rate) == (5, 96, 64, 8)
    for change, again in (
        ({}, set()),
        ({"stage2": {"seed": 2}}, {"stage2", "decode", "save"}),
        ({"decode": {"fps": 16.0}}, {"decode", "save"}),
        ({"handoff": {"width": 112}}, {"handoff", "stage2", "decode", "save"}),
        ({"text": {"motion": "none"}}, {"text", "stage1", "handoff", "stage2", "decode", "save"}),
    ):
        for node, inputs in change.items():  # each beside the changes before it
            prompt[node]["inputs"] |= inputs
        result = ok(server.run(prompt))
        assert set(result.executed) == again, change


def test_stage1_alone_by_partial_execution_then_the_rest(server, prompt):
    prompt["stage1"]["inputs"]["seed"] = 77
    prompt["look"] = {"class_type": "VAEDecode", "inputs": {"samples": ["stage1", 0], "vae": ["vae", 0]}}
    prompt["show"] = {"class_type": "PreviewImage", "inputs": {"images": ["look", 0]}}
    part = ok(server.run(prompt, targets=["show"]))
    assert "stage1" in part.executed and not {"handoff", "stage2", "save"} & set(part.executed)
    whole = ok(server.run(prompt))
    assert "stage1" in whole.cached
    assert {"handoff", "stage2", "decode", "save"} <= set(whole.executed)


def test_drafts_are_reproducible_singly(server, prompt):
    prompt["stage1"]["inputs"] |= {"drafts": 3, "seed": 10}
    several = saved_latents(server, ok(server.run(with_outputs(prompt, a=["stage1", 0]))))["a"]
    prompt["stage1"]["inputs"] |= {"drafts": 1, "seed": 11}
    alone = saved_latents(server, ok(server.run(with_outputs(prompt, b=["stage1", 0]))))["b"]
    assert several.shape == (3, 16, 2, 4, 6)
    assert torch.equal(several[1:2], alone)
    assert not torch.equal(several[0:1], alone)


def test_core_nodes_give_the_same(server, prompt):
    """KSampler equals Stage 2; custom sampling equals Stage 1; VAE Encode equals the hand-off's encoder."""
    sampling = {"steps": 4, "cfg": 13.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "seed": 1}
    links = {"positive": ["text", 1], "negative": ["text", 2], "latent_image": ["handoff", 0]}
    prompt["ksampler"] = {"class_type": "KSampler", "inputs": {"model": ["model2", 0], **links, **sampling}}
    guidance = {"cfg": 8.0, "guidance": "released", "positive": ["text", 0], "negative": ["text", 2]}
    prompt["guider"] = {"class_type": "FlashVideoGuider", "inputs": {"model": ["model1", 0], **guidance}}
    prompt["sigmas"] = {"class_type": "FlashVideoSigmas", "inputs": {"model": ["model1", 0], "steps": 4}}
    prompt["sampler"] = {"class_type": "FlashVideoSampler", "inputs": {"model": ["model1", 0]}}
    prompt["noise"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 1}}
    size = {"width": 48, "height": 32, "length": 5, "batch_size": 1}
    prompt["empty"] = {"class_type": "EmptyHunyuanLatentVideo", "inputs": size}
    links = {"noise": ["noise", 0], "guider": ["guider", 0], "sampler": ["sampler", 0], "sigmas": ["sigmas", 0]}
    prompt["custom"] = {"class_type": "SamplerCustomAdvanced", "inputs": {**links, "latent_image": ["empty", 0]}}
    prompt["frames"] = {"class_type": "VAEDecode", "inputs": {"samples": ["stage1", 0], "vae": ["vae", 0]}}
    resize = {"width": 96, "height": 64, "upscale_method": "nearest-exact", "crop": "disabled"}
    prompt["resize"] = {"class_type": "ImageScale", "inputs": {"image": ["frames", 0], **resize}}
    prompt["encode"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["resize", 0], "vae": ["vae", 0]}}
    same_size = {"vae": ["vae", 0], "images": ["resize", 0], "target": "custom", "width": 96, "height": 64}
    prompt["handoff2"] = {"class_type": "FlashVideoHandoff", "inputs": same_size}
    ends = {"a": "stage2", "b": "ksampler", "c": "stage1", "d": "custom", "e": "encode", "f": "handoff2"}
    out = saved_latents(server, ok(server.run(with_outputs(prompt, **{k: [v, 0] for k, v in ends.items()}))))
    for ours, core in (("a", "b"), ("c", "d"), ("e", "f")):
        assert torch.allclose(out[ours], out[core], rtol=0, atol=1e-5 * float(out[core].abs().max())), (ours, core)


def test_saved_draft_is_loaded_and_refined(server, prompt):
    draft = ok(server.run(with_outputs(prompt, a=["stage1", 0], b=["stage2", 0])))
    wanted = saved_latents(server, draft)["b"]
    name = draft.outputs["a"]["latents"][0]["filename"]
    (server.base / "output" / name).rename(server.base / "input" / name)
    prompt["load"] = {"class_type": "LoadLatent", "inputs": {"latent": name}}
    prompt["handoff"]["inputs"]["latent"] = ["load", 0]
    resumed = ok(server.run(with_outputs(prompt, c=["stage2", 0])))
    assert "stage1" not in resumed.executed
    assert torch.equal(saved_latents(server, resumed)["c"], wanted)


def test_lora_loaders(server, prompt):
    """ComfyUI's own loader and ours on a generic LoRA; ours on diffusers' names. Each changes the draft alike."""
    (server.base / "models" / "loras").mkdir(exist_ok=True)
    g = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 64, generator=g), torch.randn(64, 4, generator=g)
    names = {"generic": "diffusion_model.blocks.0.attn_out", "cog": "transformer.transformer_blocks.0.attn1.to_out.0"}
    for file, name in names.items():
        pair = {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        save_file(pair, server.base / "models" / "loras" / f"{file}.safetensors")
    loaders = {
        "core": ("LoraLoaderModelOnly", {"lora_name": "generic.safetensors", "strength_model": 0.5}),
        "ours": ("FlashVideoLoRALoader", {"lora_name": "generic.safetensors", "strength": 0.5}),
        "cog": ("FlashVideoLoRALoader", {"lora_name": "cog.safetensors", "strength": 0.5}),
    }
    ends = {"plain": ["stage1", 0]}
    for name, (kind, inputs) in loaders.items():
        prompt[f"lora_{name}"] = {"class_type": kind, "inputs": {"model": ["model1", 0], **inputs}}
        prompt[f"stage1_{name}"] = copy.deepcopy(prompt["stage1"])
        prompt[f"stage1_{name}"]["inputs"]["model"] = [f"lora_{name}", 0]
        ends[name] = [f"stage1_{name}", 0]
    out = saved_latents(server, ok(server.run(with_outputs(prompt, **ends))))
    assert torch.equal(out["core"], out["ours"])
    assert torch.equal(out["core"], out["cog"])
    assert not torch.allclose(out["core"], out["plain"], atol=1e-3)


@pytest.mark.parametrize("dtype", ["fp8_e4m3fn", "bf16", "fp16", "fp32"])
def test_weight_dtypes(server, prompt, dtype):
    prompt["model1"]["inputs"]["weight_dtype"] = prompt["model2"]["inputs"]["weight_dtype"] = dtype
    latent = saved_latents(server, ok(server.run(with_outputs(prompt, a=["stage2", 0]))))["a"]
    assert torch.isfinite(latent).all()


# Progress, preview, interrupt, errors


def test_progress_counts_evaluations_and_previews_are_pictures(server, prompt):
    prompt["stage1"]["inputs"] |= {"seed": 500, "drafts": 2}
    result = ok(server.run(prompt, extra_data={"preview_method": "latent2rgb"}))
    assert result.progress("stage1")[-1] == result.progress("stage2")[-1] == (8, 8)  # two drafts, four steps each
    assert result.progress("handoff")[-1] == (400, 400)
    pictures = [picture(message) for message in result.previews()]
    sizes = [image.size for image in pictures if image]
    assert len(sizes) >= 8 + 8
    assert set(sizes) == {(512, 341)}  # the server enlarges 6x4 and 12x8 latents alike


def picture(message: dict) -> Image.Image | None:
    """The picture of a preview message: kind 1 has a four-byte type before it, kind 4 metadata."""
    data = base64.b64decode(message["data"])
    if message["kind"] not in (1, 4):
        return None
    start = 4 if message["kind"] == 1 else 4 + int.from_bytes(data[:4], "big")
    return Image.open(io.BytesIO(data[start:]))


def test_interrupt_stops_and_the_next_run_works(server, prompt):
    long = copy.deepcopy(prompt)
    long["stage1"]["inputs"] |= {"steps": 999, "width": 192, "height": 128, "frames": 17, "seed": 900}
    start = len(server.messages)
    prompt_id = server.submit(long)

    def sampling(message):
        return message["type"] == "progress" and message["data"]["node"] == "stage1" and message["data"]["value"] >= 1

    server.wait_for(sampling, start)
    asked = time.monotonic()
    server.post("/interrupt", {})
    result = server.wait(prompt_id, start)
    assert result.error == "interrupted"
    assert result.error_node == "stage1"
    assert time.monotonic() - asked < 10
    prompt["stage1"]["inputs"]["seed"] = 901
    ok(server.run(prompt))


@pytest.mark.parametrize(
    ("node", "inputs", "text"),
    [
        ("stage1", {"model": ["model2", 0]}, "stage-2 model; connect the stage-1 model here"),
        ("stage2", {"model": ["model1", 0]}, "stage-1 model; connect the stage-2 model here"),
        ("stage1", {"frames": 6}, "frames is 6; it must be 4n+1"),
        ("text", {"prompt": "  "}, "the prompt is empty"),
        ("handoff", {"latent": None}, "either a latent or images"),
    ],
)
def test_bad_input_is_one_sentence_at_its_node(server, prompt, node, inputs, text):
    prompt[node]["inputs"] = {k: v for k, v in (prompt[node]["inputs"] | inputs).items() if v is not None}
    result = server.run(prompt)
    assert result.error_node == node
    assert text in result.error
    assert len(result.error.strip().splitlines()) == 1


def test_what_the_handoff_changes_is_said_under_the_node(server, prompt):
    prompt["frames"] = {"class_type": "EmptyImage", "inputs": {"width": 48, "height": 32, "batch_size": 7, "color": 0}}
    del prompt["handoff"]["inputs"]["latent"]
    prompt["handoff"]["inputs"] |= {"images": ["frames", 0], "width": 100, "height": 70}
    result = ok(server.run(with_outputs(prompt, a=["handoff", 0])))
    assert saved_latents(server, result)["a"].shape == (1, 16, 2, 8, 12)
    texts = [base64.b64decode(m["data"]) for m in result.previews() if m["kind"] == 3]
    wanted = b"100x70 is floored to 96x64 (multiples of 16); 7 frames are trimmed to 5 (4n+1)"
    assert any(b"handoff" in text and wanted in text for text in texts), texts


@pytest.mark.parametrize(
    ("node", "inputs"),
    [("stage1", {"steps": 1}), ("stage2", {"noise_step": 1000}), ("model1", {"model_name": "../x"})],
)
def test_impossible_values_are_refused_before_the_run(server, prompt, node, inputs):
    prompt[node]["inputs"] |= inputs
    with pytest.raises(ValueError, match=next(iter(inputs))):
        server.submit(prompt)


def test_other_files_are_refused_with_their_place(server, prompt):
    (server.base / "models" / "diffusion_models" / "wrong.safetensors").write_bytes(
        (server.base / "models" / "vae" / "small.safetensors").read_bytes()
    )
    prompt["model1"]["inputs"]["model_name"] = "wrong.safetensors"
    result = server.run(prompt)
    assert result.error_node == "model1" and "not a FlashVideo stage" in result.error


# Memory, neighbours


def test_twenty_runs_leave_memory_flat(server, prompt):
    prompt["stage1"]["inputs"]["steps"] = prompt["stage2"]["inputs"]["steps"] = 2
    sizes = []
    for seed in range(1000, 1025):
        prompt["stage1"]["inputs"]["seed"] = seed
        ok(server.run(prompt))
        sizes.append(server.rss())
    settled = sizes[5:]  # allocator and caches have settled
    assert max(settled[-5:]) - max(settled[:5]) < 32 << 20, [size >> 20 for size in sizes]


def test_another_pack_with_the_same_inner_names(tmp_path):
    """A pack that has its own `nodes` and `flashvideo_core` packages loads beside ours, and neither sees the other."""
    other = tmp_path / "other-pack"
    (other / "nodes").mkdir(parents=True)
    (other / "flashvideo_core").mkdir()
    (other / "flashvideo_core" / "__init__.py").write_text("VALUE = 'theirs'\n")
    (other / "nodes" / "__init__.py").write_text(OTHER_PACK)
    (other / "__init__.py").write_text("from .nodes import NODE_CLASS_MAPPINGS\n")
    base = tmp_path / "base"
    base.mkdir()
    with ComfyServer({"ComfyUI-FlashVideo": PACK, "other-pack": other}, base=base) as server:
        found = server.get("/object_info")
        assert {"OtherNode", "FlashVideoStage1", "KSampler"} <= set(found)
        assert "IMPORT FAILED" not in server.log()
    before = everything_under(base)
    with ComfyServer({}, base=base) as server:  # uninstalled
        assert not [name for name in server.get("/object_info") if name.startswith("FlashVideo")]
    left = [path for path in before & everything_under(base) if "lash" in path.name and not path.is_symlink()]
    assert not left, "the pack left files behind"


OTHER_PACK = """
from ..flashvideo_core import VALUE


class OtherNode:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "run", VALUE

    def run(self):
        return (VALUE,)


NODE_CLASS_MAPPINGS = {"OtherNode": OtherNode}
"""


def everything_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "custom_nodes" not in path.parts[len(folder.parts) :]}
