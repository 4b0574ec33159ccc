"""R'G'B' pictures <-> Y'CbCr planes, in float, with the matrix and range that a file names (ITU-T H.273).

swscale only unpacks unusual layouts here. Its own colour conversion goes through 8-bit integers, assumes BT.601 unless
told otherwise, and places chroma between two columns where H.264 means the left one.
"""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from av import VideoFrame
from av.video.plane import VideoPlane

BT601, BT709, BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)  # weights of red and blue in luma
MATRICES = {1: BT709, 4: (0.30, 0.11), 5: BT601, 6: BT601, 7: (0.212, 0.087), 9: BT2020}  # by H.273 matrix code
LIMITED_RANGE, FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
BT709_CODE = 1  # of BT.709 in H.273: matrix, primaries and transfer alike
PLANAR = re.compile(r"yuv[aj]?(420|422|444)p((9|10|12|14|16)le)?")


def rgb_to_frame(rgb: torch.Tensor, pixels: str) -> VideoFrame:
    """[H, W, 3] in 0..1 -> a frame of this pixel format; values outside 0..1 are clamped.

    yuv420p, yuv422p and theirs in 10 bits: BT.709 in limited range, W (and for 420 H) even, chroma sited left (1/4,
    1/2, 1/4 over the columns; for 420 the mean of two rows). rgb24 and rgb48be: full range.
    """
    rgb = rgb.detach().float().cpu().clamp(0, 1)
    frame = VideoFrame(rgb.shape[1], rgb.shape[0], pixels)
    depth = frame.format.components[0].bits
    if frame.format.is_rgb:
        peak, dtype = 2**depth - 1, "u1" if depth == 8 else ">u2"
        _write_plane(frame.planes[0], (rgb * peak).round().flatten(1), dtype)
        return frame
    frame.colorspace, frame.color_range = BT709_CODE, LIMITED_RANGE  # ProRes writes those of its frames
    planes = _rgb_to_ycbcr(rgb, depth, halve_rows=frame.planes[1].height < frame.height)
    for plane, codes in zip(frame.planes, planes, strict=True):
        _write_plane(plane, codes.round(), "u1" if depth == 8 else "<u2")
    return frame


def _rgb_to_ycbcr(rgb: torch.Tensor, depth: int, halve_rows: bool) -> list[torch.Tensor]:
    """[H, W, 3] in 0..1 -> luma [H, W] and the two colour differences, whose columns (and rows) are halved, in codes
    of this depth before rounding."""
    matrix, unit = _ycbcr_matrix(BT709), 2 ** (depth - 8)
    rows = (rgb[0::2] + rgb[1::2]) / 2 if halve_rows else rgb
    left = torch.cat([rows[:, :1], rows[:, 1:-1:2]], dim=1)
    halved = left / 4 + rows[:, 0::2] / 2 + rows[:, 1::2] / 4
    y = 16 * unit + 219 * unit * (rgb @ matrix[0])
    chroma = 128 * unit + 224 * unit * (halved @ matrix[1:].T)
    return [y, *chroma.unbind(-1)]


def frame_to_rgb(frame: VideoFrame) -> torch.Tensor:
    """A decoded frame of any pixel format -> float32 [H, W, 3] in 0..1; alpha is ignored.

    Matrix by its tag, and for an untagged one by the common convention: BT.709 from 720 lines up, else BT.601.
    Untagged range: limited.
    """
    depth = max(component.bits for component in frame.format.components)
    if frame.format.is_rgb or len(frame.format.components) < 3:  # RGB, grey, palette
        name, peak = ("rgb48le", 65535) if depth > 8 else ("rgb24", 255)
        return torch.from_numpy(frame.reformat(format=name).to_ndarray().astype(np.float32) / peak)
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    weights = MATRICES.get(frame.colorspace, BT709 if frame.height >= 720 else BT601)
    if not PLANAR.fullmatch(frame.format.name):
        frame = frame.reformat(format="yuv444p16le" if depth > 8 else "yuv444p")
        depth = frame.format.components[0].bits
    y, cb, cr = (_read_plane(plane, depth) for plane in frame.planes[:3])
    ycbcr = torch.cat([y[None], _upsample_chroma(torch.stack([cb, cr]), *y.shape)])
    unit = 2 ** (depth - 8)  # levels below in units of 8 bits, except the full range, which ends at the last code
    black, luma, chroma = (0, 2**depth - 1, 2**depth - 1) if full else (16 * unit, 219 * unit, 224 * unit)
    matrix = torch.linalg.inv(_ycbcr_matrix(weights)) / torch.tensor([luma, chroma, chroma])
    offset = matrix @ torch.tensor([black, 128.0 * unit, 128.0 * unit])
    return (ycbcr.flatten(1).T @ matrix.T).sub_(offset).clamp_(0, 1).reshape(*y.shape, 3)


def _ycbcr_matrix(weights: tuple[float, float]) -> torch.Tensor:
    """[3, 3] from R'G'B' in 0..1 to luma in 0..1 and colour differences in -0.5..0.5."""
    kr, kb = weights
    luma = torch.tensor([kr, 1 - kr - kb, kb])
    red, _, blue = torch.eye(3)
    return torch.stack([luma, (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)])


def _write_plane(plane: VideoPlane, codes: torch.Tensor, dtype: str) -> None:
    """[height, values of a row] whole numbers into a plane, whose rows are padded with zeros."""
    rows = np.zeros((plane.height, plane.line_size // np.dtype(dtype).itemsize), dtype)
    rows[:, : codes.shape[1]] = codes.numpy()
    plane.update(rows)


def _read_plane(plane: VideoPlane, depth: int) -> torch.Tensor:
    """[height, width] float32 of the codes, without the padding of the rows."""
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    rows = np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
    return torch.from_numpy(rows[: plane.height, : plane.width].astype(np.float32))


def _upsample_chroma(chroma: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[2, h, w] to the size of luma: linear, sited left on the columns and in the middle on the rows."""
    if chroma.shape[2] < width:
        right = torch.cat([chroma[..., 1:], chroma[..., -1:]], dim=2)
        chroma = torch.stack([chroma, (chroma + right) / 2], dim=3).flatten(2)[..., :width]
    if chroma.shape[1] < height:
        doubled = (2 * chroma.shape[1], width)
        chroma = F.interpolate(chroma[None], doubled, mode="bilinear", align_corners=False)[0, :, :height]
    return chroma
