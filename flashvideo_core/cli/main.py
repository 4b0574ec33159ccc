"""The command line, `python -m flashvideo_core COMMAND`: runs a command, and says what becomes of errors.

Bad input is one line on stderr, "error: ...", and exit code 2; Ctrl-C one line and 130. A command's module is imported
when it runs, so that --help is immediate.
"""

import io
import os
import sys
import time
from importlib import import_module

from ..errors import InputError, one_line
from .parser import build_parser
from .progress import Reporter, warnings_to

TORCHRUN_GRACE = 30  # seconds that a process of torchrun leaves the first one to say what is wrong
BAD_INPUT = (InputError, ValueError, FileNotFoundError, PermissionError, IsADirectoryError)


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    speaker = Reporter(sys.stdout, sys.stderr, "--json" in argv)
    reporter = speaker if is_first_process() else Reporter(io.StringIO(), io.StringIO())
    try:
        args = build_parser().parse_args(argv)
        with warnings_to(reporter):
            import_module(f".{args.module}", __package__).run(args, reporter)
        return 0
    except KeyboardInterrupt as stop:
        reporter.fail("interrupted", str(stop) or "stopped before anything was finished")
        return 130
    except BAD_INPUT as error:
        if not is_first_process():  # torchrun ends all at the first exit, which has to be that of the one who says why
            time.sleep(TORCHRUN_GRACE)
        speaker.fail("error", one_line(error))  # still here: the others have no such trouble
        return 2
    except BrokenPipeError:  # whoever read stdout has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise  # a bug of ours, to be seen whole
        speaker.fail("error", one_line(error) if str(error) else "out of memory")  # of this process, not of all
        return 1


def is_first_process() -> bool:
    """Whether this process speaks: torchrun runs the same command many times over, and bad input is the same to all."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("LOCAL_RANK", "0") == "0"
