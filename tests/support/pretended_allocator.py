"""CUDA's memory without CUDA: a caching allocator that torch.cuda's functions report of."""

import pytest
import torch
from torch import nn

SEGMENT = 2 << 20


class PretendedAllocator:
    """Blocks of bytes by name, as torch's allocator keeps them: a freed one stays reserved, and is taken again by
    what fits into it; the driver's free memory is what was never reserved, or given back.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int):
        self.total, self.used, self.cached = total, {}, []
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (self.total - self.reserved, self.total))
        monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: self.stats())
        monkeypatch.setattr(torch.cuda, "empty_cache", self.cached.clear)

    @property
    def reserved(self) -> int:
        return sum(self.used.values()) + sum(self.cached)

    def stats(self) -> dict[str, int]:
        """Empty before the first tensor, as torch's."""
        if not self.reserved:
            return {}
        return {"reserved_bytes.all.current": self.reserved, "active_bytes.all.current": sum(self.used.values())}

    def allocate(self, name: str, size: int) -> None:
        """Raises OutOfMemoryError as torch does, after giving back what is cached."""
        fitting = [block for block in self.cached if block >= size]
        if fitting:
            self.cached.remove(min(fitting))
            size = min(fitting)
        size = -(-size // SEGMENT) * SEGMENT
        if self.reserved + size > self.total:
            self.cached.clear()
        if self.reserved + size > self.total:
            raise torch.OutOfMemoryError(f"pretended: {size} bytes do not fit")
        self.used[name] = size

    def free(self, name: str) -> None:
        self.cached.append(self.used.pop(name))


class PretendedModel(nn.Module):
    """A model that takes so many bytes of the allocator while it is on a CUDA device."""

    def __init__(self, allocator: PretendedAllocator, weights: int):
        super().__init__()
        self.allocator, self.weights = allocator, weights

    def to(self, device: str | torch.device) -> "PretendedModel":
        on_card = "weights" in self.allocator.used
        if torch.device(device).type == "cuda" and not on_card:
            self.allocator.allocate("weights", self.weights)
        elif torch.device(device).type == "cpu" and on_card:
            self.allocator.free("weights")
        return self
