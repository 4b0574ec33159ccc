"""The nodes as a real ComfyUI lists them: a quiet start, ids, types, defaults, descriptions, files."""

import re

import pytest

pytestmark = pytest.mark.comfyui


def test_start_is_quiet_and_quick(server):
    log = server.start_log
    assert "IMPORT FAILED" not in log
    assert "Cannot import" not in log
    assert not [line for line in log.splitlines() if "WARNING" in line and "lash" in line]
    seconds = re.search(r"([\d.]+) seconds: \S*ComfyUI-FlashVideo", log)
    assert float(seconds[1]) < 1.0


# Ids, sockets, types and defaults are a contract (CONTRIBUTING.md, a node).
# An input is (type, default, options); a COMBO without default starts at its first option.
FILES = object()
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
    "FlashVideoVideoLoader": ({"file": ("COMBO", "FlashVideo/sample.mp4 [temp]", FILES)}, {}, [("video", "VIDEO")]),
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
        {
            "negative": ("CONDITIONING", None),
            "cfg_epsilon": ("FLOAT", 0),
            "store": ("BOOLEAN", False),
            "store_gb": ("FLOAT", 2),
        },
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
        {
            "negative": ("CONDITIONING", None),
            "windows": ("COMBO", "off", ["off", "time", "space", "time+space"]),
        },
        [("latent", "LATENT")],
    ),
    "FlashVideoRefineVideo": (
        {
            "video": ("VIDEO", None),
            "model": ("MODEL", None),
            "vae": ("VAE", None),
            "positive": ("CONDITIONING", None),
            "target": (
                "COMBO",
                "released 1920x1072",
                ["released 1920x1072", "16:9 1920x1088", "4x the draft", "custom"],
            ),
            "width": ("INT", 1920),
            "height": ("INT", 1072),
            "seed": ("INT", 0),
            "steps": ("INT", 4),
            "cfg": ("FLOAT", 13),
            "shift": ("FLOAT", 2.5),
            "noise_step": ("INT", 675),
            "windows": ("COMBO", "time", ["off", "time", "space", "time+space"]),
            "match": ("COMBO", "none", ["none", "color", "low frequencies"]),
            "filename_prefix": ("STRING", "video/FlashVideo"),
        },
        {"negative": ("CONDITIONING", None)},
        [("video", "VIDEO")],
    ),
    "FlashVideoSpeed": (
        {
            "model": ("MODEL", None),
            "attention": ("COMBO", "dense", ["dense", "windows"]),
            "window": ("COMBO", "24x40", ["24x40", "16x24", "32x56", "custom"]),
            "window_width": ("INT", 40),
            "window_height": ("INT", 24),
            "dense_evaluations": ("INT", 0),
            "guided_evaluations": ("INT", 0),
            "cache": ("FLOAT", 0),
        },
        {},
        [("model", "MODEL")],
    ),
    "FlashVideoDecode": (
        {
            "vae": ("VAE", None),
            "latent": ("LATENT", None),
            "tiling": ("COMBO", "auto", ["auto", "off", "large", "medium", "small"]),
            "crop": ("COMBO", "auto", ["auto", "none"]),
            "fps": ("FLOAT", 8),
        },
        {"match": ("COMBO", "none", ["none", "color", "low frequencies"]), "draft": ("IMAGE", None)},
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
    assert options("FlashVideoVAELoader", "vae_name")[-2:] == ["tiny (embedded)", "tiny decoder (embedded)"]
    assert options("FlashVideoTextEncoderLoader", "clip_name")[-1] == "tiny (embedded)"
