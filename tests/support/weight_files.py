"""Files of weights for tests: the golden ones, damaged ones, and the line that an unusable one gets."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from support.golden import CHECKPOINTS

STAGE1_PT, STAGE2_PT, VAE_PT = (CHECKPOINTS / name for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))


def read_released(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a released file by their full names, to be damaged."""
    return next(iter(torch.load(path, weights_only=True).values()))


def save_released(folder: Path, content: Mapping[str, object], outer: str = "module") -> Path:
    """A .pt in the released layout. outer: "module", or "state_dict" for the VAE."""
    path = folder / "weights.pt"
    torch.save({outer: dict(content)}, path)
    return path


def check_refused(load: Callable[[Path], object], path: Path, *words: str) -> str:
    """The message with which load(path) fails: one readable line that names the file and contains the words."""
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert str(path) in message
    for word in words:
        assert word in message, message
    return message
