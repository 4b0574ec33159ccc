"""The prompts of `generate` and `draft`: one on the command line, or a file with one a line.

A line may be JSON, {"prompt": "...", "seed": 7}, as a review page writes it for a draft that is to be made anew.
"""

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, check_text, one_line
from ..setting_rules import SEEDS
from ..text import add_motion
from .options import MAX_SAMPLES, PromptOptions

KEYS = {"prompt", "seed"}


@dataclass(frozen=True)
class SeededPrompt:
    """seed: of the first sample; None: the command's."""

    text: str
    seed: int | None = None


def read_prompts(options: PromptOptions, embeddings: str | None) -> list[SeededPrompt]:
    """The prompt, or those of the file. embeddings: what replaces the text encoder. Raises InputError."""
    if options.samples < 1:
        raise InputError(f"samples is {options.samples}; it must be at least 1")
    if options.samples > MAX_SAMPLES:
        raise InputError(f"samples is {options.samples}; it must be at most {MAX_SAMPLES}")
    if options.prompt is not None and options.prompts is None:
        return [SeededPrompt(add_motion(options.prompt, "none"))]  # refuses an empty one
    if options.prompt is None and options.prompts is not None:
        path = Path(options.prompts)
        return [parse_seeded(text, f"{path}, line {number}") for number, text in read_lines(path)]
    if options.prompt is None and embeddings:  # they say what is shown; the clip still needs a name
        return [SeededPrompt(f"embeddings {Path(embeddings).stem}")]
    raise InputError("give either a prompt or --prompts FILE")


def parse_seeded(text: str, place: str) -> SeededPrompt:
    """A line that begins as a JSON object does, else a prompt as it stands. place: file and line, for the error."""
    if not re.match(r'\{\s*"', text):
        return SeededPrompt(text)
    values = read_json_line(text, KEYS, place)
    prompt, seed = values.get("prompt"), values.get("seed")
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f'{place}: a line of JSON needs "prompt", a text')
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS):
        raise InputError(f"{place}: seed is {json.dumps(seed)}; it must be 0 to {SEEDS - 1}")
    check_text(f"{place}: the prompt", prompt)
    return SeededPrompt(prompt, seed)


def read_json_line(text: str, keys: Set[str], place: str) -> dict[str, Any]:
    """The object of a line. Raises InputError, naming the place, for anything else and for a key that is not known."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON: {one_line(error)}") from None
    if not isinstance(values, dict):
        raise InputError(f"{place}: not an object of JSON")
    if unknown := sorted(values.keys() - keys):
        raise InputError(f"{place}: {json.dumps(unknown[0])} is unknown; use {', '.join(sorted(keys))}")
    return values


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
