"""A ComfyUI workflow in API form, and the values that a line of a prompt file puts into it."""

import copy
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ..errors import InputError

REVIEW, TEXT, STAGE1, STAGE2 = (f"FlashVideo{name}" for name in ("Review", "TextEncode", "Stage1", "Stage2"))
WIDGETS = {  # a key of a prompt file -> the (node class, widget) pairs that it sets
    "prompt": [(TEXT, "prompt")],
    "negative": [(TEXT, "negative_prompt")],
    "motion": [(TEXT, "motion")],
    "seed": [(STAGE1, "seed"), (STAGE2, "seed")],
    "choice": [(REVIEW, "choice")],
}


class Node(TypedDict):
    """A node of the API form; an input is a widget's value or a link, [node id, output]. `_meta` may hold a title."""

    class_type: str
    inputs: dict[str, Any]


Graph = dict[str, Node]
"""A workflow in API form, by node id."""


@dataclass(frozen=True)
class PromptLine:
    """One line of the prompt file. `values` are by keys of WIDGETS or "NODE.input"; NODE is an id or a class."""

    prompt: str
    values: dict[str, Any] = field(default_factory=dict)


def load_workflow(path: str | Path) -> Graph:
    """Raises InputError for anything but the API form, the UI form among it."""
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(graph, dict) or not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise InputError(f"{path} is no workflow in API form; use one of workflows/api, or Export (API) in the editor")
    return graph


def fill_graph(graph: Graph, line: PromptLine, drafts: bool) -> Graph:
    """The graph with the line's values; drafts alone are held back at the review, else everything is approved.

    Raises InputError for a key that has no widget in the graph.
    """
    graph = copy.deepcopy(graph)
    for key, value in line.values.items():
        for node_name, widget in find_widgets(key):
            set_widget(graph, node_name, widget, value, key)
    for node in nodes_of_class(graph, REVIEW):
        node["inputs"]["decision"] = "review" if drafts else "approve"
    return graph


def find_widgets(key: str) -> list[tuple[str, str]]:
    """The (node, widget) pairs that a key sets."""
    if key in WIDGETS:
        return WIDGETS[key]
    node_name, dot, widget = key.rpartition(".")
    if not dot:
        raise InputError(f"{key} is unknown; use {', '.join(WIDGETS)} or NODE.input, e.g. {STAGE2}.cfg")
    return [(node_name, widget)]


def set_widget(graph: Graph, node_name: str, widget: str, value: Any, key: str) -> None:
    """In place, on the node of this id or on all of this class. A linked input is no widget."""
    nodes = [graph[node_name]] if node_name in graph else nodes_of_class(graph, node_name)
    nodes = [node for node in nodes if not isinstance(node["inputs"].get(widget, []), list)]
    if not nodes and key not in ("seed", "choice"):  # a workflow need not have both stages, or a review
        raise InputError(f"{key} has no place: the workflow has no widget {widget} on a node {node_name}")
    for node in nodes:
        node["inputs"][widget] = value


def nodes_of_class(graph: Graph, class_type: str) -> list[Node]:
    return [node for node in graph.values() if node["class_type"] == class_type]


def find_ids(graph: Graph, class_type: str) -> list[str]:
    """The ids of the nodes of a class."""
    return [node_id for node_id, node in graph.items() if node["class_type"] == class_type]


def find_title(graph: Graph, node_id: str | None) -> str:
    """What a node is called in the editor, else its class."""
    node = graph.get(node_id or "", {})
    return node.get("_meta", {}).get("title") or node.get("class_type") or "node"


def fingerprint(graph: Graph) -> str:
    """Of everything but which draft is chosen and whether it is approved: a folder is a set of drafts."""
    graph = copy.deepcopy(graph)
    for node in nodes_of_class(graph, REVIEW):
        node["inputs"] = {name: v for name, v in node["inputs"].items() if name not in ("decision", "choice")}
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:10]
