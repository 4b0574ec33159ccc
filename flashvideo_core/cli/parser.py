"""Every command with its options. None stands for the default that the weights carry."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from ..errors import InputError
from ..tiny.extent import FULL, QUICK
from .attention_options import add_attention_options, add_kernel_option, parse_window
from .many_options import add_chosen_options, add_many_options, add_shard_option
from .options import (
    COMPONENT_EPILOG,
    add_codec_options,
    add_component_options,
    add_decode_options,
    add_draft_options,
    add_output_options,
    add_prompt_options,
    add_refine_options,
    add_setting,
    add_window_options,
    parse_path,
    parse_size,
)
from .train_options import add_train
from .vbench_options import add_vbench
from .workflow import WIDGETS

QUEUE_EPILOG = (
    'a line of JSON: {"prompt": "...", "seed": 1, "FlashVideoStage2.cfg": 13}; its keys: '
    f"{', '.join(WIDGETS)}, or NODE.input. With --drafts each prompt's folder gets draft-0.mp4 and draft-0.safetensors "
    "and so on; the same command without it refines of each line the draft that its choice names, and samples stage 1 "
    "again only where the latents are not there."
)

AddOptions = Callable[[argparse.ArgumentParser], None]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors, which `main` says in one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def build_parser() -> Parser:
    """The parser of `python -m flashvideo_core`; `command` is the module of this package whose `run` does the work."""
    top = Parser(prog="python -m flashvideo_core", description="FlashVideo: a draft, then its refinement.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, summary: str, *groups: AddOptions) -> Parser:
        """A command with shared groups of options, --json, and those that follow."""
        epilog = COMPONENT_EPILOG if add_component_options in groups else None
        added = commands.add_parser(name, help=summary, description=summary, epilog=epilog, allow_abbrev=False)
        for add_group in groups:
            add_group(added)
        added.add_argument("--json", action="store_true", help="one JSON object a line on stdout, the result last")
        added.set_defaults(module=name)
        return added

    drafting = (add_prompt_options, add_draft_options)
    components = (add_component_options, add_kernel_option)
    running = (add_component_options, add_decode_options, add_output_options, add_many_options)
    generate = "make a draft of each prompt and refine it"
    refining = (add_refine_options, *running, add_codec_options, add_attention_options)
    add_generate_options(add("generate", generate, *drafting, *refining))
    add("draft", "make drafts only, to choose from", *drafting, *running, add_kernel_option)
    add_source_options(add("refine", "refine saved drafts or any videos", *refining))
    add_convert_options(add("convert", "write weights as safetensors"))
    add_info_options(add("info", "say what files are, or what a run needs", *components))
    add_train(add("train", "train the embedded model, or a stage on your own clips"))
    add_evaluate_options(add("evaluate", "measure the embedded model", *components))
    add_bench_options(add("bench", "measure time and memory, beside other implementations"))
    add_queue_options(add("queue", "run prompts through a workflow of a ComfyUI server"))
    add_vbench(add("vbench", "make the clips of the benchmark VBench, check them, have them judged"))
    return top


def add_generate_options(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, "--refine-seed", "refine.seed", type=int, help="seed of stage 2 (default: the draft's)")
    add = parser.add_argument
    add("--layout", choices=("folders", "vbench"), default="folders", help="vbench: PROMPT-INDEX.mp4")
    add("--from", dest="recorded", metavar="CLIP", help="clip.json (or a video) to make again")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    help = (
        "draft.safetensors, the folder of a draft, a video, or a folder of videos and pictures, each a clip; numbered "
    )
    help += "pictures are one clip, also as a pattern such as shot_%%04d.png"
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=help)
    add_chosen_options(parser)
    parser.add_argument("--prompt", help="what the video shows (default: the draft's prompt)")
    add_setting(parser, "--seed", "refine.seed", type=int, help="seed of stage 2 (default: the draft's)")
    add_setting(parser, "--negative", "refine.negative", help="what to keep away from", metavar="PROMPT")
    parser.add_argument("--frames", type=int, help="use the first 4n+1 frames of a video")
    parser.add_argument("--fps", type=float, help="of pictures (default: 25)")
    help = "of a video without a constant rate: resample it to its average, or keep the time of each frame"
    choices = ("constant", "keep")
    parser.add_argument("--timing", choices=choices, default="constant", help=f"{help} (default: constant)")


def add_convert_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("source", help="released .pt, diffusers' VAE, or our safetensors")
    add("target", help="the .safetensors to write; .gguf for q8_0, q5_0, q4_0")
    formats = ("stored", "float32", "bf16", "fp16", "fp8", "q8_0", "q5_0", "q4_0")
    add("--dtype", choices=formats, default="stored", help="stored: as in the source (default: stored)")
    add("--lora", metavar="FILE", help="a LoRA to merge into the weights")
    add("--lora-strength", type=float, metavar="X", help="(default: 1)")


def add_info_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="weights, a draft, a clip, any video")
    add("--plan", action="store_true", help="the memory that each phase takes (released sizes by default)")
    for name in ("frames", "height", "width"):
        add_setting(parser, f"--{name}", f"draft.{name}", type=int, help="of the draft, for --plan")
    help = "of the refined clip, for --plan"
    add_setting(parser, "--size", "refine.size", type=parse_size, help=help, metavar="HEIGHTxWIDTH")
    add_window_options(parser)


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    help = "of train tiny: its stage1, stage2, vae and text.safetensors (default: embedded)"
    add("--parts", type=parse_path, metavar="FOLDER", help=help)
    add("--quick", action="store_true", help="a hint within three minutes of two cores: fewer prompts and clips")
    add("--prompts", type=int, metavar="N", help=f"drafts to judge (default: {FULL.prompts}; quick: {QUICK.prompts})")
    help = f"drafts and rendered clips to refine (default: {FULL.clips}; quick: {QUICK.refined} and {QUICK.clips})"
    add("--clips", type=int, metavar="N", help=help)
    help = "rendered clips on which every setting of stage 2 is tried (default: all; quick: one)"
    add("--swept", type=int, metavar="N", help=help)
    add("--ablation", metavar="FOLDER", help="that of train ablation: its rows too")
    help = "where each finished measurement is kept: the same command goes on from there"
    add("--output", type=parse_path, metavar="FOLDER", help=help)
    add_shard_option(parser, "measure")
    help = "refine rendered clips over these windows of tokens instead, and compare with dense attention"
    add("--attention-windows", nargs="+", type=parse_window, metavar="HEIGHTxWIDTH", help=help)


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parts = ("vae-decode", "vae-encode", "dit", "stage1", "stage2", "end-to-end")
    add("--part", choices=parts, default="vae-decode", help="what to run (peers have the first three)")
    sizes = ("tiny", "narrow", "small", "medium", "released")
    add("--size", choices=sizes, default="small", help="see flashvideo_core/bench/sizes.py")
    add("--latent", metavar="TxHxW", help="in place of the one that the size gives to the part")
    options = "of the part stage2: every combination of windows, guided and distilled (or of those named) in one table"
    add("--options", nargs="*", metavar="OPTION", help=options)
    growth = "measure every network's growth with frames and resolution instead, and draw it (use --size narrow); with "
    growth += "--part dit that of dense attention and of attention over windows"
    add("--growth", type=parse_path, metavar="PNG", help=growth)
    gpu_report = "measure every phase on this device instead and write the table; goes on where it was stopped"
    add("--gpu-report", type=parse_path, metavar="FILE.md", help=f"{gpu_report} (use --size released)")
    peers, help = ("diffusers", "comfyui", "windows"), "measured alternately with ours; windows: ours over windows"
    add("--peer", choices=peers, action="append", default=[], help=help)
    add("--repeats", type=int, default=3, metavar="N", help="rounds, of which the medians (default: 3)")
    add("--threads", type=int, metavar="N", help="of the CPU (default: torch's)")
    add("--device", help="cpu, cuda (default: the best there is)")
    add("--dtype", choices=("float32", "bf16", "fp16"), help="(default: bf16, or fp16, on cuda, else float32)")


def add_queue_options(parser: argparse.ArgumentParser) -> None:
    parser.epilog = QUEUE_EPILOG
    add = parser.add_argument
    add("prompts", nargs="?", metavar="FILE", help="a prompt a line, or JSON lines with overrides")
    add_chosen_options(parser)
    add("--workflow", required=True, metavar="FILE", help="in API form, e.g. one of workflows/api")
    help = "(default: 127.0.0.1:8188); given again: several, of which whoever has room takes the next prompt"
    add("--server", action="append", metavar="HOST:PORT", help=help)
    add("--output", type=parse_path, default="clips", metavar="FOLDER", help="where to write (default: clips)")
    add("--drafts", action="store_true", help="drafts only, to choose from")
    add_shard_option(parser)
