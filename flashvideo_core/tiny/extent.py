"""How much an evaluation measures: counts of prompts and clips, and the settings of stage 2 that are tried."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Extent:
    """Raises InputError for a count below 1."""

    prompts: int = 120  # drafts that are judged
    refined: int = 16  # of them that are refined
    clips: int = 16  # rendered clips that are refined by the default setting
    swept: int = 16  # of them on which every setting is tried
    latent_frames: int = 3  # of a rendered clip that are decoded: alone as in the whole clip, and half the time
    evaluations: tuple[int, ...] = (1, 2, 3, 4, 6, 8)  # arXiv 2502.05179: 1 to 8
    noise_steps: tuple[int, ...] = (0, 10, 30, 100, 200, 300, 450, 600, 850)
    guidance: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
    is_hint: bool = False

    def __post_init__(self):
        for name in ("prompts", "refined", "clips", "swept"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")


FULL = Extent()
QUICK = Extent(
    prompts=16,
    refined=1,
    clips=2,
    swept=1,
    latent_frames=2,
    evaluations=(1, 4, 8),
    noise_steps=(0, 30, 300),
    guidance=(1.0, 2.0, 4.0),
    is_hint=True,
)
