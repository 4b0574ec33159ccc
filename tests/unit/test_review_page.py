"""The page of drafts, the lines that it gives out, and what `draft`, `refine` and `queue` make of them."""

import json
import re
import threading

import pytest
from support.cli_run import list_files, read_events, run
from support.queue_graph import make_review_graph

from flashvideo_core.cli.chosen import read_chosen, refine_line
from flashvideo_core.cli.prompts import SeededPrompt, parse_seeded
from flashvideo_core.cli.queue_entry import open_entry
from flashvideo_core.cli.review_page import MARK, PAGE, TEMPLATE, list_drafts, write_page
from flashvideo_core.cli.workflow import LOAD_DRAFTS, REVIEW, PromptLine, fill_graph, nodes_of_class
from flashvideo_core.errors import InputError
from flashvideo_core.media.draft_file import load_draft, save_draft

SMALL = ["--frames", "1", "--height", "16", "--width", "16", "--steps", "2"]
REFINE = ["--size", "16x16", "--refine-steps", "1", "--json"]
HOSTILE = 'a red circle </script><script>alert("x")</script> &amp; <!-- \u2028'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with two drafts of one prompt, and its page."""
    from flashvideo_core.cli.main import main

    folder = tmp_path_factory.mktemp("made") / "drafts"
    assert main(["draft", HOSTILE, "--samples", "2", "--negative", "blur", *SMALL, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of those drafts, without the page."""
    copied = tmp_path / "drafts"
    for path in made.glob("*/*"):
        (copied / path.parent.name).mkdir(parents=True, exist_ok=True)
        (copied / path.parent.name / path.name).write_bytes(path.read_bytes())
    return copied


def ignore(text: str) -> None:
    pass


