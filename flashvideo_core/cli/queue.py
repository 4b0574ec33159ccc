"""The command `queue`: many prompts through a workflow of a running ComfyUI server."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import InputError
from .client import Job, run_queue
from .progress import Reporter


def run(args: argparse.Namespace, reporter: Reporter) -> None:
    run_prompts(Path(args.prompts), Path(args.workflow), args.server, Path(args.output), args.drafts, reporter)


def run_prompts(prompts: Path, workflow: Path, server: str, folder: Path, drafts: bool, reporter: Reporter) -> None:
    """Raises InputError when a clip failed; all others are finished by then."""
    jobs, graph = read_jobs(prompts), load_workflow(workflow)
    records = run_queue(jobs, graph, server, folder, drafts=drafts, progress=reporter.progress, note=reporter.note)
    failed = [record for record in records if record["state"] == "failed"]
    if failed:
        raise InputError(f"{len(failed)} of {len(records)} failed, the first: {failed[0]['error']}")
    reporter.finish({"folder": str(folder), "clips": records}, [str(folder)])


def read_jobs(path: str | Path) -> list[Job]:
    """A prompt a line, or JSON objects with "prompt" and overrides. InputError names the line that cannot be used."""
    jobs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line:
            continue
        values = {"prompt": line}
        if line.startswith("{"):
            try:
                values = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(values.get("prompt"), str):
            raise InputError(f'{path}, line {number}: a line of JSON needs "prompt", a text')
        jobs.append(Job(values["prompt"], values))
    if not jobs:
        raise InputError(f"{path} holds no prompt")
    return jobs


def load_workflow(path: str | Path) -> dict[str, Any]:
    """An API-form workflow. InputError for anything else, the UI form among it."""
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(graph, dict) or not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise InputError(f"{path} is no workflow in API form; use one of workflows/api, or Export (API) in the editor")
    return graph
