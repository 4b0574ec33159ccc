"""Records of any content: one sentence that names the key, or a record that is what it says; never a traceback."""

import copy
import json
import os

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from flashvideo_core.cli import components, from_record
from flashvideo_core.cli.describe import describe_file
from flashvideo_core.cli.record import Record, read_record
from flashvideo_core.cli.record_schema import DTYPE_NAMES
from flashvideo_core.cli.saved_draft import SavedDraft
from flashvideo_core.cli.tables import fact_lines
from flashvideo_core.components import load_embeddings
from flashvideo_core.errors import InputError

HASH = {"file": "embedded", "sha256": 64 * "1"}
CLIP = {
    "prompt": "a blue star",
    "stage1": {"frames": 5, "height": 64, "width": 80, "steps": 5, "cfg": 3.0, "guidance": "constant", "seed": 5},
    "stage2": {"height": 128, "width": 192, "steps": 2, "cfg": 1.0, "shift": 2.5, "ref_step": 30, "seed": 9},
    "weights": {"stage1": HASH, "stage2": HASH, "vae": HASH, "text": HASH},
    "dtype": "float32",
    "device": "cpu",
    "fps": 8,
    "crf": 17,
    "attention": "chunked",
    "kernel": "chunked",
    "software": {"flashvideo": "0.1.0", "torch": "2.13.0+cpu", "threads": 2},
    "paths": {"vae": "/somewhere/vae.pt"},
}
CLIP["stage1"] |= {"negative": "blurry", "tiles": {"decode": [24, 32], "branches": 2}}
CLIP["stage2"] |= {"tiles": {"encode": None, "decode": 24576, "branches": 1}}

WRONG = {
    "prompt": [None, 7, [1], {}, "\ud800"],
    "dtype": [7, "int8", [], {}],
    "device": [7, ["cpu"]],
    "fps": ["x", [8], "1/0", 0, -8, float("nan"), 10**9, "100000/1", "1e999999999", True, {}],
    "crf": ["x", 52, -1, float("nan"), [1], True],
    "codec": [5, "h266", {}],
    "bit_depth": ["8", 9, 16, {}],
    "attention": [5, {}],
    "kernel": [5, {}],
    "source": [5, [], {"file": 5}, {}],
    "paths": [5, {"vae": 5}, []],
    "weights": [5, [], "x", {}, {"stage1": HASH}, {"stage1": "x", "text": HASH}, {"stage1": {"file": "a"}}],
    "software": [5, [1], "x"],
    "software.threads": ["x", 0, -1, 1.5],
    "software.torch": [5],
    "stage1": [None, 5, "x", [1], {}],
    "stage2": [None, 5, "x", [1], {}],
    "stage1.frames": ["5", 5.0, None, -5, [5], True],
    "stage1.cfg": ["x", None, float("inf")],
    "stage1.seed": [-1, 1.5, "x", 2**64, None],
    "stage1.negative": [5, [], "\udc80"],
    "stage1.guidance": [5, "none", None],
    "stage1.tiles": ["x", [1, 2]],
    "stage1.tiles.decode": [[-1, -1], [0, 0], [1, 1], [24], "abc", -5, 0.5, [24, 32, 40]],
    "stage1.tiles.branches": [0, 3, "x"],
    "stage1.tiles.brightness": [1],
    "stage2.shift": [0, -1, float("nan"), "x", None],
    "stage2.ref_step": [-1, 1000, 30.5],
    "stage2.height": [-5, 0, 65, "x"],
}
NAMES = {"stage2.ref_step": "noise step|ref_step"}  # what they are called on the command line


def changed(key: str, value: object) -> dict:
    record = copy.deepcopy(CLIP)
    *tables, name = key.split(".")
    inner = record
    for table in tables:
        inner = inner[table]
    inner[name] = value
    return record


@pytest.mark.parametrize(("key", "values"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_refused_with_the_name_of_its_key(key, values, tmp_path):
    for value in values:
        (tmp_path / "clip.json").write_text(json.dumps(changed(key, value)))
        with pytest.raises(InputError, match=NAMES.get(key, key.split(".")[-1])) as caught:
            read_record(tmp_path)
        text = str(caught.value)
        assert text.startswith(f"{tmp_path}") and "\n" not in text and text.isascii()


def test_what_may_be_absent_may_be_null():
    for key in ("crf", "attention", "kernel", "source", "software", "paths"):
        expected = Record.from_json({name: value for name, value in CLIP.items() if name != key})
        assert Record.from_json(changed(key, None)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = [*WRONG, *CLIP, *(f"stage1.{name}" for name in CLIP["stage1"])]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(KEYS), JSON)
def test_any_value_is_refused_or_kept(tmp_path, key, value):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps(changed(key, value)))
    try:
        record = read_record(path)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert all(isinstance(line, str) for line in fact_lines("x", describe_file(path)))


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, "", "\0", "[]", "5", '"x"', "null", "{", "1" * 5000])
def test_what_is_no_record(text, tmp_path):
    (tmp_path / "clip.json").write_text(text)
    with pytest.raises(InputError, match="holds no record of a clip of ours"):
        read_record(tmp_path)
    save_file({"latent_tensor": torch.zeros(1, 16, 1, 2, 2)}, tmp_path / "d.safetensors", {"flashvideo_draft": text})
    with pytest.raises(InputError, match="has damaged metadata"):
        SavedDraft.load(tmp_path / "d.safetensors")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.float8_e4m3fn, torch.complex64], ids=str)
def test_latents_and_embeddings_of_other_types(dtype, tmp_path):
    save_file({"latent_tensor": torch.zeros(1, 16, 1, 2, 2).to(dtype)}, tmp_path / "d.safetensors")
    with pytest.raises(InputError, match=f"holds a latent in {str(dtype)[6:]}; float32"):
        SavedDraft.load(tmp_path / "d.safetensors")
    save_file({f"stage{i}": torch.zeros(1, 2, 4).to(dtype) for i in (1, 2)}, tmp_path / "e.safetensors")
    with pytest.raises(InputError, match=f"holds stage1 in {str(dtype)[6:]}; float32"):
        load_embeddings(tmp_path / "e.safetensors")


def test_threads_that_no_machine_has_are_not_started():
    threads, said = torch.get_num_threads(), []
    from_record.repeat_threads(Record.from_json(changed("software.threads", 10**6)), said.append)
    assert torch.get_num_threads() == threads and "1000000 threads, too many" in said[0]


def test_the_names_of_dtypes_are_those_of_the_command_line():
    assert set(DTYPE_NAMES) == components.DTYPES.keys()


def test_a_draft_and_its_folder(tmp_path):
    save_file({"latent_tensor": torch.zeros(1, 16, 1, 2, 2)}, tmp_path / "draft.safetensors")
    for path in (tmp_path, tmp_path / "draft.safetensors"):
        assert describe_file(path)["kind"] == "draft"
        with pytest.raises(InputError, match="is a draft, which is no clip yet; go on from it with: refine"):
            read_record(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_draft_is_called_so(tmp_path):
    save_file({"latent_tensor": torch.zeros(1, 16, 1, 2, 2)}, tmp_path / "draft.safetensors")
    (tmp_path / "draft.safetensors").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        SavedDraft.load(tmp_path / "draft.safetensors")