def read_data(page) -> dict:
    text = page.read_text("utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(data)


def write_lines(path, *lines) -> str:
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return path


def test_the_page_is_the_template_with_the_drafts_of_the_folder_in_it(made):
    page = made / PAGE
    data = read_data(page)
    assert [draft["seed"] for draft in data["drafts"]] == ["0", "1"]
    assert {draft["prompt"] for draft in data["drafts"]} == {HOSTILE}
    assert all((made / draft["draft"]).is_file() for draft in data["drafts"])
    assert "1 frames of 16x16, 2 steps" in data["drafts"][0]["facts"] and "without blur" in data["drafts"][0]["facts"]
    assert page.read_text("utf-8").count("</script>") == TEMPLATE.read_text("utf-8").count("</script>")
    assert not re.search(r"""(src|href)=["']?http|@import|url\(""", page.read_text("utf-8"))


def test_a_single_draft_has_no_page(tmp_path, capsys):
    assert run(capsys, "draft", "a red circle", *SMALL, "--output", tmp_path / "d")[0] == 0
    assert list_files(tmp_path / "d") == {"draft.mp4", "draft.safetensors"}


def test_the_page_says_where_it_is_and_is_the_same_when_written_anew(made, capsys):
    before = (made / PAGE).read_bytes()
    (made / PAGE).unlink()
    command = ["draft", HOSTILE, "--samples", "2", "--negative", "blur", *SMALL, "--output", made]
    code, out, err = run(capsys, *command)
    assert code == 0 and f"look at the drafts and choose: {made / PAGE}" in err
    assert (made / PAGE).read_bytes() == before and PAGE not in out


def test_each_shard_writes_the_page_of_all(tmp_path, capsys):
    prompts = write_lines(
        tmp_path / "p", {"prompt": "a", "seed": 3}, {"prompt": "b"}, {"prompt": "a", "seed": 2**64 - 1}
    )
    command = ["draft", "--prompts", prompts, *SMALL, "--output", tmp_path / "d", "--shard"]
    for shard, seeds in (("0/2", ["3", str(2**64 - 1)]), ("1/2", ["3", str(2**64 - 1), "0"])):
        assert run(capsys, *command, shard)[0] == 0
        assert [draft["seed"] for draft in read_data(tmp_path / "d" / PAGE)["drafts"]] == seeds


def test_processes_that_write_the_page_at_once_leave_a_whole_one_and_nothing_else(folder):
    threads = [threading.Thread(target=write_page, args=(folder, ignore)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_data(folder / PAGE)["drafts"]) == 2
    assert {path.name for path in folder.iterdir() if path.is_file()} == {PAGE}


def test_a_page_of_the_users_own_is_left_as_it_is(folder):
    (folder / PAGE).write_text("mine")
    notes = []
    assert write_page(folder, notes.append) is None
    assert (folder / PAGE).read_text() == "mine" and "is not a page of ours" in notes[0]
    (folder / PAGE).write_bytes(MARK)
    assert write_page(folder, notes.append) == folder / PAGE


def test_what_is_damaged_or_not_finished_is_left_out(folder):
    one, two = sorted(folder.glob("*/draft.safetensors"))
    one.write_bytes(one.read_bytes()[:-50])
    (folder / ".hidden").mkdir()
    (folder / ".hidden/draft.safetensors").write_bytes(two.read_bytes())
    (folder / ".hidden/draft.mp4").touch()
    (folder / "no-video").mkdir()
    (folder / "no-video/draft.safetensors").write_bytes(two.read_bytes())
    notes = []
    assert [draft["draft"] for draft in list_drafts(folder, notes.append)] == [f"{two.parent.name}/{two.name}"]
    assert len(notes) == 1 and notes[0].startswith(f"{one} ")


def test_no_drafts_no_page(tmp_path):
    assert write_page(tmp_path, ignore) is None and write_page(tmp_path / "none", ignore) is None
    assert not list_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("a red ball", SeededPrompt("a red ball")),
        ("{red|blue} ball", SeededPrompt("{red|blue} ball")),
        ('{"prompt": "a ball"}', SeededPrompt("a ball")),
        (f'{{ "seed": {2**64 - 1}, "prompt": "a ball"}}', SeededPrompt("a ball", 2**64 - 1)),
    ],
)
def test_a_prompt_line(text, prompt):
    assert parse_seeded(text, "p") == prompt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"prompt": "x"', "not JSON"),
        ('{"seed": 1}', 'needs "prompt"'),
        ('{"prompt": " "}', 'needs "prompt"'),
        ('{"prompt": "x", "sede": 1}', '"sede" is unknown; use prompt, seed'),
        ('{"prompt": "x", "seed": 1.0}', "seed is 1.0; it must be 0 to"),
        ('{"prompt": "x", "seed": true}', "seed is true"),
        (f'{{"prompt": "x", "seed": {2**64}}}', f"seed is {2**64}"),
        ('{"prompt": "\\ud800"}', "the prompt is no text"),
    ],
)
def test_a_prompt_line_that_cannot_be_used_names_itself(text, words, tmp_path, capsys):
    path = tmp_path / "p.jsonl"
    path.write_text(f"fine\n\n{text}\n")
    code, _, err = run(capsys, "draft", "--prompts", path, *SMALL, "--output", tmp_path / "d")
    assert code == 2 and f"{path}, line 3: " in err and words in err and err.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_stage_2_follows_the_seed_of_a_line_unless_its_own_is_named(tmp_path, capsys):
    path = write_lines(
        tmp_path / "p", {"prompt": "a", "seed": 7}, {"prompt": "a", "seed": 7}, {"prompt": "a", "seed": 8}
    )
    command = ["generate", "--prompts", path, *SMALL, *REFINE, "--samples", "2", "--output"]
    for folder, options, refined in (("one", (), [7, 8, 9]), ("two", ("--refine-seed", "4"), [4, 5, 5])):
        clips = read_events(run(capsys, *command, tmp_path / folder, *options)[1])[-1]["clips"]
        assert [clip["seed"] for clip in clips] == [7, 8, 9]  # what two lines ask for is made once
        records = [json.loads((tmp_path / folder / f"{name}/clip.json").read_text()) for name in names(clips)]
        assert [record["stage2"]["seed"] for record in records] == refined
    code, _, err = run(capsys, *command, tmp_path / "three", "--layout", "vbench")
    assert code == 2 and "no line of --prompts has a seed of its own" in err


def names(clips: list[dict]) -> list[str]:
    return [clip["path"].split("/")[-2] for clip in clips]


