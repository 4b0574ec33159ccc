"""The command `queue`: many prompts through a workflow of a running ComfyUI server, or of several."""

import argparse
import json
from pathlib import Path

from ..errors import InputError, check_text, one_line
from .chosen import choose_drafts, refine_line
from .client import SERVER, run_queue
from .progress import Reporter
from .prompts import read_lines
from .queue_entry import open_entry
from .servers import run_on_servers
from .workflow import Graph, PromptLine, fill_graph, load_workflow


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    lines, graph, folder = choose_lines(args), load_workflow(Path(args.workflow)), Path(args.output)
    lines = args.shard.take(drop_doubles(lines, graph, folder, args.drafts))
    if not lines:
        reporter.note("there are fewer prompts than shards: nothing to do for this one")
        return reporter.finish({"folder": str(folder), "clips": []})
    run_prompts(lines, graph, args.server or [SERVER], folder, args.drafts, reporter)


def run_prompts(
    lines: list[PromptLine], graph: Graph, servers: list[str], folder: Path, drafts: bool, reporter: Reporter
) -> None:
    """Raises InputError when a clip failed; all others are finished by then."""
    note = reporter.note
    if len(servers) == 1:
        records = run_queue(lines, graph, servers[0], folder, drafts=drafts, progress=reporter.progress, note=note)
    else:
        records = run_on_servers(lines, graph, servers, folder, drafts=drafts, note=note)
    failed = [record for record in records if record["state"] == "failed"]
    if failed:
        raise InputError(f"{len(failed)} of {len(records)} failed, the first: {failed[0]['error']}")
    reporter.finish({"folder": str(folder), "clips": records}, [str(folder)])


def choose_lines(args: argparse.Namespace) -> list[PromptLine]:
    """Of the prompt file, or of the drafts that were chosen. Raises InputError."""
    if args.chosen is not None and args.drafts:
        raise InputError("--drafts makes drafts and --chosen refines some that are there; give one of them")
    chosen = choose_drafts(args.chosen, args.chosen_from, args.prompts is not None, "a file of prompts")
    return read_prompt_lines(args.prompts) if chosen is None else [refine_line(draft) for draft in chosen]


def drop_doubles(lines: list[PromptLine], graph: Graph, folder: Path, drafts: bool) -> list[PromptLine]:
    """Without lines that ask for a clip of an earlier line, which two shards would make in one folder."""
    distinct: dict[Path, PromptLine] = {}
    for line in lines:
        distinct.setdefault(open_entry(line, fill_graph(graph, line, drafts), folder, drafts).path, line)
    return list(distinct.values())


def read_prompt_lines(path: str | Path) -> list[PromptLine]:
    """A prompt a line, or JSON objects with "prompt" and overrides. InputError names the line that cannot be used."""
    path = Path(path)
    return [parse_prompt_line(text, f"{path}, line {number}") for number, text in read_lines(path)]


def parse_prompt_line(text: str, place: str) -> PromptLine:
    """place: the file and the line, for the error."""
    values = {"prompt": text}
    if text.startswith("{"):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON: {one_line(error)}") from None
    if not isinstance(values.get("prompt"), str):
        raise InputError(f'{place}: a line of JSON needs "prompt", a text')
    check_text(f"{place}: the prompt", values["prompt"])
    return PromptLine(values["prompt"], values, place)
