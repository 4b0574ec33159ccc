"""What a folder or a pattern of sources comes to: which clips, of which files, in which order, under which names."""

import pytest

from flashvideo_core.cli.refine_source import count_missing
from flashvideo_core.cli.source_files import SourceFiles, find_clips, is_collection
from flashvideo_core.errors import InputError


def make_files(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def list_clips(source):
    return [(files.name, [path.name for path in files.paths]) for files in find_clips(source)]


def test_a_folder_of_videos_pictures_and_sequences_in_natural_order(tmp_path):
    names = ("shot10.mp4", "shot2.mov", "notes.txt", ".hidden.mp4", "cat.PNG", "dog.jpg")
    folder = make_files(tmp_path / "in", *names, "run_9.png", "run_10.png", "run_10.jpg")
    (folder / "deeper").mkdir()
    assert list_clips(folder) == [
        ("cat", ["cat.PNG"]),
        ("dog", ["dog.jpg"]),
        ("run", ["run_9.png", "run_10.png"]),
        ("run_10", ["run_10.jpg"]),
        ("shot2", ["shot2.mov"]),
        ("shot10", ["shot10.mp4"]),
    ]
    assert is_collection(find_clips(folder))


def test_numbered_pictures_are_one_clip_by_the_name_of_the_folder(tmp_path):
    folder = make_files(tmp_path / "take 3", *(f"{i}.png" for i in (1, 2, 11, 10)))
    (files,) = find_clips(folder)
    assert files.name == "take 3" and [path.name for path in files.paths] == ["1.png", "2.png", "10.png", "11.png"]
    assert files.is_sequence and files.file == "*.png" and not is_collection([files])
    assert count_missing(files) == 7
    assert is_collection(find_clips(make_files(tmp_path / "one", "a.mp4")))


@pytest.mark.parametrize("pattern", ["v2_shot_%04d.final.png", "v2_shot_%d.final.png", "v2_shot_*.final.png"])
def test_a_pattern_names_the_pictures_of_one_clip(pattern, tmp_path):
    names = [f"v2_shot_{i:04d}.final.png" for i in (8, 9, 10)]
    make_files(tmp_path, *names, "v2_shot_0011.draft.png", "other_0001.final.png")
    (files,) = find_clips(tmp_path / pattern)
    assert [path.name for path in files.paths] == names and files.name == "v2_shot_.final"
    assert files.file == "v2_shot_*.final.png" and count_missing(files) == 0


def test_drafts_keep_their_meaning(tmp_path):
    for marker in ("draft.safetensors", "clip.json"):
        folder = make_files(tmp_path / marker[:5], marker, "final.mp4", "draft.mp4")
        assert find_clips(folder) == [SourceFiles(marker[:5], (folder / "draft.safetensors",))]
        assert not is_collection(find_clips(folder))
    alone = tmp_path / "draft" / "draft.safetensors"
    assert find_clips(alone) == [SourceFiles("draft", (alone,))]


def test_names_that_come_to_nothing(tmp_path):
    make_files(tmp_path, "a_1.mp4", "a_2.mp4", "odd*.png")
    with pytest.raises(InputError, match="holds no draft, no video and no picture"):
        find_clips(make_files(tmp_path / "empty", "notes.txt"))
    with pytest.raises(InputError, match=r"names a_1\.mp4, which is no picture"):
        find_clips(tmp_path / "a_*.mp4")
    with pytest.raises(InputError, match=r"b_%d\.png: no file has such a name"):
        find_clips(tmp_path / "b_%d.png")
    assert find_clips(tmp_path / "odd*.png")[0].path.name == "odd*.png"  # a file that is called so
