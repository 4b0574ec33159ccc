"""Pictures are shown as tagged: turned, mirrored, with square pixels; a tag that is not applied is said."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support.video_files import smooth_clip

from flashvideo_core.media import orientation
from flashvideo_core.media.orientation import EXIF_ORIENTATIONS, Orientation, describe_aspect, scale_to_square
from flashvideo_core.media.picture_files import count_tiff_pages, read_exif_orientation
from flashvideo_core.media.video_reader import probe_video, read_video

SAVED = {"png": {}, "tiff": {}, "webp": {"quality": 95}, "jpg": {"quality": 95}}
MATRICES = {  # a, b, c, d of the display matrix: x' = ax + cy, y' = bx + dy
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("tag", range(1, 9))
def test_all_eight_exif_orientations_are_as_pillow_shows_them(tmp_path, kind, tag):
    picture = Image.fromarray((smooth_clip(1, 48, 80)[0] * 255).byte().numpy())
    exif = Image.Exif()
    exif[0x0112] = tag
    path = tmp_path / f"a.{kind}"
    picture.save(path, exif=exif, **SAVED[kind])
    assert read_exif_orientation(path) == tag
    video = read_video(path)
    with Image.open(path) as opened:
        shown = torch.from_numpy(np.array(ImageOps.exif_transpose(opened).convert("RGB"))) / 255
    assert video.frames[0].shape == shown.shape and (video.frames[0] - shown).abs().mean() < 0.02
    assert video.notes == tuple(filter(None, [EXIF_ORIENTATIONS[tag].describe()]))
    assert (probe_video(path).height, probe_video(path).width) == shown.shape[:2]


@pytest.mark.parametrize("matrix", MATRICES)
def test_display_matrices_move_the_corners_where_they_say(matrix):
    """The picture's own rows and columns, put through the matrix, name the corner that each pixel goes to."""
    a, b, c, d = matrix
    found = orientation._read_matrix(*(65536 * value for value in matrix))
    assert found == EXIF_ORIENTATIONS[MATRICES[matrix]]
    picture = torch.arange(4.0).reshape(2, 2, 1).expand(2, 2, 3)
    turned = found.turn(picture)
    for y in (-1, 1):
        for x in (-1, 1):
            x_to, y_to = a * x + c * y, b * x + d * y
            assert turned[(y_to + 1) // 2, (x_to + 1) // 2, 0] == picture[(y + 1) // 2, (x + 1) // 2, 0]


def test_other_angles_are_not_applied_and_said():
    tilted = orientation._read_matrix(*(round(65536 * 0.5**0.5) * sign for sign in (1, -1, 1, 1)))
    assert tilted == Orientation(odd_degrees=45) and "45 degrees counterclockwise, which is not" in tilted.describe()
    picture = torch.rand(3, 4, 3)
    assert torch.equal(tilted.turn(picture), picture)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        ("32/27", (64, 114)),
        ("2", (64, 192)),
        ("1/2", (128, 96)),
        ("1", (64, 96)),
        ("1001/1000", (64, 96)),
        ("9", (64, 96)),
    ],
)
def test_pixels_become_square_and_none_is_lost(aspect, size):
    aspect, picture = Fraction(aspect), smooth_clip(1)[0]
    scaled = scale_to_square(picture, aspect)
    assert scaled.shape[:2] == size and 0 <= scaled.min() <= scaled.max() <= 1
    assert (scaled.mean((0, 1)) - picture.mean((0, 1))).abs().max() < 0.01
    said = describe_aspect(64, 96, aspect)
    assert bool(said) == (abs(aspect - 1) > 0.01)
    assert ("not applied" in said) == (aspect == 9)


def test_pages_are_counted_as_far_as_the_file_goes(tmp_path):
    pages = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    assert count_tiff_pages(tmp_path / "a.tiff") == 3
    data = (tmp_path / "a.tiff").read_bytes()
    circle = bytearray(data)  # the first page leads to itself
    first = int.from_bytes(data[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    circle[end : end + 4] = data[4:8]
    (tmp_path / "circle.tiff").write_bytes(circle)
    (tmp_path / "cut.tiff").write_bytes(data[: first + 4])
    (tmp_path / "other.bin").write_bytes(b"nothing of the kind")
    assert [count_tiff_pages(tmp_path / name) for name in ("circle.tiff", "cut.tiff", "other.bin")] == [1, 1, 0]
    assert [read_exif_orientation(tmp_path / name) for name in ("circle.tiff", "cut.tiff", "other.bin")] == [1, 1, 1]
