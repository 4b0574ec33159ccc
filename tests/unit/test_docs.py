"""What the documents say exists: links, sections, commands and their options, files of the map."""

import io
import re
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

from flashvideo_core.cli.main import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("nodes/web/docs/*.md")])
SOURCES = sorted(
    p for folder in ("flashvideo_core", "nodes", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
README, PROJECT = ROOT / "README.md", ROOT / "pyproject.toml"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_blocks(text: str) -> str:
    return "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M))


def heading_anchors(path: Path) -> set[str]:
    """As GitHub makes them: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_relative_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in heading_anchors(there), target


def test_the_repositorys_addresses_agree():
    """The accounts in pyproject.toml are where they are decided, and the icon is a file of this repository."""
    project = PROJECT.read_text()
    repository = re.search(r'^Repository = "(.+)"', project, re.M)[1]
    raw = repository.replace("github.com", "raw.githubusercontent.com")
    texts = [project, *(path.read_text() for path in [*SOURCES, *DOCUMENTS])]
    named = re.findall(r"https://[\w.]+/[\w-]+/ComfyUI-FlashVideo\b", "\n".join(texts))
    assert set(named) <= {repository, raw}
    assert (ROOT / re.search(rf'^Icon = "{raw}/main/(.+)"', project, re.M)[1]).is_file()


def test_the_workflows_ask_for_the_files_that_the_readme_names():
    asked = "".join(path.read_text() for path in ROOT.glob("workflows/api/*.json"))
    named = re.findall(r"^\| `models/\w+/([\w.-]+)`", README.read_text(), re.M)
    assert len(named) == 4 and all(f'"{name}"' in asked for name in named)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


@cache
def options_of(*command: str) -> set[str]:
    """What `command --help` names, read by running it."""
    done = subprocess.run([sys.executable, ROOT, *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return set(OPTION.findall(done.stdout))


def command_of(line: str) -> tuple[str, ...] | None:
    """The command in a line of shell: ("convert",), ("train", "stage2"); None where none is called."""
    words = re.split(r"-m flashvideo_core|ComfyUI-FlashVideo", line.split(" #")[0], maxsplit=1)[1:]
    if not words:
        return None
    named = words[0].split()
    return tuple(named[: 2 if named[:1] in (["train"], ["vbench"]) else 1])


@pytest.mark.parametrize("path", DOCUMENTS, ids=identify)
def test_commands_have_the_options_that_are_shown(path):
    for line in code_blocks(path.read_text()).replace("\\\n", " ").splitlines():
        command = command_of(line)
        if command and re.fullmatch("[a-z]+", command[0]):
            called = line.split(" #")[0].split(command[0], 1)[1]
            unknown = set(OPTION.findall(called)) - options_of(*command)
            assert not unknown, (line, unknown)


@pytest.mark.parametrize("path", [README, ROOT / "docs/training.md", ROOT / "docs/many-clips.md"], ids=identify)
def test_options_in_prose_exist(path):
    commands = [(name,) for name in ("generate", "draft", "refine", "convert", "info", "evaluate", "bench", "queue")]
    trained = ("tiny", "decoder", "ablation", "stage1", "stage2", "distill", "preview-degradation")
    commands += [("train", what) for what in trained]
    commands += [("vbench", what) for what in ("generate", "check", "evaluate")]
    known = set().union(*(options_of(*command) for command in commands)) | {"--help"}
    said = " ".join(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)))
    assert set(OPTION.findall(said)) <= known


def test_cited_sections_of_the_released_model_exist():
    text = (ROOT / "docs/released-model.md").read_text()
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)[. ]", text, re.M))
    quirks = set(re.findall(r"^(\d+)\. ", text.split("## 5. Quirks")[1], re.M))
    for path in SOURCES:
        for cited in re.findall(r"released-model\.md[,:]?\s+(?:sections? )?([\d., and-]+)", path.read_text()):
            assert set(re.findall(r"\d+(?:\.\d+)?", cited)) <= sections, (identify(path), cited)
        for quirk in re.findall(r"quirks? (\d+)", path.read_text()):
            assert quirk in quirks, (identify(path), quirk)


def remarks(path: Path) -> str:
    """The comments and docstrings of a file."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return "\n".join(t.string for t in tokens if t.type == tokenize.COMMENT or t.string.startswith('"""'))


@pytest.mark.parametrize("path", SOURCES, ids=identify)
def test_remarks_cite_what_a_stranger_can_open(path):
    """A file of this repository, whatever folder it is named from; no other document."""
    folders = (ROOT, ROOT / "flashvideo_core", ROOT / "tests", path.parent)
    for cited in re.findall(r"(?<![\w/])[\w./-]*\w\.py\b|\b(?:docs|reference)/[\w-]+\.md", remarks(path)):
        if "/" in cited:
            assert any((folder / cited).exists() for folder in folders), cited
        else:
            assert cited in {source.name for source in SOURCES}, cited
    assert not re.search(r"golden README|design\.md|\bissue #?\d", remarks(path))


def test_the_map_names_every_file_of_the_first_floor_and_only_files_that_exist():
    named = set(re.findall(r"[\w/]+\.(?:py|js)\b", (ROOT / "CONTRIBUTING.md").read_text()))
    names = {path.name for path in [*ROOT.glob("*.py"), *SOURCES, *ROOT.glob("nodes/web/*.js")]}
    folders = ("", "flashvideo_core")
    absent = {file for file in named if "/" in file and not any((ROOT / folder / file).exists() for folder in folders)}
    assert absent | {file for file in named if "/" not in file and file not in names} == set()
    assert {path.name for path in (ROOT / "flashvideo_core").glob("[a-z]*.py")} <= named


def test_the_packs_folder_is_a_program_wherever_python_does_not_look_for_it():
    """-I as in python_embeded of the portable ComfyUI: neither the current folder nor PYTHONPATH is searched."""
    done = subprocess.run([sys.executable, "-I", ROOT, "convert", "--help"], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0 and "--lora-strength" in done.stdout, done.stderr
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
