"""Bad input is one line on stderr that names the value and the rule, with exit code 2, and before any sampling."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.cli_run import SMALL, STAGE1, STAGE2, VAE, component_options, run

from flashvideo_core.convert import convert
from flashvideo_core.media.draft_file import save_draft

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    (folder / "nothing").mkdir()
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.txt").write_text("\n \n")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\x00a prompt")
    (folder / "long.txt").write_text("long " * 100)
    (folder / "slash.txt").write_text("a cat / a dog")
    (folder / "other.json").write_text(json.dumps({"prompt": "x"}))
    (folder / "half.json").write_text(json.dumps({"prompt": "x", "stage1": {}, "stage2": {}, "weights": {}}))
    save_file(
        {"stage1": torch.zeros(1, 3, 32), "stage2": torch.full((1, 3, 32), torch.nan)}, folder / "nan.safetensors"
    )
    save_file({"stage1": torch.zeros(1, 3, 33), "stage2": torch.zeros(1, 3, 33)}, folder / "wide.safetensors")
    save_file({"stage1": torch.zeros(1, 3, 32)}, folder / "half.safetensors")
    save_draft(folder / "noprompt.safetensors", torch.zeros(1, 16, 1, 4, 6), {})
    return folder


@pytest.fixture(scope="module")
def components(base):
    return component_options(base)


def refused(capsys, *argv) -> str:
    """The one line of a command that must fail as bad input does."""
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err


NUMBERS = {
    "frames is 6; it must be 4n+1": ["--frames", "6"],
    "frames is 0; it must be 4n+1": ["--frames", "0"],
    "frames is -3; it must be 4n+1": ["--frames", "-3"],
    "frames is 100001; it must be": ["--frames", "100001"],
    "width is 0; it must be 16 to 8192": ["--width", "0"],
    "height is -32; it must be 16": ["--height", "-32"],
    "width is 100000; it must be 16 to 8192": ["--width", "100000"],
    "height is 15; it must be 16": ["--size", "15x64"],
    "width is 9000; it must be 16 to 8192": ["--size", "64x9000"],
    "'64' is no size; write HEIGHTxWIDTH": ["--size", "64"],
    "steps is 0; stage 1 needs 2 to 999": ["--steps", "0"],
    "steps is 1; stage 1 needs 2 to 999": ["--steps", "1"],
    "steps is 0; stage 2 needs at least 1": ["--refine-steps", "0"],
    "steps is 1001; stage 2 needs 1 to 1000": ["--refine-steps", "1001"],
    "cfg is nan; it must be a finite number": ["--cfg", "nan"],
    "cfg is inf; it must be a finite number": ["--refine-cfg", "inf"],
    "shift is 0.0; it must be positive": ["--shift", "0"],
    "noise step is 1000; it must be 0 to 999": ["--noise-step", "1000"],
    "noise step is -1; it must be 0 to 999": ["--noise-step", "-1"],
    "crf is 52; it must be 0": ["--crf", "52"],
    "samples is 0; it must be at least 1": ["--samples", "0"],
    "invalid int value: 'many'": ["--frames", "many"],
    "device cuba cannot be used": ["--device", "cuba"],
    "invalid choice: 'int4'": ["--dtype", "int4"],
    "unrecognized arguments: --bogus": ["--bogus"],
}


@pytest.mark.parametrize(("rule", "options"), NUMBERS.items(), ids=NUMBERS)
def test_numbers(rule, options, components, tmp_path, capsys):
    assert rule in refused(capsys, "generate", "x", *components, *SMALL, *options, "--output", tmp_path / "c")
    assert not (tmp_path / "c").exists()


PROMPTS = {
    "the prompt is empty": [""],
    "the prompt is empty: describe the clip in words": ["  \n"],
    "give either a prompt or --prompts FILE": ["x", "--prompts", "empty.txt"],
    "empty.txt has no prompt in it": ["--prompts", "empty.txt"],
    "bytes.txt is no text file in UTF-8": ["--prompts", "bytes.txt"],
    "absent.txt cannot be read: No such file": ["--prompts", "absent.txt"],
    "this prompt cannot be a file name, which --layout vbench needs: 'long long": ["--prompts", "long.txt"],
    "this prompt cannot be a file name, which --layout vbench needs: 'a cat / a dog'": ["--prompts", "slash.txt"],
    "other.json holds no record of a clip": ["--from", "other.json"],
    "half.json is incomplete: it lacks settings of the clip": ["--from", "half.json"],
    "text.mp4: not a video file": ["--from", "text.mp4"],
    "absent.json cannot be read: No such file": ["--from", "absent.json"],
}


@pytest.mark.parametrize(("rule", "options"), PROMPTS.items(), ids=PROMPTS)
def test_prompts(rule, options, components, base, tmp_path, capsys):
    options = [base / word if Path(word).suffix in (".txt", ".json", ".mp4") else word for word in options]
    command = ["generate", *options, *components, *SMALL, "--layout", "vbench", "--output", tmp_path / "c"]
    assert rule in refused(capsys, *command)
    assert not (tmp_path / "c").exists()


def test_no_prompt_at_all(capsys):
    assert "give either a prompt or --prompts FILE" in refused(capsys, "generate")


COMPONENTS = {
    "holds the weights of stage2; stage1 is needed here": {"--stage1": STAGE2},
    "holds the weights of vae; stage2 is needed here": {"--stage2": VAE},
    "holds the weights of stage1; vae is needed here": {"--vae": STAGE1},
    "stage2 is not given; name it with --stage2": {"--stage2": None},
    "vae is not given; name it with --vae": {"--vae": None},
    "text is not given; name it with --t5 or --embeddings": {"--embeddings": None},
    "give one of --t5, --embeddings and --text": {"--t5": "somewhere"},
    "absent.pt does not exist": {"--stage1": "absent.pt"},
    "nan.safetensors holds NaN or infinity in stage2": {"--embeddings": "nan.safetensors"},
    "half.safetensors holds no stage2": {"--embeddings": "half.safetensors"},
    "the text has width 33; stage 1 needs 32": {"--embeddings": "wide.safetensors"},
    "empty.txt is neither safetensors nor a torch checkpoint": {"--stage1": "empty.txt"},
}


@pytest.mark.parametrize(("rule", "changes"), COMPONENTS.items(), ids=COMPONENTS)
def test_wrong_components(rule, changes, components, base, tmp_path, capsys):
    named = dict(zip(components[::2], components[1::2], strict=True))
    changes = {k: v and (str(base / v) if (base / v).exists() or "absent" in v else v) for k, v in changes.items()}
    options = [word for name, value in (named | changes).items() if value for word in (name, value)]
    assert rule in refused(capsys, "generate", "x", *options, *SMALL, "--output", tmp_path / "c")


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_t5_without_transformers(tmp_path, capsys):
    options = ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--t5", tmp_path]
    assert "--t5 needs the transformers package: pip install" in refused(capsys, "generate", "x", *options)


def test_a_negative_prompt_needs_an_encoder(components, tmp_path, capsys):
    command = ["generate", "x", *components, *SMALL, "--negative", "blurry", "--output", tmp_path / "c"]
    assert "a negative prompt needs a text encoder" in refused(capsys, *command)


def test_a_folder_that_cannot_be_written_is_found_before_sampling(components, tmp_path, capsys):
    """One line on stderr, so not a single step was reported."""
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refused(capsys, "generate", "x", *components, *SMALL, "--output", folder)
        assert f"cannot write into the folder {folder}" in message


SOURCES = {
    "text.mp4: not a video file": "text.mp4",
    "absent.mp4: there is no such file": "absent.mp4",
    "nothing holds no draft, no video and no picture": "nothing",
    "no_%d.png: no file has such a name": "no_%d.png",
    "half.safetensors is no saved draft": "half.safetensors",
    "the prompt is empty": "noprompt.safetensors",
}


@pytest.mark.parametrize(("rule", "source"), SOURCES.items(), ids=SOURCES)
def test_sources_of_refine(rule, source, components, base, tmp_path, capsys):
    prompt = [] if rule == "the prompt is empty" else ["--prompt", "x"]
    command = ["refine", base / source, *prompt, *components, "--size", "64x96", "--output", tmp_path / "c"]
    assert rule in refused(capsys, *command)


@pytest.mark.parametrize(("component", "kept"), [("stage1", False), ("stage2", True), ("vae", True)])
def test_nan_weights_are_found_after_the_first_evaluation(component, kept, components, tmp_path, capsys):
    named = dict(zip(components[::2], components[1::2], strict=True))
    broken = tmp_path / "broken.safetensors"
    convert(named[f"--{component}"], broken)
    poison(broken)
    options = [word for name, value in (named | {f"--{component}": str(broken)}).items() for word in (name, value)]
    code, _, err = run(capsys, "generate", "x", *options, *SMALL, "--output", tmp_path / "c")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: the network returned NaN or infinity in torch.float32")
    assert f"{component[:-1]} {component[-1]}:" not in err  # not one step of the broken stage was reported as done
    assert (tmp_path / "c/draft.safetensors").exists() == kept
    assert not (tmp_path / "c/final.mp4").exists()


def poison(path: Path) -> None:
    """One NaN in the first large tensor, config and all else as it was."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(n for n in sorted(tensors) if tensors[n].ndim > 1 and "embed" not in n.replace("patch_embed", ""))
    tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, path, metadata)


def test_commands(capsys):
    assert "required: COMMAND" in refused(capsys)
    assert "invalid choice: 'paint'" in refused(capsys, "paint")
    assert "name a file, or --plan" in refused(capsys, "info")
    assert "No such file or directory" in refused(capsys, "queue", "absent.txt", "--workflow", "absent.json")


def test_json_says_it_on_both_streams(capsys):
    code, out, err = run(capsys, "generate", "", "--json")
    assert code == 2 and err == "error: the prompt is empty: describe the clip in words\n"
    assert json.loads(out) == {"event": "error", "message": err[7:-1]}


def test_the_program_itself_exits_with_2_and_without_a_traceback():
    command = [sys.executable, "-m", "flashvideo_core", "info", "absent.pt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: absent.pt does not exist\n")


def test_help_is_immediate():
    """No torch is imported to say what the options are."""
    code = "import sys; sys.argv = ['x', '--help']; from flashvideo_core.cli.main import main\ntry: main()\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("generate", "draft", "refine", "convert", "info"):
        assert command in done.stdout
