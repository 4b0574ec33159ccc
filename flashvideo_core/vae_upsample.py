"""A 3x3 convolution of a map enlarged twice (nearest), without the enlarged map.

Every pixel of the enlarged map is there four times, so two of the kernel's three rows (and columns) always see the
same ones. Four kernels of 2x2, one for each phase (even or odd row, even or odd column), give the same result with
4/9 of the products: in half the time on a CPU (not measured on a GPU).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve_enlarged(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv (3x3, padding 1) of x [N, C, H, W] enlarged to [N, C, 2H, 2W]."""
    if can_use_phases(x, conv.weight):
        return convolve_phases(x, conv.weight, conv.bias)
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def can_use_phases(x: Tensor, weight: Tensor) -> bool:
    """In float32: in a shorter dtype the sums of weights would be rounded once more."""
    plain = x.device == weight.device and x.dtype == weight.dtype == torch.float32
    return plain and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))


def convolve_phases(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same from x itself. weight [C', C, 3, 3]."""
    n, _, h, w = x.shape
    out = x.new_empty(n, weight.shape[0], h, 2, w, 2)
    x = F.pad(x, (1, 1, 1, 1))
    for row, kernels in enumerate(fold_kernel(weight, 2)):
        for column, kernel in enumerate(fold_kernel(kernels, 3)):
            seen = x[:, :, row : row + h + 1, column : column + w + 1]
            out[:, :, :, row, :, column] = F.conv2d(seen, kernel, bias)
    return out.view(n, -1, 2 * h, 2 * w)


def fold_kernel(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The kernels, two wide in `dim` instead of three, of an even and of an odd row (or column) of the enlarged map."""
    before, same, after = weight.split(1, dim)
    return torch.cat([before, same + after], dim), torch.cat([before + same, after], dim)
