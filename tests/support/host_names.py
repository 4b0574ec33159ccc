"""Every name of ComfyUI that the pack uses, and whether the ComfyUI that is installed has it.

Read from the source: what is imported, every attribute that follows, and the keywords of calls. Run with ComfyUI's
Python, this file prints a JSON list of what is missing, a line each with the place that uses it:

    PYTHONPATH=COMFYUI python tests/support/host_names.py FOLDER ...
"""

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HOST = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "latent_preview", "node_helpers", "nodes")


class Use(NamedTuple):
    """A dotted name of the host, the keywords of a call of it, and FILE:LINE."""

    name: str
    keywords: tuple[str, ...]
    place: str


def find_uses(path: Path) -> Iterator[Use]:
    """Each use of a host's name in a file."""
    tree = ast.parse(path.read_text())
    aliases = dict(find_aliases(tree))
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (name := spell(node, aliases)):
            call = calls.get(id(node))
            keywords = tuple(k.arg for k in call.keywords if k.arg) if call else ()
            yield Use(name, keywords, f"{path}:{node.lineno}")
    for name in aliases.values():
        yield Use(name, (), f"{path}:1")


def find_aliases(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name in the file, dotted name of the host) of every import of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                if first in HOST:
                    yield alias.asname or first, alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in HOST:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def spell(node: ast.expr, aliases: dict[str, str]) -> str | None:
    """The dotted name that an expression stands for; None if it is not one of the host."""
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := spell(node.value, aliases)):
        return f"{owner}.{node.attr}"
    return None


def find_missing(uses: Iterable[Use]) -> list[str]:
    """What of the uses the installed host does not have, in words."""
    missing = set()
    for use in uses:
        try:
            found = resolve(use.name)
        except (ImportError, AttributeError) as error:
            missing.add(f"{use.name} is missing ({error}), used at {use.place}")
            continue
        missing |= {f"{use.name}() takes no {key}, used at {use.place}" for key in use.keywords if refuses(found, key)}
    return sorted(missing)


def resolve(name: str) -> object:
    """The object of a dotted name: modules are imported as far as they go, attributes follow."""
    first, *rest = name.split(".")
    found, path = importlib.import_module(first), first
    for part in rest:
        path = f"{path}.{part}"
        if not hasattr(found, part) and inspect.ismodule(found):
            importlib.import_module(path)
        found = getattr(found, part)
    return found


def refuses(function: object, keyword: str) -> bool:
    """Whether a function is known to take no such keyword."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return keyword not in parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters.values())


if __name__ == "__main__":
    import comfy.options

    comfy.options.enable_args_parsing()
    folders, sys.argv = sys.argv[1:], ["main.py", "--cpu"]
    files = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
    sys.stdout.write("\n" + json.dumps(find_missing(use for path in files for use in find_uses(path))))
