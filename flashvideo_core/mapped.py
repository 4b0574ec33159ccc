"""Tensors that are larger than memory should hold: files without a name, mapped into memory, of which the system keeps
what is in use and writes the rest to disk.
"""

import math
import tempfile

import numpy as np
import torch
from torch import Tensor

IN_MEMORY = 2**31  # bytes: a latent of 4,000 frames at 1080p in float32


def allocate(shape: tuple[int, ...], device: torch.device | None = None, limit: int = IN_MEMORY) -> Tensor:
    """An empty float32 tensor: on a device of its own always in that one's memory; of the host (None), above `limit`
    bytes in a file in the folder for temporary files ($TMPDIR), which goes with the tensor.
    """
    if 4 * math.prod(shape) <= limit or (device is not None and device.type != "cpu"):
        return torch.empty(shape, device=device)
    with tempfile.TemporaryFile(prefix="flashvideo-") as file:
        return torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
