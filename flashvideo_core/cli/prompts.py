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
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text file in UTF-8") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise InputError(f"{path} has no prompt in it")
    return prompts
