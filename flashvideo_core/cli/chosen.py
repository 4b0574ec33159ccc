"""The drafts that were chosen on a review page, as lines of JSON: {"draft": "FOLDER/draft.safetensors"}.

A path counts from the folder of the file, which is where the page lies as well, or from another one that is named.
"""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .prompts import read_json_line, read_lines
from .queue_drafts import join_drafts, name_upload
from .saved_draft import SavedDraft
from .source_files import find_source
from .workflow import LatentFile, PromptLine

KEYS = {"draft"}


@dataclass(frozen=True)
class ChosenDraft:
    """A saved draft, and the line that names it."""

    path: Path
    place: str


def read_chosen(path: Path, folder: Path | None = None) -> list[ChosenDraft]:
    """The drafts that the lines name, each once. Raises InputError for a line that cannot be used, with its number."""
    base = path.parent if folder is None else folder
    found: dict[Path, ChosenDraft] = {}
    for number, text in read_lines(path):
        draft = parse_chosen_line(text, base, f"{path}, line {number}")
        found.setdefault(draft.path, draft)
    return list(found.values())


def choose_drafts(chosen: str | None, folder: str | None, is_named: bool, what: str) -> list[ChosenDraft] | None:
    """Those of --chosen, looked for in --chosen-from; None where the command line names what to refine instead.

    is_named: whether it does; what: its word for that. Raises InputError where both are given, or neither.
    """
    if is_named == (chosen is not None):
        raise InputError(f"give {what}, or --chosen FILE")
    if chosen is None and folder is not None:
        raise InputError("--chosen-from is for --chosen FILE")
    return None if chosen is None else read_chosen(Path(chosen), Path(folder) if folder else None)


def parse_chosen_line(text: str, base: Path, place: str) -> ChosenDraft:
    values = read_json_line(text, KEYS, place)
    named = values.get("draft")
    if not isinstance(named, str) or not named or "\0" in named:
        raise InputError(f'{place}: a line of chosen drafts is {{"draft": "FOLDER/draft.safetensors"}}')
    path = find_source(base / named)
    if not path.is_file():
        raise InputError(f"{place}: {path} is not there; save the file beside index.html, or add --chosen-from FOLDER")
    return ChosenDraft(path, place)


def refine_line(draft: ChosenDraft) -> PromptLine:
    """What `queue` makes of a draft: stage 2 with its prompt and seed. Raises InputError, naming the line."""
    try:
        saved = SavedDraft.load(draft.path)
    except InputError as error:
        raise InputError(f"{draft.place}: {error}") from None
    if saved.record is None:
        raise InputError(f"{draft.place}: {draft.path} tells no prompt; queue takes drafts that `draft` has made")
    settings = saved.record.draft
    values = {"prompt": saved.record.prompt, "seed": settings.seed}
    values |= {"negative": settings.negative} if settings.negative else {}
    latent = LatentFile(draft.path, name_upload(join_drafts([draft.path])))
    return PromptLine(saved.record.prompt, values, draft.place, latent)
