"""The options of `train`: what can be trained, and how (train_tiny.py, train_decoder.py, train_ablation.py,
train_stage.py, preview_degradation.py)."""

import argparse

from .attention_options import add_kernel_option
from .options import add_component_options, parse_path, parse_size

WITHOUT_WEIGHTS = "Without --plan and without weights the embedded model's are used."


def add_train(train: argparse.ArgumentParser) -> None:
    """`train tiny`, `ablation`, `decoder`, `stage1`, `stage2`, `distill`, `preview-degradation`."""
    kinds = train.add_subparsers(dest="model", required=True, metavar="WHAT", parser_class=type(train))

    def add(name: str, module: str, summary: str, *, with_components: bool = False) -> argparse.ArgumentParser:
        epilog = WITHOUT_WEIGHTS if with_components else None
        added = kinds.add_parser(name, help=summary, description=summary, epilog=epilog, allow_abbrev=False)
        if with_components:
            add_component_options(added)
            add_kernel_option(added)
        added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object a line")
        added.set_defaults(module=module)
        return added

    add_tiny_options(add("tiny", "train_tiny", "train the embedded model from nothing, or go on with it"))
    add_decoder_options(add("decoder", "train_decoder", "train a small decoder for the embedded VAE, or go on with it"))
    summary = "train stage 2 of the embedded model with no, pixel, and pixel and latent degradation, and compare"
    add_ablation_options(add("ablation", "train_ablation", summary))
    for stage in (1, 2):
        summary = f"train stage {stage} on your own clips, or go on with it"
        add_stage_options(add(f"stage{stage}", "train_stage", summary, with_components=True), stage)
    summary = "train a stage 2 of few evaluations without guidance on what the given one makes of drafts"
    add_distill_options(add("distill", "train_distill", summary, with_components=True))
    summary = "a picture of clips and degraded drafts"
    add_preview_options(add("preview-degradation", "preview_degradation", summary))


def add_tiny_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--folder", required=True, type=parse_path, help="where it goes; what is done there already is kept")
    add("--seed", type=int, default=0, help="of weights and data")
    add("--device", help="cuda, cpu, ... (default: the best there is)")


def add_decoder_options(parser: argparse.ArgumentParser) -> None:
    add_tiny_options(parser)
    help = "of train tiny, which the decoder stands in for (default: embedded)"
    parser.add_argument("--vae", metavar="FILE", help=help)
    help = "held-out clips of each size that both decoders show in the end (default: 4)"
    parser.add_argument("--clips", type=int, default=4, metavar="N", help=help)


def add_ablation_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--folder", required=True, type=parse_path, help="where it goes; what is done there already is kept")
    add("--parts", metavar="FOLDER", help="vae, text and stage1.safetensors, as of train tiny (default: embedded)")
    add("--from-stage2", action="store_true", help="go on from the stage2.safetensors there, not from nothing")
    add("--steps", type=int, default=1000, help="of each of the three (default: 1000)")
    add("--patches", type=int, default=768, metavar="N", help="scenes whose patches are learnt from (default: 768)")
    add("--clips", type=int, default=128, metavar="N", help="whole clips that are learnt from (default: 128)")
    add("--batch", type=int, default=8, help="patches at once, over all processes (default: 8)")
    add("--drafts", type=int, default=16, metavar="N", help="of stage 1, refined and measured (default: 16)")
    add("--seed", type=int, default=0, help="of weights and steps")
    add("--device", help="cuda, cpu, ... (default: the best there is)")


