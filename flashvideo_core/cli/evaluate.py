"""The command `evaluate`: how well the embedded model follows prompts, and what stage 2 adds."""

import argparse
import json

from ..components import COMPONENTS
from ..tiny.evaluate import evaluate
from ..tiny.evaluate_windows import evaluate_windows
from ..tiny.report import report, report_windows
from ..windows import Window
from .components import find_components
from .options import ComponentOptions, parse_options
from .progress import Reporter


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    """The tables, and on the last line the same as JSON."""
    components = find_components(parse_options(ComponentOptions, args), COMPONENTS, reporter.note)
    pipe = components.load(reporter.progress)
    if args.attention_windows:
        windows = [Window(*sides) for sides in args.attention_windows]
        result = evaluate_windows(pipe, windows, clips=args.clips, callback=reporter.progress)
        reporter.finish(result, [report_windows(result), json.dumps(result)])
        return
    counts = {"prompts": args.prompts, "clips": args.clips, "ablation": args.ablation}
    result = evaluate(pipe, **counts, callback=reporter.progress)
    reporter.finish(result, [report(result), json.dumps(result)])
