"""Ways to run stage 2 in less work: windows of attention, guidance in the first evaluation alone, distillation.

A distilled stage 2 needs one evaluation without guidance. Any of them go together, but for guidance with distillation.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from ..config import STAGE2_DEFAULTS
from ..dit import Transformer
from ..errors import InputError
from ..sampling import make_draw_noise, sample_stage2
from ..types import OnPass
from .networks import build_network, cut_corner, make_inputs
from .operations import count_transformer
from .sizes import SIZES, Size

OPTIONS = ("windows", "guided", "distilled")
DENSE = "dense"


@dataclass(frozen=True)
class Variant:
    """Stage 2 as released, but for its options (a part of OPTIONS)."""

    options: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """ "dense", or the options: "windows+guided"."""
        return "+".join(name for name in OPTIONS if name in self.options) or DENSE

    @classmethod
    def parse(cls, name: str) -> "Variant":
        return cls(frozenset(() if name == DENSE else name.split("+")))

    def sample(self, dit: Transformer, z_ref: Tensor, txt: Tensor, size: Size, on_pass: OnPass | None = None) -> Tensor:
        """`sample_stage2` with the released numbers and these options; a window is that of the size."""
        distilled = "distilled" in self.options
        return sample_stage2(
            dit,
            z_ref,
            txt,
            noise=make_draw_noise(2)(z_ref),
            steps=1 if distilled else STAGE2_DEFAULTS.steps,
            cfg=1.0 if distilled else STAGE2_DEFAULTS.cfg,
            guided_evaluations=int("guided" in self.options),
            window=size.window if "windows" in self.options else None,
            on_pass=on_pass,
        )

    def count_passes(self) -> int:
        """Evaluations of one branch, counted while a small network is sampled."""
        size, evaluated = SIZES["tiny"], Counter()
        inputs = cut_corner("stage2", make_inputs("stage2", size))
        self.sample(build_network("stage2", size), *inputs, size, evaluated.update)
        return evaluated.total()

    def count_operations(self, size: Size) -> int:
        """Of a whole run at a size."""
        window = size.window if "windows" in self.options else None
        return self.count_passes() * count_transformer(size.stage2, size.clip_latent, window)


def list_variants(options: Collection[str]) -> list[Variant]:
    """Dense and every combination of the options. Raises InputError for one that is unknown."""
    if unknown := set(options) - set(OPTIONS):
        raise InputError(f"{', '.join(sorted(unknown))} is no option of stage 2; use {', '.join(OPTIONS)}")
    chosen = product(*([False, True] if name in options else [False] for name in reversed(OPTIONS)))
    combinations = [frozenset(n for n, is_on in zip(reversed(OPTIONS), on, strict=True) if is_on) for on in chosen]
    return [Variant(names) for names in combinations if not names >= {"guided", "distilled"}]
