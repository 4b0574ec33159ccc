"""What FlashVideo Speed asks of a MODEL, as it travels in transformer_options under the key SPEED."""

from dataclasses import dataclass

from ...flashvideo_core.windows import Window
from .types import Options

SPEED = "flashvideo"


@dataclass(frozen=True)
class Speed:
    """window: what attention sees; None: everything. The first dense_evaluations of a sampling see everything."""

    window: Window | None = None
    dense_evaluations: int = 0


def find_window(options: Options, sigma: float) -> Window | None:
    """What attention sees in the evaluation at sigma, by transformer_options; None: everything.

    Evaluations count by the sampling's own sigmas; a sampler that evaluates between two of them is in the step of the
    larger one.
    """
    speed, sigmas = options.get(SPEED, Speed()), options.get("sample_sigmas")
    if sigmas is not None and sigma > float(sigmas[min(speed.dense_evaluations, len(sigmas) - 1)]):
        return None
    return speed.window
