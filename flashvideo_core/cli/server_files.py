"""Files on their way between a folder of the batch client and a ComfyUI server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .queue_drafts import name_latent, name_upload, name_video
from .queue_entry import QueueEntry, name_files
from .server_answers import DRAFTS, LATENTS, File, Json, list_node_files, list_saved, read_answer
from .workflow import Graph, load_drafts

if TYPE_CHECKING:
    from aiohttp import ClientSession


async def prepare_graph(session: ClientSession, entry: QueueEntry) -> Graph:
    """The entry's graph, on the drafts' latents where the folder has them. Raises InputError."""
    import aiohttp

    content = entry.read_drafts()
    if content is None:
        return entry.graph
    name = name_upload(content)
    form = aiohttp.FormData({"type": "temp", "overwrite": "true"})
    form.add_field("image", content, filename=name)
    async with session.post("/upload/image", data=form) as response:
        uploaded = await read_answer(response)
    if entry.latent is not None:  # the graph loads it by this name
        return entry.graph
    return load_drafts(entry.graph, f"{uploaded.get('name')} [temp]")


async def fetch_clips(session: ClientSession, entry: QueueEntry, history: Json) -> list[str]:
    """Writes what the run saved, and returns the names."""
    files = list_saved(history)
    names = name_files(files, entry.taken_names())
    for file, name in zip(files, names, strict=True):
        entry.write_file(name, await _fetch(session, file))
    return names


async def fetch_drafts(session: ClientSession, entry: QueueEntry, history: Json) -> list[str]:
    """Writes a video and a latent for each draft, and returns the names."""
    (review_id,) = entry.targets
    names = []
    for key, name_file in ((DRAFTS, name_video), (LATENTS, name_latent)):
        for number, file in enumerate(list_node_files(history, review_id, key)):
            names.append(name_file(number, file["filename"]))
            entry.write_file(names[-1], await _fetch(session, file))
    return names


async def _fetch(session: ClientSession, file: File) -> bytes:
    async with session.get("/view", params=file) as response:
        response.raise_for_status()
        return await response.read()
