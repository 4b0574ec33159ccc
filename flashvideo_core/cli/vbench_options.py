"""The options of `vbench`: the clips of the benchmark, a look at them, and their evaluation."""

import argparse

from .attention_options import add_attention_options
from .many_options import add_many_options
from .options import (
    COMPONENT_EPILOG,
    add_component_options,
    add_decode_options,
    add_draft_options,
    add_output_options,
    add_refine_options,
    add_setting,
    parse_path,
)


def add_vbench(vbench: argparse.ArgumentParser) -> None:
    """`vbench generate`, `vbench check`, `vbench evaluate`."""
    kinds = vbench.add_subparsers(dest="vbench", required=True, metavar="WHAT", parser_class=type(vbench))

    def add(name: str, summary: str, epilog: str | None = None) -> argparse.ArgumentParser:
        added = kinds.add_parser(name, help=summary, description=summary, epilog=epilog, allow_abbrev=False)
        added.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object a line")
        added.set_defaults(module=f"vbench_{name}")
        return added

    add_generate(add("generate", "make the clips that VBench judges", COMPONENT_EPILOG))
    check = add("check", "list missing, broken and superfluous files of such a folder")
    check.add_argument("folder", help="that vbench generate has written")
    add_evaluate(add("evaluate", "run the vbench package on such a folder, and make one table of its scores"))


def add_generate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--info", required=True, metavar="FILE", help="VBench_full_info.json of the vbench package")
    add("--long", metavar="FILE", help="all_dimension_longer.txt of its repository: what to show, under the same names")
    add("--dimensions", nargs="+", metavar="NAME", help="only the prompts for these (default: all)")
    help = "from which, prompt and number every clip's own seed is derived (default: 0)"
    add("--seed", dest="base_seed", type=int, default=0, metavar="SEED", help=help)
    add("--dry-run", action="store_true", help="say how many clips there are, and make none")
    add_setting(parser, "--negative", "draft.negative", help="what to keep away from", metavar="PROMPT")
    add_draft_options(parser)
    add_refine_options(parser)
    add_component_options(parser)
    add_decode_options(parser)
    add_output_options(parser, is_required=True)
    add_many_options(parser)
    add_attention_options(parser)


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", help="that vbench generate has written")
    add("--python", required=True, metavar="FILE", help="of the environment that has the vbench package")
    add("--dimensions", nargs="+", metavar="NAME", help="to evaluate (default: those that were generated)")
    add("--info", metavar="FILE", help="in place of the file that the clips were generated from")
    add("--device", help="of vbench's networks (default: cuda, else cpu)")
    add("--output", type=parse_path, metavar="FOLDER", help="where its results go (default: FOLDER-vbench)")
