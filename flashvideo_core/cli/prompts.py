"""The prompts of `generate` and `draft`: one on the command line, or a file with one a line."""

from pathlib import Path

from ..errors import InputError
from ..text import add_motion
from .options import MAX_SAMPLES, PromptOptions


def read_prompts(options: PromptOptions, embeddings: str | None) -> list[str]:
    """The prompt, or those of the file. embeddings: what replaces the text encoder. Raises InputError."""
    if options.samples < 1:
        raise InputError(f"samples is {options.samples}; it must be at least 1")
    if options.samples > MAX_SAMPLES:
        raise InputError(f"samples is {options.samples}; it must be at most {MAX_SAMPLES}")
    if options.prompt is not None and options.prompts is None:
        return [add_motion(options.prompt, "none")]  # refuses an empty one
    if options.prompt is None and options.prompts is not None:
        return read_prompt_file(Path(options.prompts))
    if options.prompt is None and embeddings:  # they say what is shown; the clip still needs a name
        return [f"embeddings {Path(embeddings).stem}"]
    raise InputError("give either a prompt or --prompts FILE")


def read_prompt_file(path: Path) -> list[str]:
    """The lines of a text file that are not empty. Raises InputError."""
    return [text for _, text in read_lines(path)]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not empty, stripped, with their numbers from 1. Raises InputError."""
    try:
        content = path.read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        number = 1 + content[: error.start].count(b"\n")
        raise InputError(f"{path} is no text file in UTF-8: see its line {number}") from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"{path} has no prompt in it")
    return numbered
