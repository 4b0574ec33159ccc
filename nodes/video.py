"""Load Video: ComfyUI's own, with a sample clip that is always there."""

import shutil
from contextlib import suppress
from pathlib import Path

import folder_paths
from comfy_api.latest import InputImpl, io

SAMPLE = "FlashVideo/sample.mp4 [temp]"  # as the editor asks for its preview
SAMPLE_FILE = Path(__file__).parent / "sample.mp4"


class FlashVideoVideoLoader(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoVideoLoader",
            display_name="FlashVideo Load Video",
            category="FlashVideo",
            description="Loads a clip to refine: a video of the input folder, or the sample that comes with this pack.",
            search_aliases=["flashvideo", "load video", "video file"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[SAMPLE, *list_videos()],
                    default=SAMPLE,
                    upload=io.UploadType.video,
                    tooltip="A video of ComfyUI's input folder, to which the button uploads, or the sample clip.",
                )
            ],
            outputs=[io.Video.Output("video", tooltip="For Get Video Components: its frames, rate and sound.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(InputImpl.VideoFromFile(find_video(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> float:
        return Path(find_video(file)).stat().st_mtime

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        """A file that was uploaded or is given over the API need not be in the list."""
        return file == SAMPLE or folder_paths.exists_annotated_filepath(file) or f"{file} is not in the input folder"


def place_sample() -> None:
    """Copies the sample into ComfyUI's temp folder, which is emptied at each start; only its preview is read there."""
    path = Path(folder_paths.get_temp_directory(), "FlashVideo", "sample.mp4")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLE_FILE, path)


def list_videos() -> list[str]:
    """The videos in ComfyUI's input folder, as its own Load Video lists them."""
    files = [path.name for path in Path(folder_paths.get_input_directory()).iterdir() if path.is_file()]
    return sorted(folder_paths.filter_files_content_types(files, ["video"]))


def find_video(file: str) -> str:
    """The path of an entry; ComfyUI's own names may end in [input], [output] or [temp]."""
    return str(SAMPLE_FILE) if file == SAMPLE else folder_paths.get_annotated_filepath(file)


NODES = [FlashVideoVideoLoader]