def add_stage_options(parser: argparse.ArgumentParser, stage: int) -> None:
    """None stands for what training/options.py takes from the weights."""
    add = parser.add_argument
    add("--data", metavar="PATH", help="a folder of clips with .txt captions, or a CSV with the columns video, caption")
    add("--folder", type=parse_path, help="where the run goes; the same command goes on with it")
    add(
        "--cache",
        type=parse_path,
        metavar="FOLDER",
        help="latents and text, to share between runs (default: cache in --folder)",
    )
    add("--plan", action="store_true", help="say what the run takes, and stop (of the released sizes without weights)")
    add_run_options(parser)
    add("--frames", type=int, help="of a clip, 4n+1 (default: of the weights)")
    add("--fps", type=float, help="at which clips are cut (default: of the weights)")
    add("--size", type=parse_size, metavar="HEIGHTxWIDTH", help="of a clip (default: of the weights)")
    add("--curriculum", choices=("paper", "patches", "full"), help="order of pictures, patches and whole clips")
    if stage == 2:
        add("--patch", type=parse_size, metavar="HEIGHTxWIDTH", help="(default: half the size)")
        add("--variants", type=int, metavar="N", help="degraded drafts of each clip (default: 4)")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What every training on a stage has."""
    add = parser.add_argument
    add("--mode", choices=("lora", "full"), help="what is trained (default: lora)")
    add("--rank", type=int, help="of the LoRA (default: 128, as released)")
    add("--alpha", type=float, help="of the LoRA, whose scale is alpha / rank (default: the rank)")
    add("--layers", choices=("released", "all"), help="that the LoRA is beside; all: the MLPs, too (default: released)")
    add("--steps", type=int, help="of the whole run (default: 2000)")
    add("--lr", type=float, help="learning rate (default: 1e-4 for LoRA, 4e-5 for all weights)")
    add("--batch", type=int, help="clips at once, over all processes (default: 1)")
    add("--accumulate", type=int, metavar="N", help="batches a step (default: 1)")
    add("--checkpointing", action="store_true", help="compute activations again: less memory, a third more time")
    add("--save-every", type=int, metavar="STEPS", help="(default: 200)")
    add("--sample-every", type=int, metavar="STEPS", help="with the next saved state; 0: never (default: 200)")
    add("--keep", type=int, metavar="N", help="states that stay (default: 2)")
    add("--seed", type=int, default=0, help="of the LoRA, the data and the noise (default: 0)")


def add_distill_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--folder", required=True, type=parse_path, help="where the run goes; the same command goes on with it")
    add("--prompts", metavar="FILE", help="of the drafts that stage 1 makes: one a line, or JSON with a seed")
    add("--data", metavar="PATH", help="clips with captions to take for drafts, as of train stage2")
    help = "drafts and the teacher's states, to share between runs (default: cache in --folder)"
    add("--cache", type=parse_path, metavar="FOLDER", help=help)
    add("--cfg", type=float, help="guidance scale of the teacher (default: of the weights)")
    add("--teacher-steps", type=int, metavar="N", help="evaluations of the teacher (default: of the weights)")
    add("--evaluations", type=int, default=1, metavar="N", help="of the student, a divisor (default: 1)")
    help = "learn the last round alone, not the teacher's evaluations, half of them and so on before"
    add("--direct", dest="halvings", action="store_false", help=help)
    add("--edges", type=float, default=0.0, metavar="X", help="weight of the error in edge strength (default: 0)")
    add("--variants", type=int, metavar="N", help="noises that the teacher begins a draft with (default: 1)")
    add_run_options(parser)
    add("--frames", type=int, help="of a draft, 4n+1 (default: of the weights)")
    add("--fps", type=float, help="at which clips are cut (default: of the weights)")
    add("--size", type=parse_size, metavar="HEIGHTxWIDTH", help="refined to (default: of the weights)")
    add("--draft-size", type=parse_size, metavar="HEIGHTxWIDTH", help="that clips have as drafts (default: a quarter)")
    add("--curriculum", choices=("paper", "patches", "full"), help="patches, whole frames, or one after the other")
    add("--patch", type=parse_size, metavar="HEIGHTxWIDTH", help="(default: half the size)")


def add_preview_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", required=True, metavar="PATH", help="a folder of clips with captions, or a CSV")
    add("--out", required=True, metavar="FILE", help="the .png to write")
    add("--clips", type=int, default=4, metavar="N", help="(default: 4)")
    add("--variants", type=int, default=4, metavar="N", help="degraded drafts of each clip (default: 4)")
    add("--frames", type=int, default=17, help="4n+1 (default: 17)")
    add("--fps", type=float, default=8, help="(default: 8)")
    add(
        "--size", type=parse_size, metavar="HEIGHTxWIDTH", help="of training; drafts are a quarter (default: 1072x1920)"
    )
    add("--seed", type=int, default=0, help="of the degradations")
