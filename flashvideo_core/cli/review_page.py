"""index.html beside the folders of drafts: they play in a grid, and what is chosen comes out as lines of JSON.

The page is one file that needs no network. It shows what lies in the folder, whoever has made it, so that it can be
written anew at any time, and by every one of several processes. What it gives out: chosen.jsonl for `refine` and
`queue` (chosen.py), new-drafts.jsonl for `draft --prompts` (prompts.py).
"""

import json
import os
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

from ..errors import InputError
from ..setting_rules import SEEDS
from ..types import Notify
from ..weights.atomic import atomic_write
from .clip_lock import wait_for_lock
from .outputs import folder_files
from .record import Record
from .saved_draft import read_draft_record

PAGE = "index.html"
TEMPLATE = Path(__file__).with_name("review_page.html")
PLACE = "DRAFTS"  # of the data in the template
MARK = b'<meta name="generator" content="flashvideo draft">'  # by which a page of ours is known


class ShownDraft(TypedDict):
    """A draft on the page. draft: its latent's path from the page, video: that of its video as an address."""

    draft: str
    video: str
    prompt: str
    seed: str  # a number of JavaScript is exact up to 2^53 only
    facts: str
    shape: str


def write_page(folder: Path, notify: Notify) -> Path | None:
    """Writes the page of all drafts in the folder; None where there is none, or an index.html that is not ours.

    Each of several processes sees under the lock at least the drafts that it has made itself and all those of who wrote
    the page before, so the last one's page has them all.
    """
    path = folder / PAGE
    if not folder.is_dir():
        return None
    with wait_for_lock(folder / f".{PAGE}.lock"):
        if path.is_dir() or (path.is_file() and MARK not in path.read_bytes()):
            notify(f"{path} is not a page of ours and is left as it is: there is no page to choose from the drafts")
            return None
        drafts = list_drafts(folder, notify)
        if not drafts:
            return None
        with atomic_write(path) as partial:
            partial.write_text(fill_page(folder.resolve().name, drafts), "utf-8")
    return path


def list_drafts(folder: Path, notify: Notify) -> list[ShownDraft]:
    """The finished drafts in folders below this one, those of a prompt together, by seed. Damaged ones are named."""
    found = []
    for path in folder.glob("*/draft.safetensors"):
        files = folder_files(path.parent)
        if path.parent.name.startswith(".") or not files.draft_video.is_file():
            continue
        try:
            record = read_draft_record(path)
        except InputError as error:
            notify(f"{error}; the page leaves it out")
            continue
        if record is not None:
            found.append((record.prompt, record.draft.seed, describe_draft(path.parent.name, record)))
    return [draft for *_, draft in sorted(found, key=lambda entry: (*entry[:2], entry[2]["draft"]))]


def describe_draft(folder: str, record: Record) -> ShownDraft:
    settings = record.draft
    facts = [f"{settings.frames} frames of {settings.height}x{settings.width}", f"{settings.steps} steps"]
    facts += [f"cfg {settings.cfg:g}"] + ([f"without {settings.negative}"] if settings.negative else [])
    return ShownDraft(
        draft=f"{folder}/draft.safetensors",
        video=f"{quote(os.fsencode(folder))}/draft.mp4",
        prompt=record.prompt,
        seed=str(settings.seed),
        facts=", ".join(facts),
        shape=f"{settings.width} / {settings.height}",
    )


def fill_page(title: str, drafts: list[ShownDraft]) -> str:
    """The whole page. In its data nothing can end the script tag that holds them; the page shows them as text alone."""
    data = json.dumps({"title": title, "seeds": str(SEEDS), "drafts": drafts})
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    before, _, after = TEMPLATE.read_text("utf-8").partition(PLACE)
    return f"{before}{data}{after}"
