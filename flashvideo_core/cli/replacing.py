"""What a used folder goes through when another clip is written into it: the old one is whole until the new one is.

The files of a clip that comes into a folder with another one are made in a hidden folder below. When all are there,
that folder is renamed, which commits to the new clip, and its files are moved into place, clip.json last; a run that
is killed in between leaves the renamed folder, and the next one in that place moves the rest. One process at a time
writes a clip (clip_lock.py).
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..media.picture_writer import is_pictures_folder
from ..types import Notify
from ..weights.atomic import remove_leftovers, remove_path
from .clip_lock import lock_clip
from .outputs import FINALS, ClipFiles, clip_files, find_draft, folder_files
from .record import Record, read_record

PENDING, COMMITTED = ".flashvideo-next", ".flashvideo-finished"


@contextmanager
def open_files(files: ClipFiles, record: Record, notify: Notify) -> Iterator[ClipFiles]:
    """The files to write a clip to, which become `files` at the end. Raises InputError while another process writes."""
    try:
        with lock_clip(files.lock):
            complete_replacement(files.final.parent)
            remove_leftovers([*files.visible(), files.refined, files.state])
            work = choose_work_files(files, record, notify)
            yield work
            if work.final != files.final:
                work.final.parent.rename(files.final.parent / COMMITTED)
                complete_replacement(files.final.parent)
    finally:
        if files.sidecar is None:
            with suppress(OSError):  # not empty: drafts of clips that are not finished
                files.draft.parent.rmdir()


def recover(files: ClipFiles) -> None:
    """Ends what a killed run had begun to replace, so that the files are those of one clip."""
    if (files.final.parent / COMMITTED).is_dir():
        with lock_clip(files.lock):
            complete_replacement(files.final.parent)


def choose_work_files(files: ClipFiles, record: Record, notify: Notify) -> ClipFiles:
    """`files` themselves where they are free or this clip's own, else those in the hidden folder."""
    if files.sidecar is None or not (found := find_other_clip(files, record)):
        return files
    notify(f"{files.final.parent} holds {found}; it is replaced when this one is finished")
    pending = folder_files(files.final.parent / PENDING, record.video)
    pending.final.parent.mkdir(exist_ok=True)
    remove_leftovers([*pending.visible(), pending.refined, pending.state])
    if files.draft_video is None or find_draft(files, record) is not None:  # the draft in place is this clip's
        return replace(pending, draft=files.draft, draft_video=files.draft_video, lock=files.lock)
    return replace(pending, lock=files.lock)


def find_other_clip(files: ClipFiles, record: Record) -> str | None:
    """What lies in the folder that is not of this clip, in words."""
    is_own_draft = files.draft_video is None or find_draft(files, record) is not None
    if not is_own_draft and not any(map(is_clip_file, clip_files(files.final.parent))):
        return None
    try:
        found = read_record(files.sidecar)
    except InputError:
        return None if is_own_draft and not files.sidecar.is_file() else "another draft or clip"
    if is_own_draft and found == record:
        return None
    return f"another clip ({found.prompt[:60]!r})"


def complete_replacement(folder: Path) -> None:
    """Moves the files of a committed clip into place. A new draft takes all of the old clip away."""
    committed = folder / COMMITTED
    if not committed.is_dir():
        return
    new, old = clip_files(committed), clip_files(folder)
    if new[-1].is_file():  # from here on nothing says that the old clip is finished
        old[-1].unlink(missing_ok=True)
    if new[0].is_file():  # the first to be moved, so nothing of the new clip is in place yet
        remove_clip(old)
    elif any(path.exists() for path in new if path.name in FINALS):
        remove_clip(path for path in old if path.name in FINALS)  # those of another codec, too
    for source, target in zip(new, old, strict=True):
        if source.exists():
            source.replace(target)
    shutil.rmtree(committed)


def remove_clip(paths: Iterable[Path]) -> None:
    """Files of a clip and its folder of pictures; no other folder."""
    for path in filter(is_clip_file, paths):
        remove_path(path)


def is_clip_file(path: Path) -> bool:
    return path.is_file() or is_pictures_folder(path)
