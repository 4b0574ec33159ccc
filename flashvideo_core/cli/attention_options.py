"""`--attention`: a kernel, or for stage 2 windows in place of all tokens; the windows' numbers are settings of the run.

A kernel that is named stands for dense attention, so that a clip with windows is repeated without them by naming one.
Nothing here imports torch, as in options.py.
"""

import argparse
from collections.abc import Sequence

from ..errors import InputError
from .options import REFINE, NamedSettings, add_setting, named_settings

KERNELS = ("auto", "fused", "chunked", "sage")
EXACT = "fused or chunked: exact; sage: quicker (default: auto)"
WINDOWS = "windows"
WINDOW = (24, 40)  # tokens, 384x640 pixels: a fifth of the work of a 1080p clip
DENSE = {"window": (0, 0), "dense_evaluations": 0}


class ChooseAttention(argparse.Action):
    """Stores a kernel as `attention`, and as `has_windows` which of the two was named."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[str] | None,
        option_string: str | None = None,
    ) -> None:
        namespace.attention = None if values == WINDOWS else values
        namespace.has_windows = values == WINDOWS


def add_kernel_option(parser: argparse.ArgumentParser) -> None:
    """For commands that do not refine."""
    parser.add_argument("--attention", choices=KERNELS, help=EXACT)


def add_attention_options(parser: argparse.ArgumentParser) -> None:
    """For commands that refine: has_windows is None where neither windows nor a kernel is named."""
    help = f"{EXACT}; windows: quicker, stage 2 sees a window of its tokens"
    parser.set_defaults(has_windows=None)
    parser.add_argument("--attention", action=ChooseAttention, choices=(*KERNELS, WINDOWS), help=help)
    default = "x".join(map(str, WINDOW))
    help = f"tokens of 16x16 pixels, of --attention windows (default: {default})"
    add_setting(parser, "--window", "refine.window", type=parse_window, help=help, metavar="HEIGHTxWIDTH")
    help = "first evaluations of stage 2 without windows (default: 0)"
    add_setting(parser, "--dense-evaluations", "refine.dense_evaluations", type=int, help=help, metavar="N")


def parse_window(text: str) -> tuple[int, int]:
    """(height, width) in tokens from "24x40", at least 1 each."""
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no window; write HEIGHTxWIDTH in tokens, e.g. 24x40")
    return height, width


def named_refine(args: argparse.Namespace, is_windowed: bool = False) -> NamedSettings:
    """The numbers of stage 2 that are named. is_windowed: those of a run with windows stand behind them.

    Raises InputError for numbers of windows without windows.
    """
    named = named_settings(args, REFINE)
    numbers = [f"--{name.replace('_', '-')}" for name in DENSE if name in named]
    if args.has_windows:
        return named if is_windowed else {"window": WINDOW} | named
    if numbers and (args.has_windows is False or not is_windowed):
        raise InputError(f"{' and '.join(numbers)}: only --attention windows has these")
    return named if args.has_windows is None else named | DENSE
