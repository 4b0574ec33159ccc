"""The options that commands share, and the typed objects that they become.

An `add_` function adds a group to a parser, `parse_options` reads it back: argparse's namespace goes no further than a
command's own function. An option for a number of a run is added by `add_setting` under the name of its field in
settings.py, by which `named_settings` hands it on; None stands for the default that the weights carry. Nothing here
imports torch, so that --help is immediate.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..media.codecs import BIT_DEPTHS, CODECS, VideoFormat, check_crf, check_encoder, choose_format

NamedSettings = dict[str, int | float | str | tuple[int, int]]
"""The numbers of a stage that the command line names, by its settings' fields; size and window are (height, width)."""

T = TypeVar("T")
DRAFT, REFINE = "draft", "refine"
COMPONENT_EPILOG = "Without --stage1, --stage2, --vae and a text encoder the embedded tiny model is used."
MAX_SAMPLES = 10_000  # of a prompt; each is a folder and minutes of work


def parse_options(cls: type[T], args: argparse.Namespace) -> T:
    """An options object from the attributes of the same names; what a command has no option for keeps its default."""
    return cls(**{field.name: vars(args)[field.name] for field in fields(cls) if field.name in args})


def add_setting(
    parser: argparse.ArgumentParser,
    option: str,
    field: str,
    *,
    type: Callable[[str], object] = str,
    help: str,
    metavar: str | None = None,
    choices: tuple[str, ...] | None = None,
) -> None:
    """An option for "draft.FIELD" or "refine.FIELD", a field of DraftSettings or RefineSettings."""
    if choices is None:
        metavar = metavar or option.removeprefix("--").upper().replace("-", "_")
    parser.add_argument(option, dest=field, type=type, help=help, metavar=metavar, choices=choices)


def named_settings(args: argparse.Namespace, stage: str) -> NamedSettings:
    """The numbers of a stage (DRAFT or REFINE) that are named."""
    named = {name: value for name, value in vars(args).items() if value is not None}
    return {name.removeprefix(f"{stage}."): value for name, value in named.items() if name.startswith(f"{stage}.")}


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from "1072x1920"."""
    try:
        height, width = text.lower().split("x")
        return int(height), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write HEIGHTxWIDTH, e.g. 1072x1920") from None


def parse_path(text: str) -> str:
    """A path that is not empty: an empty one would be the current folder, which nobody asked for."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; . is the current folder")
    return text


@dataclass(frozen=True)
class PromptOptions:
    """What clips show, and how many there are of each prompt."""

    prompt: str | None
    prompts: str | None
    samples: int

    @property
    def are_many(self) -> bool:
        """Whether each clip gets a folder of its own."""
        return self.prompts is not None or self.samples > 1


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="what the clip shows")
    parser.add_argument("--prompts", metavar="FILE", help='a prompt a line, or JSON: {"prompt": "...", "seed": 1}')
    add_setting(parser, "--seed", "draft.seed", type=int, help="of the first sample (default: 0)")
    parser.add_argument("--samples", type=int, default=1, help="clips of each prompt, with seeds that count up")
    help = "what to keep away from (default: nothing)"
    add_setting(parser, "--negative", "draft.negative", help=help, metavar="PROMPT")


def add_draft_options(parser: argparse.ArgumentParser) -> None:
    add_setting(parser, "--frames", "draft.frames", type=int, help="4n+1")
    add_setting(parser, "--width", "draft.width", type=int, help="of the draft, floored to a multiple of 16")
    add_setting(parser, "--height", "draft.height", type=int, help="of the draft, floored to a multiple of 16")
    add_setting(parser, "--steps", "draft.steps", type=int, help="of stage 1")
    add_setting(parser, "--cfg", "draft.cfg", type=float, help="guidance scale of stage 1")
    scales = ("released", "constant")
    add_setting(parser, "--guidance", "draft.guidance", choices=scales, help="how the scale goes over the steps")
    help = "take scales so near to 1 as 1, which needs half the work (default: 0)"
    add_setting(parser, "--cfg-epsilon", "draft.cfg_epsilon", type=float, help=help, metavar="X")
    help = "relative change up to which stage 1 saves an evaluation, e.g. 0.1 (default: 0, none)"
    add_setting(parser, "--cache", "draft.cache", type=float, help=help, metavar="X")


def add_refine_options(parser: argparse.ArgumentParser) -> None:
    help = "of the refined clip, e.g. 1072x1920"
    add_setting(parser, "--size", "refine.size", type=parse_size, help=help, metavar="HEIGHTxWIDTH")
    add_setting(parser, "--refine-steps", "refine.steps", type=int, help="evaluations of stage 2")
    add_setting(parser, "--refine-cfg", "refine.cfg", type=float, help="guidance scale of stage 2")
    add_setting(parser, "--shift", "refine.shift", type=float, help="time shift of stage 2")
    add_setting(parser, "--noise-step", "refine.ref_step", type=int, help="noise that stage 2 starts from, 0..999")
    help = "first evaluations of stage 2 with guidance (default: all)"
    add_setting(parser, "--guided-evaluations", "refine.guided_evaluations", type=int, help=help, metavar="N")
    help = "take the mean colour back from the draft, or all low frequencies (default: none)"
    add_setting(parser, "--match-color", "refine.match", choices=("none", "color", "low"), help=help)
    add_window_options(parser)


