"""What FlashVideo Speed asks of a MODEL, as it travels in transformer_options under the key SPEED."""

from dataclasses import dataclass

from ...flashvideo_core.windows import Window
from .types import Options

SPEED = "flashvideo"


@dataclass(frozen=True)
class Speed:
    """window: what attention sees; None: everything. The first dense_evaluations of a sampling see everything.

    Of the first guided_evaluations (0: all) both branches are evaluated, of the others the conditional one. cache: the
    relative change up to which stage 1 saves an evaluation, 0: none.
    """

    window: Window | None = None
    dense_evaluations: int = 0
    guided_evaluations: int = 0
    cache: float = 0.0


def is_among_first(options: Options, sigma: float, count: int) -> bool:
    """Whether the evaluation at sigma is one of the first `count` of a sampling, by transformer_options.

    Evaluations count by the sampling's own sigmas; a sampler that evaluates between two of them is in the step of the
    larger one.
    """
    sigmas = options.get("sample_sigmas")
    return sigmas is not None and sigma > float(sigmas[min(count, len(sigmas) - 1)])


def find_window(options: Options, sigma: float) -> Window | None:
    """What attention sees in the evaluation at sigma, by transformer_options; None: everything."""
    speed = options.get(SPEED, Speed())
    return None if is_among_first(options, sigma, speed.dense_evaluations) else speed.window
