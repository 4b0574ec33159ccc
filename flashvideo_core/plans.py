"""What the machine's memory made of a run, and what the run counted: in its record.

A repeated run takes the plan over, since a seam elsewhere would change bits.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TypeVar

from .errors import InputError
from .guidance import COND, UNCOND
from .memory import VAESplit

COUNTED = "passes"  # the field of a plan that is no plan: what the run counted

P = TypeVar("P", bound="SavedPlan")


@dataclass(frozen=True)
class Passes:
    """How often a sampling evaluated the network for each branch of guidance; each window of a latent counts."""

    cond: int
    uncond: int

    @classmethod
    def count(cls, evaluated: Mapping[str, int]) -> "Passes":
        """From the number of evaluations by the branch's name; a branch that is not there had none."""
        return cls(evaluated.get(COND, 0), evaluated.get(UNCOND, 0))


class SavedPlan:
    """What both plans have in common: their form in a record."""

    @classmethod
    def from_json(cls: type[P], values: Mapping[str, int | list[int] | None]) -> P:
        """What `to_json` gave, from JSON too, which has lists for tuples. Raises InputError as Settings.from_json."""
        if unknown := values.keys() - {field.name for field in fields(cls) if field.name != COUNTED}:
            raise InputError(f"has a memory plan that is unknown here: {', '.join(sorted(unknown))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def to_json(self) -> dict[str, int | tuple[int, int] | None]:
        """Without what a run has counted."""
        return {name: value for name, value in asdict(self).items() if name != COUNTED}


@dataclass(frozen=True)
class DraftPlan(SavedPlan):
    """How the VAE's pass is split, and how many branches of guidance are evaluated in one batch (memory/).

    branches is None until the network is on its device, since what is free then decides; passes until it has sampled.
    """

    decode: VAESplit = None
    branches: int | None = None
    passes: Passes | None = field(default=None, compare=False)


@dataclass(frozen=True)
class RefinePlan(SavedPlan):
    """As DraftPlan, with the encoding of the hand-off."""

    encode: VAESplit = None
    decode: VAESplit = None
    branches: int | None = None
    passes: Passes | None = field(default=None, compare=False)
