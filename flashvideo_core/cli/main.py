"""The command line, `python -m flashvideo_core COMMAND`: options, and what becomes of errors.

Bad input is one line on stderr, "error: ...", and exit code 2; Ctrl-C one line and 130. A command's code is
imported when it runs, so that --help is immediate.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from ..errors import InputError
from .progress import Reporter, warnings_to
from .train_options import train_commands

PATIENCE = 30  # seconds that a process of torchrun leaves the first one to say what is wrong
EPILOG = "Without --stage1, --stage2, --vae and a text encoder the embedded tiny model is used."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors, which `main` says in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: list[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    aloud = Reporter(sys.stdout, sys.stderr, "--json" in argv)
    reporter = aloud if speaks() else Reporter(io.StringIO(), io.StringIO())
    try:
        args = parser().parse_args(argv)
        with warnings_to(reporter):
            args.run(args, reporter)
        return 0
    except KeyboardInterrupt as stop:
        reporter.fail("interrupted", str(stop) or "stopped before anything was finished")
        return 130
    except (ValueError, FileNotFoundError, PermissionError, IsADirectoryError) as error:
        if not speaks():  # torchrun ends all at the first exit, which has to be that of the one who says why
            time.sleep(PATIENCE)
        aloud.fail("error", one_line(error))  # still here: the others have no such trouble
        return 2
    except BrokenPipeError:  # whoever read stdout has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise  # a bug of ours, to be seen whole
        aloud.fail("error", one_line(error) or "out of memory")  # the trouble of this process, not of all
        return 1


def speaks() -> bool:
    """torchrun runs the same command many times over: on each machine the first process speaks for all.

    Bad input is the same to all of them there, so one line says it.
    """
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("LOCAL_RANK", "0") == "0"


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def parser() -> Parser:
    """All commands and their options. None stands for the default that the weights carry."""
    top = Parser(prog="python -m flashvideo_core", description="FlashVideo: a draft, then its refinement.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name: str, run: Callable, summary: str, *parents: Parser) -> Parser:
        epilog = EPILOG if parts in parents else None
        how = {"help": summary, "description": summary, "epilog": epilog, "parents": parents, "allow_abbrev": False}
        added = commands.add_parser(name, **how)
        added.add_argument("--json", action="store_true", help="one JSON object a line on stdout, the result last")
        added.set_defaults(run=run)
        return added

    prompts, first, second, parts = prompt_options(), stage1_options(), stage2_options(), part_options()
    made = command(
        "generate",
        lazily("generate", "generate"),
        "make a draft of each prompt and refine it",
        *(prompts, first, second, parts, output_options()),
    )
    made.add_argument("--refine-seed", type=int, help="seed of stage 2 (default: the draft's)")
    made.add_argument("--layout", choices=("folders", "vbench"), default="folders", help="vbench: PROMPT-INDEX.mp4")
    made.add_argument("--from", dest="recorded", metavar="CLIP", help="clip.json (or a video) to make again")
    draft = "make drafts only, to choose from"
    command("draft", lazily("generate", "drafts"), draft, prompts, first, parts, output_options())
    refine = "refine a saved draft or any video"
    add = command("refine", lazily("refine", "refine_source"), refine, second, parts, output_options()).add_argument
    add("source", help="draft.safetensors, the folder of a draft, or a video")
    add("--prompt", help="what the video shows (default: the draft's prompt)")
    add("--seed", type=int, help="seed of stage 2 (default: the draft's)")
    add("--negative", metavar="PROMPT", help="what to keep away from")
    add("--frames", type=int, help="use the first 4n+1 frames of a video")
    file_commands(command, parts)
    train_commands(command, lazily, size, parts)
    evaluate_command(command, parts)
    bench_command(command)
    queue_command(command)
    return top


def lazily(module: str, name: str) -> Callable:
    """The function of a module of this package, imported when it is called."""
    return lambda args, reporter: getattr(import_module(f".{module}", __package__), name)(args, reporter)


def options() -> Parser:
    return Parser(add_help=False)


def prompt_options() -> Parser:
    out = options()
    out.add_argument("prompt", nargs="?", help="what the clip shows")
    out.add_argument("--prompts", metavar="FILE", help="a text file with a prompt a line")
    out.add_argument("--seed", type=int, help="of the first sample (default: 0)")
    out.add_argument("--samples", type=int, default=1, help="clips of each prompt, with seeds that count up")
    out.add_argument("--negative", metavar="PROMPT", help="what to keep away from (default: nothing)")
    return out


def stage1_options() -> Parser:
    out = options()
    out.add_argument("--frames", type=int, help="4n+1")
    out.add_argument("--width", type=int, help="of the draft, floored to a multiple of 16")
    out.add_argument("--height", type=int, help="of the draft, floored to a multiple of 16")
    out.add_argument("--steps", type=int, help="of stage 1")
    out.add_argument("--cfg", type=float, help="guidance scale of stage 1")
    out.add_argument("--guidance", choices=("released", "constant"), help="how the scale goes over the steps")
    return out


def stage2_options() -> Parser:
    out = options()
    out.add_argument("--size", type=size, metavar="HEIGHTxWIDTH", help="of the refined clip, e.g. 1072x1920")
    out.add_argument("--refine-steps", type=int, help="evaluations of stage 2")
    out.add_argument("--refine-cfg", type=float, help="guidance scale of stage 2")
    out.add_argument("--shift", type=float, help="time shift of stage 2")
    out.add_argument("--noise-step", type=int, help="noise that stage 2 starts from, 0..999")
    return out


def part_options() -> Parser:
    out = options()
    for name in ("stage1", "stage2", "vae"):
        out.add_argument(f"--{name}", metavar="FILE", help=f"weights of {name}, .safetensors or released .pt")
    out.add_argument("--t5", metavar="FOLDER", help="T5-XXL encoder with tokenizer (needs transformers)")
    out.add_argument(
        "--embeddings", metavar="FILE", help="safetensors with stage1 and stage2 instead of a text encoder"
    )
    out.add_argument("--text", metavar="FILE", help="word-level text encoder of a tiny model")
    out.add_argument("--device", help="cpu, cuda, mps (default: the best there is)")
    out.add_argument("--dtype", choices=("float32", "bf16", "fp16"), help="(default: bf16 on cuda, else float32)")
    attentions = ("auto", "fused", "chunked", "sage")
    out.add_argument("--attention", choices=attentions, help="fused or chunked: exact; sage: quicker (default: auto)")
    return out


def output_options() -> Parser:
    out = options()
    out.add_argument("--output", metavar="FOLDER", help="where to write (default: a folder in clips/)")
    out.add_argument("--crf", type=float, help="H.264 quality, 0 (lossless) to 51 (default: 17)")
    return out


def size(text: str) -> tuple[int, int]:
    """(height, width) from "1072x1920"."""
    try:
        height, width = text.lower().split("x")
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH, e.g. 1072x1920") from None


def file_commands(command: Callable, parts: Parser) -> None:
    convert = command("convert", lazily("files", "convert_file"), "write weights as safetensors")
    convert.add_argument("source", help="released .pt, diffusers' VAE, or our safetensors")
    convert.add_argument("target", help="the .safetensors to write")
    formats = ("stored", "float32", "bf16", "fp16", "fp8")
    convert.add_argument("--dtype", choices=formats, default="stored", help="(default: as stored)")
    convert.add_argument("--lora", metavar="FILE", help="a LoRA to merge into the weights")
    convert.add_argument("--lora-strength", type=float, default=1.0, metavar="X", help="(default: 1)")
    info = command("info", lazily("files", "info"), "say what files are, or what a run needs", parts)
    info.add_argument("files", nargs="*", metavar="FILE", help="weights, a draft, a clip, any video")
    info.add_argument(
        "--plan", action="store_true", help="the memory that each phase takes (released sizes by default)"
    )
    for name in ("frames", "height", "width"):
        info.add_argument(f"--{name}", type=int, help="of the draft, for --plan")
    info.add_argument("--size", type=size, metavar="HEIGHTxWIDTH", help="of the refined clip, for --plan")


def evaluate_command(command: Callable, parts: Parser) -> None:
    evaluate = command("evaluate", lazily("tiny", "evaluate_parts"), "measure the embedded model", parts)
    evaluate.add_argument("--prompts", type=int, default=60, metavar="N", help="drafts to judge (default: 60)")
    evaluate.add_argument("--clips", type=int, default=12, metavar="N", help="clips to refine (default: 12)")
    evaluate.add_argument("--ablation", metavar="FOLDER", help="that of train ablation: its rows too")


def bench_command(command: Callable) -> None:
    bench = command("bench", lazily("bench", "run_bench"), "measure time and memory, beside other implementations")
    parts = ("vae-decode", "vae-encode", "dit", "stage1", "stage2", "end-to-end")
    bench.add_argument("--part", choices=parts, default="vae-decode", help="what to run (peers have the first three)")
    sizes = ("tiny", "narrow", "small", "medium", "released")
    bench.add_argument("--size", choices=sizes, default="small", help="see flashvideo_core/bench/sizes.py")
    bench.add_argument("--latent", metavar="TxHxW", help="in place of the one that the size gives to the part")
    growth = "measure every network's growth with frames and resolution instead, and draw it (use --size narrow)"
    bench.add_argument("--growth", metavar="PNG", help=growth)
    peers = ("diffusers", "comfyui")
    bench.add_argument("--peer", choices=peers, action="append", default=[], help="measured alternately with ours")
    bench.add_argument("--repeats", type=int, default=3, metavar="N", help="rounds, of which the medians (default: 3)")
    bench.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: torch's)")
    bench.add_argument("--device", help="cpu, cuda (default: the best there is)")
    bench.add_argument("--dtype", choices=("float32", "bf16", "fp16"), help="(default: bf16 on cuda, else float32)")


def queue_command(command: Callable) -> None:
    queue = command("queue", lazily("queue", "queue"), "run prompts through a workflow of a ComfyUI server")
    queue.add_argument("prompts", metavar="FILE", help="a prompt a line, or JSON lines with overrides")
    queue.add_argument("--workflow", required=True, metavar="FILE", help="in API form, e.g. one of workflows/api")
    queue.add_argument("--server", default="127.0.0.1:8188", help="(default: 127.0.0.1:8188)")
    queue.add_argument("--output", default="clips", metavar="FOLDER", help="where to write (default: clips)")
    queue.add_argument("--drafts", action="store_true", help="drafts only, to choose from")
