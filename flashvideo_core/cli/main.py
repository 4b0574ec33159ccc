"""The command line, `python -m flashvideo_core COMMAND`: runs a command, and says what becomes of errors.

Bad input is one line on stderr, "error: ...", and exit code 2; out of memory and a full disk one line and 1; Ctrl-C and
SIGTERM one line and 130. Anything else is a bug: its traceback, where to report it, and 1. A command's module is
imported when it runs, so that --help is immediate.
"""

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..errors import InputError, one_line
from .parser import build_parser
from .progress import Reporter, warnings_to

TORCHRUN_GRACE = 30  # seconds that a process of torchrun leaves the first one to say what is wrong
ISSUES = "https://github.com/flashvideo/ComfyUI-FlashVideo/issues"
# of files that the user named; other OSErrors are the machine's state, as a full disk
WRONG_PATH = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    speaker = Reporter(sys.stdout, sys.stderr, "--json" in argv, has_bars=not is_one_of_many())
    reporter = speaker if is_first_process() or has_own_clips(argv) else Reporter(io.StringIO(), io.StringIO())
    try:
        args = build_parser().parse_args(argv)
        with warnings_to(reporter), terminable():
            import_module(f".{args.module}", __package__).run(args, reporter)
        return 0
    except KeyboardInterrupt as stop:
        reporter.fail("interrupted", str(stop) or "stopped before anything was finished")
        return 130
    except BrokenPipeError:  # whoever read stdout has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return explain(error, argv, speaker)  # speaks for this process: the others may have no such trouble


def explain(error: Exception, argv: list[str], reporter: Reporter) -> int:
    """Says what went wrong, and returns the exit code."""
    from ..memory.exhausted import is_out_of_memory  # torch, which --help does without

    if isinstance(error, InputError) or is_wrong_path(error, argv):
        if not is_first_process():  # torchrun ends all at the first exit, which has to be that of the one who says why
            time.sleep(TORCHRUN_GRACE)
        reporter.fail("error", describe(error))
        return 2
    if is_out_of_memory(error):
        text = one_line(error) if str(error) else "out of memory"
        reporter.fail("error", text if "memory" in text else f"out of memory: {text}")
    elif isinstance(error, OSError) and (error.filename is None or names_path(argv, error.filename)):
        reporter.fail("error", describe(error))
    else:
        reporter.close()
        traceback.print_exception(error, file=reporter.err)
        line = f"this is a bug ({type(error).__name__}: {one_line(error)}); please report it with the lines above"
        reporter.fail("error", f"{line}: {ISSUES}")
    return 1


def is_wrong_path(error: Exception, argv: list[str]) -> bool:
    return isinstance(error, WRONG_PATH) and error.filename is not None and names_path(argv, error.filename)


def names_path(argv: list[str], path: str | bytes | int) -> bool:
    """Whether a word of the command line is that file, or a folder that it lies in."""
    if isinstance(path, int):
        return False
    target = Path(os.path.abspath(os.fsdecode(path)))
    words = [word.partition("=")[2] if word.startswith("--") and "=" in word else word for word in argv]
    named = [Path(os.path.abspath(word)) for word in [*words, "clips"] if word and not word.startswith("--")]
    return any(path == target or path in target.parents for path in named)


def describe(error: Exception) -> str:
    """An OSError in words, without its number."""
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return name + error.strerror
    return one_line(error)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM is Ctrl-C in here: what is being written goes, what is finished is named."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def is_one_of_many() -> bool:
    """Whether torchrun runs the same command in several processes."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def is_first_process() -> bool:
    """Whether this process speaks for all of torchrun's, to which bad input is the same."""
    return not is_one_of_many() or os.environ.get("LOCAL_RANK", "0") == "0"


def has_own_clips(argv: list[str]) -> bool:
    """Whether the processes share the clips out, so that each has results to name."""
    return any(word.partition("=")[0] == "--shard" for word in argv)
