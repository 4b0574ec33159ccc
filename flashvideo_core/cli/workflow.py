"""A ComfyUI workflow in API form, the values that a line of a prompt file puts into it, and saved drafts."""

import copy
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ..errors import InputError, one_line

REVIEW, TEXT, STAGE1, STAGE2 = (f"FlashVideo{name}" for name in ("Review", "TextEncode", "Stage1", "Stage2"))
WIDGETS = {  # a key of a prompt file -> the (node class, widget) pairs that it sets
    "prompt": [(TEXT, "prompt")],
    "negative": [(TEXT, "negative_prompt")],
    "motion": [(TEXT, "motion")],
    "seed": [(STAGE1, "seed"), (STAGE2, "seed")],
    "choice": [(REVIEW, "choice")],
}
LOAD_DRAFTS = "flashvideo-load-drafts"  # the id of a node that is added here


class Node(TypedDict):
    """A node of the API form; an input is a widget's value or a link, [node id, output]. `_meta` may hold a title."""

    class_type: str
    inputs: dict[str, Any]


Graph = dict[str, Node]
"""A workflow in API form, by node id."""


@dataclass(frozen=True)
class LatentFile:
    """A draft on this machine, and the name under which a server gets it, which is its content's own."""

    path: Path
    name: str


@dataclass(frozen=True)
class PromptLine:
    """One line of the prompt file. `values` are by keys of WIDGETS or "NODE.input"; NODE is an id or a class.

    place: the file and the line, which errors name. latent: a draft that takes the place of stage 1's.
    """

    prompt: str
    values: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False)
    latent: LatentFile | None = None


def load_workflow(path: str | Path) -> Graph:
    """Raises InputError for anything but the API form, the UI form among it."""
    try:
        graph = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {one_line(error)}") from None
    if not isinstance(graph, dict) or not all(map(is_node, graph.values())):
        raise InputError(f"{path} is no workflow in API form; use one of workflows/api, or Export (API) in the editor")
    return graph


def is_node(value: object) -> bool:
    return isinstance(value, dict) and "class_type" in value and isinstance(value.get("inputs"), dict)


def fill_graph(graph: Graph, line: PromptLine, drafts: bool) -> Graph:
    """The graph with the line's values; drafts alone are held back at the review, else everything is approved.

    Raises InputError for a key that has no widget in the graph, and for a value that no widget takes.
    """
    graph = copy.deepcopy(graph)
    try:
        for key, value in line.values.items():
            check_value(key, value)
            for node_name, widget in find_widgets(key):
                set_widget(graph, node_name, widget, value, key)
    except InputError as error:
        raise InputError(f"{line.place}: {error}" if line.place else str(error)) from None
    for node in nodes_of_class(graph, REVIEW):
        node["inputs"]["decision"] = "review" if drafts else "approve"
    return graph if line.latent is None else refine_latent(graph, line.latent)


def check_value(key: str, value: object) -> None:
    """Raises InputError for what is no text, number, true or false; a list would be a link between nodes."""
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise InputError(f"{key} is {json.dumps(value)}; a widget takes a text, a number, true or false")


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


def find_title(graph: Graph, node_id: str) -> str:
    """What a node is called in the editor, else its class."""
    node = graph.get(node_id, {})
    return (node.get("_meta") or {}).get("title") or node.get("class_type") or "node"


def find_upstream(graph: Graph, class_type: str) -> Graph:
    """The nodes of a class and all that they depend on."""
    found: Graph = {}
    waiting = find_ids(graph, class_type)
    while waiting:
        node_id = waiting.pop()
        if node_id in graph and node_id not in found:
            found[node_id] = graph[node_id]
            links = [value for value in graph[node_id]["inputs"].values() if isinstance(value, list) and value]
            waiting += [str(link[0]) for link in links]
    return found


def load_drafts(graph: Graph, file: str) -> Graph:
    """The graph on saved drafts: a file of the server in place of their sampling, a selection in place of the review.

    Whatever else reads the drafts reads that file too, so that nothing asks for stage 1 any more.
    """
    graph = copy.deepcopy(graph)
    (review_id,) = find_ids(graph, REVIEW)
    review = graph[review_id]["inputs"]
    sampled, choice = review["latent"], review["choice"]
    for node in graph.values():
        node["inputs"] |= {name: [LOAD_DRAFTS, 0] for name, value in node["inputs"].items() if value == sampled}
    graph[LOAD_DRAFTS] = {"class_type": "LoadLatent", "inputs": {"latent": file}}
    chosen = {"samples": [LOAD_DRAFTS, 0], "batch_index": choice, "length": 1}
    graph[review_id] = {**graph[review_id], "class_type": "LatentFromBatch", "inputs": chosen}
    return graph


def refine_latent(graph: Graph, latent: LatentFile) -> Graph:
    """The graph on one draft, which is the chosen one. Raises InputError without a review, which it stands in for."""
    reviews = nodes_of_class(graph, REVIEW)
    if len(reviews) != 1:
        raise InputError(f"chosen drafts need a workflow with one {REVIEW}")
    reviews[0]["inputs"]["choice"] = 0
    return load_drafts(graph, f"{latent.name} [temp]")


def fingerprint(graph: Graph) -> str:
    """Of everything but which draft is chosen and whether it is approved: a folder is a set of drafts."""
    graph = copy.deepcopy(graph)
    for node in nodes_of_class(graph, REVIEW):
        node["inputs"] = {name: v for name, v in node["inputs"].items() if name not in ("decision", "choice")}
    return hashlib.sha256(json.dumps(graph, sort_keys=True).encode()).hexdigest()[:10]
