"""Where ComfyUI's Save Video puts a file, and what it writes into it beside the clip."""

import json
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io, ui

from ...flashvideo_core.errors import InputError, one_line


def choose_video_path(prefix: str, size: tuple[int, int]) -> tuple[Path, ui.SavedResult]:
    """The next free name of a video of this size (height, width) in the output folder: its path, and as the editor
    asks for it. Raises InputError for a prefix that leads out of that folder, or where none can be made."""
    output = folder_paths.get_output_directory()
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, size[1], size[0])
    except Exception as error:  # ComfyUI raises no narrower one
        raise InputError(f"filename_prefix is {prefix!r}, where no video can be saved: {one_line(error)}") from error
    file = f"{name}_{counter:05}_.mp4"
    return Path(folder, file), ui.SavedResult(file, subfolder, io.FolderType.output)


def make_metadata(node: type[io.ComfyNode]) -> dict[str, str]:
    """The workflow and the prompt, unless ComfyUI was started without them; the editor opens a video that has them."""
    if args.disable_metadata:
        return {}
    values = {**(node.hidden.extra_pnginfo or {}), "prompt": node.hidden.prompt}
    return {name: json.dumps(value) for name, value in values.items() if value is not None}
