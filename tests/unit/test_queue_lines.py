"""Prompt files and workflows of the batch client, and which values go where; no server."""

import copy

import pytest
from support.cli_run import ROOT, run
from support.queue_graph import make_review_graph

from flashvideo_core.cli.queue import drop_doubles, read_prompt_lines
from flashvideo_core.cli.workflow import (
    LOAD_DRAFTS,
    PromptLine,
    fill_graph,
    find_upstream,
    fingerprint,
    load_drafts,
    load_workflow,
)
from flashvideo_core.errors import InputError


def test_a_prompt_a_line_or_json(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text('a red ball\n\n  {"prompt": "a blue ball", "seed": 7}\n')
    assert read_prompt_lines(path) == [
        PromptLine("a red ball", {"prompt": "a red ball"}),
        PromptLine("a blue ball", {"prompt": "a blue ball", "seed": 7}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no prompt"),
        (b'x\n{"seed": 1}', "line 2.*prompt"),
        (b'{"prompt": "x"', "line 1.*JSON"),
        (b'\n{"prompt":' + b"[" * 100_000, "line 2.*JSON"),
        (b'x\n{"prompt": "\\ud800"}', "line 2: the prompt is no text"),
        (b"x\n\ny \xff", "no text file in UTF-8: see its line 3"),
    ],
)
def test_unusable_prompt_files(tmp_path, text, message):
    path = tmp_path / "prompts.txt"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message):
        read_prompt_lines(path)


@pytest.mark.parametrize("values", ['"sede": 1', '"seed": [1, 0]', '"seed": NaN', '"stage1.nothing": 1'])
def test_a_key_or_value_that_cannot_be_used_names_its_line(tmp_path, values):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'{{"prompt": "x"}}\n{{"prompt": "y", {values}}}')
    one, two = read_prompt_lines(path)
    fill_graph(make_review_graph(), one, drafts=False)
    with pytest.raises(InputError, match=f"{path}, line 2: {values.split(chr(34))[1]}"):
        fill_graph(make_review_graph(), two, drafts=False)


@pytest.mark.parametrize("text", ['{"nodes": [], "links": []}', '{"1": {"class_type": "X"}}', "[" * 100_000])
def test_what_is_no_api_form_is_refused(tmp_path, text):
    path = tmp_path / "ui.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"API form|not JSON"):
        load_workflow(path)


def test_values_go_to_their_widgets():
    line = PromptLine("p", {"prompt": "p", "seed": 9, "choice": 1, "FlashVideoStage2.cfg": 3.0, "stage1.steps": 4})
    filled = fill_graph(make_review_graph(), line, drafts=False)
    assert filled["text"]["inputs"]["prompt"] == "p"
    assert (filled["stage1"]["inputs"]["seed"], filled["stage2"]["inputs"]["seed"]) == (9, 9)
    assert (filled["stage1"]["inputs"]["steps"], filled["stage2"]["inputs"]["cfg"]) == (4, 3.0)
    assert (filled["review"]["inputs"]["choice"], filled["review"]["inputs"]["decision"]) == (1, "approve")
    assert fill_graph(make_review_graph(), line, drafts=True)["review"]["inputs"]["decision"] == "review"
    assert make_review_graph()["stage1"]["inputs"]["seed"] == 1


@pytest.mark.parametrize("key", ["speed", "stage1.nothing", "Nobody.cfg", "stage1.model"])
def test_values_without_a_widget_are_refused(key):
    with pytest.raises(ValueError, match=key):
        fill_graph(make_review_graph(), PromptLine("p", {key: 1}), drafts=False)


def test_the_choice_stays_in_the_same_folder():
    graph = make_review_graph()
    one, two = (fill_graph(graph, PromptLine("p", {"choice": i}), drafts=bool(i)) for i in (0, 1))
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(fill_graph(graph, PromptLine("p", {"seed": 2}), drafts=False)) != fingerprint(one)


def test_what_is_upstream_of_the_review_decides_about_the_drafts():
    graph = make_review_graph()
    upstream = find_upstream(graph, "FlashVideoReview")
    assert set(upstream) == {"review", "stage1", "look", "vae", "model1", "text", "clip"}
    behind, before = (fill_graph(graph, PromptLine("p", {key: 5}), False) for key in ("stage2.steps", "stage1.steps"))
    same = fingerprint(upstream)
    assert fingerprint(find_upstream(behind, "FlashVideoReview")) == same != fingerprint(behind)
    assert fingerprint(find_upstream(before, "FlashVideoReview")) != same


def test_graphs_are_not_changed():
    before = make_review_graph()
    kept = copy.deepcopy(before)
    fill_graph(before, PromptLine("p", {"prompt": "other"}), drafts=False)
    assert before == kept


def test_saved_drafts_are_loaded_in_place_of_their_sampling():
    graph = fill_graph(make_review_graph(), PromptLine("p", {"choice": 1}), drafts=False)
    kept = copy.deepcopy(graph)
    loaded = load_drafts(graph, "x.latent [temp]")
    assert graph == kept
    assert all(["stage1", 0] not in node["inputs"].values() for node in loaded.values())
    assert loaded["handoff"]["inputs"]["latent"] == ["review", 0]
    assert loaded["review"]["class_type"] == "LatentFromBatch"
    assert loaded["review"]["inputs"] == {"samples": [LOAD_DRAFTS, 0], "batch_index": 1, "length": 1}
    assert loaded["look"]["inputs"]["latent"] == [LOAD_DRAFTS, 0]


def test_lines_that_ask_for_the_same_clip_are_one_line(tmp_path):
    """Else two shards would make it in one folder."""
    path, graph = tmp_path / "prompts.txt", load_workflow(ROOT / "workflows/api/tiny-two-stage.json")
    path.write_text('a ball\n{"prompt": "a ball"}\n{"prompt": "a ball", "seed": 7}\na cat\na ball\n')
    kept = drop_doubles(read_prompt_lines(path), graph, tmp_path, False)
    assert [line.values for line in kept] == [
        {"prompt": "a ball"},
        {"prompt": "a ball", "seed": 7},
        {"prompt": "a cat"},
    ]


def test_a_shard_without_a_line_asks_no_server(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a ball\na cat\n")
    workflow = ["--workflow", ROOT / "workflows/api/tiny-two-stage.json", "--server", "127.0.0.1:9"]
    command = ["queue", tmp_path / "prompts.txt", *workflow, "--output", tmp_path / "out", "--shard"]
    code, out, err = run(capsys, *command, "3/5")
    assert (code, out) == (0, "") and "nothing to do" in err
    code, _, err = run(capsys, *command, "1/5")
    assert code == 2 and "no ComfyUI server at 127.0.0.1:9" in err