def test_chosen_drafts_are_refined_in_their_own_folders_once(folder, tmp_path, capsys):
    one, two = sorted(path.parent.name for path in folder.glob("*/draft.safetensors"))
    lines = [{"draft": f"{one}/draft.safetensors"}, {"draft": two}, {"draft": f"{two}/draft.safetensors"}]
    path = write_lines(folder / "chosen.jsonl", *lines)
    code, out, _ = run(capsys, "refine", "--chosen", path, *REFINE)
    assert code == 0 and [clip["skipped"] for clip in read_events(out)[-1]["clips"]] == [False, False]
    assert (folder / one / "final.mp4").is_file() and (folder / two / "clip.json").is_file()
    elsewhere = write_lines(tmp_path / "chosen.jsonl", lines[0])
    command = ["refine", "--chosen", elsewhere, "--chosen-from", folder, *REFINE]
    assert [clip["skipped"] for clip in read_events(run(capsys, *command)[1])[-1]["clips"]] == [True]
    code, _, _ = run(capsys, *command, "--output", tmp_path / "out")
    assert code == 0 and list_files(tmp_path / "out") == {
        f"{one}/{n}" for n in ("final.mp4", "side_by_side.mp4", "clip.json")
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a prompt", "not JSON"),
        ("[1]", "not an object of JSON"),
        ("{}", 'a line of chosen drafts is {"draft"'),
        ('{"draft": 3}', 'a line of chosen drafts is {"draft"'),
        ('{"draft": "a\\u0000"}', 'a line of chosen drafts is {"draft"'),
        ('{"draft": "no/draft.safetensors"}', "is not there; save the file beside index.html, or add --chosen-from"),
        ('{"draft": "x", "prompt": "y"}', '"prompt" is unknown; use draft'),
    ],
)
@pytest.mark.parametrize("command", [["refine"], ["queue", "--workflow", "w.json"]], ids=["refine", "queue"])
def test_a_chosen_line_that_cannot_be_used_names_itself(command, line, words, folder, capsys):
    (name, *_) = (path.parent.name for path in folder.glob("*/draft.safetensors"))
    path = folder / "chosen.jsonl"
    path.write_text(f'{{"draft": "{name}"}}\n{line}\n')
    code, _, err = run(capsys, *command, "--chosen", path)
    assert code == 2 and f"{path}, line 2: " in err and words in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["refine"], "give sources, or --chosen FILE"),
        (["refine", "a.mp4", "--chosen", "c"], "give sources, or --chosen FILE"),
        (["queue", "--workflow", "w.json"], "give a file of prompts, or --chosen FILE"),
        (["queue", "p", "--workflow", "w.json", "--chosen", "c"], "give a file of prompts, or --chosen FILE"),
        (["queue", "--workflow", "w.json", "--chosen", "c", "--drafts"], "give one of them"),
        (["refine", "a.mp4", "--chosen-from", "f"], "--chosen-from is for --chosen FILE"),
    ],
)
def test_what_does_not_go_together(argv, words, capsys):
    code, _, err = run(capsys, *argv)
    assert code == 2 and words in err


def test_a_queued_draft_takes_the_place_of_stage_1_with_its_prompt_and_seed(folder, tmp_path):
    path = write_lines(tmp_path / "c", *({"draft": p.parent.name} for p in sorted(folder.glob("*/draft.safetensors"))))
    lines = [refine_line(draft) for draft in read_chosen(path, folder)]
    entries = [open_entry(line, fill_graph(make_review_graph(), line, False), tmp_path, False) for line in lines]
    assert len({entry.path for entry in entries}) == 2  # a folder for each, whatever else is equal
    graph = entries[1].graph
    assert not nodes_of_class(graph, REVIEW) and graph["review"]["inputs"] == {
        "samples": [LOAD_DRAFTS, 0],
        "batch_index": 0,
        "length": 1,
    }
    assert graph[LOAD_DRAFTS]["inputs"]["latent"] == f"{lines[1].latent.name} [temp]"
    text = nodes_of_class(graph, "FlashVideoTextEncode")[0]["inputs"]
    assert (text["prompt"], text["negative_prompt"]) == (HOSTILE, "blur")
    assert nodes_of_class(graph, "FlashVideoStage2")[0]["inputs"]["seed"] == 1
    assert entries[0].read_drafts() != entries[1].read_drafts()


def test_a_workflow_without_a_review_and_a_draft_without_a_prompt_are_refused(folder, tmp_path):
    path = next(folder.glob("*/draft.safetensors"))
    line = refine_line(read_chosen(write_lines(tmp_path / "c", {"draft": str(path)}))[0])
    graph = make_review_graph()
    del graph["review"]
    with pytest.raises(InputError, match=f"need a workflow with one {REVIEW}"):
        fill_graph(graph, line, False)
    save_draft(path, load_draft(path)[0], {})
    with pytest.raises(InputError, match=f"{tmp_path / 'c'}, line 1: .* tells no prompt"):
        refine_line(read_chosen(tmp_path / "c")[0])
    assert PromptLine("p").latent is None
