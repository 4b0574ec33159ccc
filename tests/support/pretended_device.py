"""A device that is not there: tensors with shape, dtype and place, but no data, that torch takes for a card's.

They are FakeTensors on torch's device for backends of others, "privateuseone" (renamed "card"), so torch's own rules
hold: tensors of two devices do not mix, but for single numbers on the CPU. The CPU's tensors are real.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CORE = Path(__file__).parents[2] / "flashvideo_core"
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default}
RANDOM = ("rand", "randn", "randint", "randperm", "normal", "uniform", "bernoulli", "multinomial", "dropout")
LARGE = 1 << 20  # elements: a tensor that is more than a table


@cache
def pretended_card() -> torch.device:
    """Registers the device with torch, once a process."""
    backend_registration._setup_privateuseone_for_python_backend("card")
    return torch.device("card:0")


class PretendedDevice(TorchDispatchMode):
    """Carries the pretended tensors while it is active, and counts by the function of the core that asked for it:

    syncs: the host waits to read a value. to_card, to_host: copies. random: numbers drawn, by the device's type.
    host_work: what the CPU computes on large tensors. A tensor on the wrong device raises RuntimeError, as on a card.
    """

    def __init__(self) -> None:
        super().__init__()
        self.card = pretended_card()
        self.fake = FakeTensorMode()
        self.syncs, self.to_card, self.to_host = Counter(), Counter(), Counter()
        self.random, self.host_work = Counter(), Counter()

    def __enter__(self) -> "PretendedDevice":
        self.lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(1.0, device=card) is a copy from the CPU then
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        torch._C._set_only_lift_cpu_tensors(self.lifts)
        super().__exit__(*error)

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs, site = dict(kwargs or {}), find_site()
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        without_data = [tensor for tensor in given if isinstance(tensor, FakeTensor)]
        if without_data and func in READS:
            self.syncs[site] += any(tensor.device == self.card for tensor in given)
            return without_data[0].dtype == torch.bool or 1  # "all are finite"
        if func is aten.nonzero.default and without_data:
            self.syncs[site] += 1
            return given[0].new_empty(1, given[0].ndim, dtype=torch.long)
        pretended = kwargs.get("device") == self.card or without_data
        if pretended or creates_large(func, args, given):
            args, kwargs = tree_map_only(Tensor, self._without_data, (args, kwargs))
            with self.fake:
                out = func(*args, **kwargs)
        else:
            out = func(*args, **kwargs)
        self._count(func, site, given, [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)])
        return out

    def _without_data(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def _count(self, func: torch._ops.OpOverload, site: str, given: list[Tensor], made: list[Tensor]) -> None:
        name = func.overloadpacket.__name__
        places = {tensor.device for tensor in given}
        if name.rstrip("_").split("_like")[0] in RANDOM:
            self.random[site, made[0].device.type] += 1
        if name == "copy_" and len(places) == 2:
            (self.to_card if given[0].device == self.card else self.to_host)[site] += 1
        elif name == "_to_copy" and made[0].device != given[0].device:
            (self.to_card if made[0].device == self.card else self.to_host)[site] += 1
        elif any(tensor.device.type == "cpu" and tensor.numel() >= LARGE for tensor in made) and not func.is_view:
            self.host_work[site] += 1


def creates_large(func: torch._ops.OpOverload, args: Sequence[Any], given: list[Tensor]) -> bool:
    """Whether the CPU is asked for a buffer that need not be there to be counted."""
    sizes = args[0] if args and isinstance(args[0], list | tuple) else ()
    is_buffer = func.overloadpacket in (aten.empty, aten.zeros)
    return is_buffer and not given and torch.Size(sizes).numel() >= LARGE


def find_site() -> str:
    """The function of the core that is at work, as module.function; "" outside of it."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if CORE in path.parents:
            return f"{path.relative_to(CORE).with_suffix('')}.{frame.f_code.co_qualname.split('.<locals>')[0]}"
        frame = frame.f_back
    return ""
