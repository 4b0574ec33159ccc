"""Which of a file's tensors each of our parameters is made of.

Every name of a file is consumed once; what no table knows, what two entries claim, and LoRA matrices without a partner
are reported.
"""

import math
import re
from dataclasses import dataclass, replace

from .identify import select_used
from .keys import (
    DIFFUSERS_VAE,
    QUANT,
    RELEASED_PREFIX,
    RELEASED_VAE,
    SCALE,
    SMALL_DECODER,
    TRANSFORMER,
    KeyTable,
    Shapes,
    drop_prefix,
)

Sources = dict[str, "TensorSource"]
"""By the names of our parameters."""

_ADAPTER = re.compile(r"(.+)\.matrix_([AB])\.(\d+)")


@dataclass(frozen=True)
class TensorSource:
    """What one of our parameters is made of: names of a stored weight, of an fp8 scale, and of LoRA pairs (A, B).

    A is [rank, in] and B [out_k, rank]; the B of all pairs together have the weight's rows.
    """

    weight: str
    scale: str | None = None
    lora: tuple[tuple[str, str], ...] = ()

    def find_misfits(self, shapes: Shapes, wanted: tuple[int, ...]) -> list[str]:
        """What has another shape than a parameter of the wanted shape needs, one short sentence each."""
        found, problems = shapes[self.weight], []
        if found != wanted:
            problems.append(f"misshapen {self.weight} {list(found)} instead of {list(wanted)}")
        if self.scale and math.prod(shapes[self.scale]) != 1:
            problems.append(f"misshapen {self.scale} {list(shapes[self.scale])} instead of one number")
        if self.lora and not self._lora_fits(shapes, wanted):
            problems.append(f"misshapen LoRA {self.lora[0][0]} ... for {list(wanted)}")
        return problems

    def _lora_fits(self, shapes: Shapes, wanted: tuple[int, ...]) -> bool:
        pairs = [(shapes[a], shapes[b]) for a, b in self.lora]
        if any(len(shape) != 2 for pair in pairs for shape in pair):
            return False
        rank = pairs[0][0][0]
        fits = all(a == (rank, wanted[-1]) and b[1] == rank for a, b in pairs)
        return fits and sum(b[0] for _, b in pairs) == wanted[0]


def match_names(shapes: Shapes, origin: str) -> tuple[Sources, list[str]]:
    """Our parameter names -> their sources, and what is wrong with the names, one short sentence each."""
    if origin == "ours":
        return _match_ours(shapes)
    if origin == "diffusers":
        return _match_by_table({name: name for name in shapes}, KeyTable(DIFFUSERS_VAE))
    if origin == "taehv":  # the encoder beside it is not used
        return _match_by_table({n: n for n in shapes if not n.startswith("encoder.")}, KeyTable(SMALL_DECODER))
    names = select_used(shapes)
    if names and names[0].startswith(RELEASED_PREFIX):
        return _match_released_transformer(names)
    return _match_by_table({name: name for name in names}, KeyTable(RELEASED_VAE))


def _match_ours(shapes: Shapes) -> tuple[Sources, list[str]]:
    extra = {name for name in shapes if name.endswith((SCALE, QUANT))}
    weights = [name for name in shapes if name not in extra]
    sources = {name: TensorSource(name, scale if (scale := f"{name}_scale") in extra else None) for name in weights}
    homeless = [name for name in extra if name.removesuffix(SCALE).removesuffix(QUANT) + ".weight" not in sources]
    return sources, [f"unexpected {name}" for name in homeless]


def _match_released_transformer(names: list[str]) -> tuple[Sources, list[str]]:
    table, adapters, weights = KeyTable(TRANSFORMER), {}, {}
    for name in names:
        if match := _ADAPTER.fullmatch(drop_prefix(name)):
            layer, side, k = match.groups()
            adapters.setdefault(layer, {})[side, int(k)] = name
        else:
            weights[name] = drop_prefix(name).replace(".original.", ".")
    sources, problems = _match_by_table(weights, table)
    originals = {drop_prefix(name).removesuffix(".original.weight") for name in weights if ".original.weight" in name}
    problems += [f"missing {layer}.matrix_A.0" for layer in sorted(originals - adapters.keys())]
    for layer, matrices in adapters.items():
        ours, count = table.find_ours(f"{layer}.weight"), len(matrices) // 2
        pairs = tuple((matrices.get(("A", k)), matrices.get(("B", k))) for k in range(count))
        if layer not in originals or ours not in sources:
            problems += [f"unexpected {name}" for name in matrices.values()]
        elif len(matrices) % 2 or any(None in pair for pair in pairs):
            problems.append(f"missing a LoRA matrix of {layer}")
        else:
            sources[ours] = replace(sources[ours], lora=pairs)
    return sources, problems


def _match_by_table(names: dict[str, str], table: KeyTable) -> tuple[Sources, list[str]]:
    """names: full foreign name -> the name that the table knows. No two may become the same."""
    sources, problems = {}, []
    for full, name in names.items():
        ours = table.find_ours(name)
        if ours is None or ours in sources:
            problems.append(f"unexpected {full}")
        else:
            sources[ours] = TensorSource(full)
    return sources, problems