def add_window_options(parser: argparse.ArgumentParser) -> None:
    """Of the latent windows of stage 2 (latent_windows.py)."""
    add = functools.partial(add_setting, parser, type=int)
    help = "stage 2 sees overlapping windows of long or large clips (default: off)"
    add_setting(parser, "--windows", "refine.windows", choices=("off", "time", "space", "time+space"), help=help)
    add("--time-window", "refine.time_window", help="latent frames, of four frames each (default: 13)", metavar="N")
    add("--time-overlap", "refine.time_overlap", help="latent frames that windows share (default: 4)", metavar="N")
    add("--space-window-height", "refine.space_window_height", help="(default: 544)", metavar="PIXELS")
    add("--space-window-width", "refine.space_window_width", help="(default: 960)", metavar="PIXELS")
    add("--space-overlap", "refine.space_overlap", help="that windows share (default: 128)", metavar="PIXELS")


@dataclass(frozen=True)
class ComponentOptions:
    """Which weights a command uses, and where and how they run."""

    stage1: str | None
    stage2: str | None
    vae: str | None
    t5: str | None
    embeddings: str | None
    text: str | None
    device: str | None
    dtype: str | None
    attention: str | None
    decode: str | None = None
    decoder: str | None = None
    lora: str | None = None

    def named_files(self) -> dict[str, Path]:
        """The files that are named, by component, LoRA included. Raises InputError for more than one text encoder."""
        texts = [path for path in (self.t5, self.embeddings, self.text) if path is not None]
        if len(texts) > 1:
            raise InputError("give one of --t5, --embeddings and --text, not several")
        named = {"stage1": self.stage1, "stage2": self.stage2, "vae": self.vae, "text": texts[0] if texts else None}
        named |= {"decoder": self.decoder, "lora": self.lora}
        return {name: Path(path) for name, path in named.items() if path is not None}

    def check_negative(self, negative: object) -> None:
        """Raises InputError for a negative prompt where there is no text encoder."""
        if self.embeddings and negative:
            raise InputError("a negative prompt needs a text encoder; with --embeddings there is none")


def add_component_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    for name in ("stage1", "stage2", "vae"):
        add(f"--{name}", metavar="FILE", help=f"weights of {name}, .safetensors or released .pt")
    add("--lora", metavar="FILE", help="a LoRA for stage 2; embedded: the embedded model's distilled student")
    add("--t5", metavar="FOLDER", help="T5-XXL encoder with tokenizer (needs transformers)")
    add("--embeddings", metavar="FILE", help="safetensors with stage1 and stage2 instead of a text encoder")
    add("--text", metavar="FILE", help="word-level text encoder of a tiny model")
    add("--device", help="cpu, cuda, mps (default: the best there is)")
    add("--dtype", choices=("float32", "bf16", "fp16"), help="(default: bf16, or fp16, on cuda, else float32)")


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    help = "fast: drafts and clips are shown by a small decoder; what stage 2 makes stays the same (default: whole)"
    add("--decode", choices=("whole", "fast"), help=help)
    help = "the small decoder, e.g. taecvx.pth (default, with the embedded VAE: its own)"
    add("--decoder", metavar="FILE", help=help)


@dataclass(frozen=True)
class OutputOptions:
    """Where clips go, and how the refined ones are stored."""

    output: str | None
    crf: float | None
    resume: bool = True  # go on with clips that were stopped, and leave what is needed for that
    codec: str | None = None
    bit_depth: int | None = None

    def checked_format(self) -> VideoFormat:
        """Codec and depth. Raises InputError for a depth that the codec does not have, and without an encoder."""
        video = choose_format(self.codec, self.bit_depth)
        check_encoder(video)
        return video

    def checked_crf(self) -> float | None:
        """The quality to encode with; None for a codec without one. Raises InputError."""
        return check_crf(choose_format(self.codec, self.bit_depth), self.crf)


def add_output_options(parser: argparse.ArgumentParser, is_required: bool = False) -> None:
    help = "where to write" if is_required else "where to write (default: a folder in clips/)"
    parser.add_argument("--output", type=parse_path, required=is_required, metavar="FOLDER", help=help)
    qualities = ", ".join(f"{codec.name} {codec.crf:g}" for codec in CODECS.values() if codec.crf is not None)
    parser.add_argument("--crf", type=float, help=f"quality, 0 (the best) to 51, of av1 to 63 (default: {qualities})")
    help = "begin clips that were stopped anew, and keep nothing to go on from"
    parser.add_argument("--no-resume", dest="resume", action="store_false", help=help)
    parser.set_defaults(codec=None, bit_depth=None)


def add_codec_options(parser: argparse.ArgumentParser) -> None:
    """For commands that refine; drafts and comparisons are to be looked at anywhere, in H.264."""
    add = parser.add_argument
    add("--codec", choices=tuple(CODECS), help="of the refined clip; png: a folder of pictures (default: h264)")
    depths = "; ".join(f"{codec.name} {' or '.join(map(str, codec.bit_depths))}" for codec in CODECS.values())
    add("--bit-depth", type=int, choices=BIT_DEPTHS, help=f"bits a colour: {depths} (default: the first)")
