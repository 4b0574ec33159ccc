"""Speed: stage 2 in a fraction of its work, stage 1 with fewer evaluations."""

from comfy_api.latest import io

from ..flashvideo_core.windows import Window
from .bridge.savings import apply_speed
from .bridge.speed import Speed
from .bridge.types import Model

CUSTOM, WINDOWS = "custom", "windows"
SIZES = {"24x40": (24, 40), "16x24": (16, 24), "32x56": (32, 56)}  # height, width in tokens


class FlashVideoSpeed(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoSpeed",
            display_name="FlashVideo Speed",
            category="FlashVideo",
            description="Trades a little exactness for time: windows of attention and fewer guided evaluations in "
            "stage 2, a step cache in stage 1. Any sampler after it takes part. As it is set at first it changes "
            "nothing.",
            search_aliases=["flashvideo", "speed", "fast", "easycache", "teacache", "sparse attention"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1 or stage 2."),
                io.Combo.Input(
                    "attention",
                    options=["dense", WINDOWS],
                    default="dense",
                    tooltip="Stage 2. windows: each tile of the clip sees the tokens around it and the text, a fifth "
                    "of the work at 1080p. dense: all of them, as released.",
                ),
                io.Combo.Input(
                    "window",
                    options=[*SIZES, CUSTOM],
                    default="24x40",
                    tooltip="Rows x columns of tokens that a tile sees, in all frames; a token is 16x16 pixels. "
                    "custom: width and height below.",
                ),
                window_input("window_width", SIZES["24x40"][1]),
                window_input("window_height", SIZES["24x40"][0]),
                io.Int.Input(
                    "dense_evaluations",
                    default=0,
                    min=0,
                    max=100,
                    tooltip="Stage 2 with windows: so many evaluations at the beginning are dense.",
                ),
                io.Int.Input(
                    "guided_evaluations",
                    default=0,
                    min=0,
                    max=100,
                    tooltip="Stage 2: only so many evaluations at the beginning have guidance; the others cost half. "
                    "0: all.",
                ),
                io.Float.Input(
                    "cache",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Stage 1: an evaluation is saved where less than this share of the result would change, "
                    "e.g. 0.1. 0: none.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="For FlashVideo Stage 1 or 2, or any sampler.")],
        )

    @classmethod
    def execute(
        cls,
        model: Model,
        attention: str,
        window: str,
        window_width: int,
        window_height: int,
        dense_evaluations: int,
        guided_evaluations: int,
        cache: float,
    ) -> io.NodeOutput:
        sides = SIZES.get(window, (window_height, window_width))
        speed = Speed(Window(*sides) if attention == WINDOWS else None, dense_evaluations, guided_evaluations, cache)
        return io.NodeOutput(apply_speed(model, speed))


def window_input(name: str, default: int) -> io.Int.Input:
    """Width or height of a custom window."""
    tooltip = "Tokens of 16 pixels, for the window custom."
    return io.Int.Input(name, default=default, min=1, max=512, tooltip=tooltip)


NODES = [FlashVideoSpeed]
