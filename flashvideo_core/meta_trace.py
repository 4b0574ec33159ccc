"""Peak memory of a computation, from its own code: it runs on tensors without data, and their sizes are counted."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


@dataclass(frozen=True)
class MemoryTrace:
    """peak: bytes that live at once; largest: elements of the largest tensor."""

    peak: int
    largest: int


class StorageTracer(TorchDispatchMode):
    """Counts the bytes of every storage made while it is active, beside those of the tensors known before.

    reordered: a convolution also takes copies of its input, weights and output, as in oneDNN (on a CPU) and cuDNN,
    which have layouts of their own.
    """

    def __init__(self, *known: Tensor, reordered: bool = False):
        super().__init__()
        self.live, self.now, self.peak, self.largest = {t.untyped_storage()._cdata: 0 for t in known}, 0, 0, 0
        self.reordered = reordered

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_iter(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
                self.largest = max(self.largest, tensor.numel())
        if self.reordered and func is torch.ops.aten.convolution.default:
            self.peak = max(self.peak, self.now + sum(t.nbytes for t in (*args[:2], out)))
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.live:
            self.live[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self.live.pop(key)


@torch.no_grad()
def trace_memory(call: Callable[[], object], *known: Tensor, reordered: bool = False) -> MemoryTrace:
    """Of call(), whose tensors are on the meta device; not counted are those that were there before (`known`)."""
    with StorageTracer(*known, reordered=reordered) as tracer:
        call()
    return MemoryTrace(tracer.peak, tracer.largest)
