"""How the shipped workflows lie on the canvas: nodes in the frames of their steps, wires around the nodes."""

import itertools
from collections.abc import Iterator

import pytest
from support.comfyui import Workflow
from support.workflow_files import NAMES, load_workflow

Point = tuple[float, float]
Box = tuple[float, float, float, float]
STEPS, WITHOUT_REVIEW = ["1 Prompt", "2 Draft", "3 Review", "4 Refine"], ["1 Prompt", "2 Draft", "3 Refine"]
PREVIEW = 220 + 30  # pixels: the least height of the editor's preview, and the memory plan's line
TITLE, FIRST_SLOT, SLOT = 30, 14, 20  # heights in pixels: of a node's title, to the middle of its first slot, of a slot


def box_of(node: dict) -> Box:
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def contains(outer: Box, inner: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


@pytest.mark.parametrize("name", NAMES)
def test_every_node_lies_in_the_frame_of_one_step(name):
    graph = load_workflow(name)
    frames = {group["title"]: group["bounding"] for group in graph["groups"]}
    steps = [title for title in frames if title[0].isdigit()]
    assert steps == (STEPS if "FlashVideoReview" in {n["type"] for n in graph["nodes"]} else WITHOUT_REVIEW)
    for node in graph["nodes"]:
        within = [title for title, (x, y, w, h) in frames.items() if contains((x, y, x + w, y + h), box_of(node))]
        assert len(within) == (node["type"] != "MarkdownNote"), (node["type"], within)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_do_not_overlap(name):
    boxes = [box_of(node) for node in load_workflow(name)["nodes"]]
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@pytest.mark.parametrize("name", NAMES)
def test_a_sampler_has_room_to_grow_by_its_preview(name):
    """The editor shows the preview in the node, which grows downwards."""
    nodes = load_workflow(name)["nodes"]
    for node in nodes:
        if node["type"] in ("FlashVideoStage1", "FlashVideoStage2"):
            left, _, right, bottom = box_of(node)
            others = [box_of(other) for other in nodes if other is not node]
            below = [box for box in others if box[0] < right and left < box[2] and bottom <= box[1] < bottom + PREVIEW]
            assert not below, (node["type"], below)


@pytest.mark.parametrize("name", NAMES)
def test_no_wire_runs_behind_a_node(name):
    """Taken straight from point to point, where the editor draws them a little rounder."""
    graph = load_workflow(name)
    for link, points in wires(graph):
        for node in graph["nodes"]:
            box = box_of(node)
            crossed = [p for a, b in itertools.pairwise(points) for p in between(a, b) if inside(p, box)]
            assert not crossed, (link, node["type"], crossed[0])


def wires(graph: Workflow) -> Iterator[tuple[list, list[Point]]]:
    """Each link with the points that its wire takes, from the output over reroutes to the input."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    reroutes = {point["id"]: point for point in graph["extra"].get("reroutes", [])}
    last = {extension["id"]: extension["parentId"] for extension in graph["extra"].get("linkExtensions", [])}
    for link in graph["links"]:
        link_id, origin, output, target, slot = link[:5]
        via, at = [], last.get(link_id)
        while at is not None:
            via.insert(0, tuple(reroutes[at]["pos"]))
            at = reroutes[at].get("parentId")
        x0, y0, x1, _ = box_of(nodes[origin])
        start = (x1, y0 + TITLE + FIRST_SLOT + SLOT * output)
        x0, y0, *_ = box_of(nodes[target])
        yield link, [start, *via, (x0, y0 + TITLE + FIRST_SLOT + SLOT * slot)]


def between(a: Point, b: Point, count: int = 200) -> list[Point]:
    return [(a[0] + (b[0] - a[0]) * i / count, a[1] + (b[1] - a[1]) * i / count) for i in range(count + 1)]


def inside(point: Point, box: Box) -> bool:
    """Not on the edge, where the slots are."""
    return box[0] + 1 < point[0] < box[2] - 1 and box[1] + 1 < point[1] < box[3] - 1
