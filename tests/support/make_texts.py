"""Writes what the editor says about the nodes: the tables of nodes/web/docs/*.md, and locales/*/nodeDefs.json.

    PYTHONPATH=.:tests python tests/support/make_texts.py

From the nodes' own tooltips as tests/data/object_info.json records them (make_workflows.py writes it), and for other
languages from locales/texts.json, which has every English text once, with its translations.
"""

import json
from collections.abc import Iterator
from typing import Any

from support.comfyui import PACK, NodeInfo
from support.editor_server import recorded

HELP, LOCALES = PACK / "nodes" / "web" / "docs", PACK / "locales"
LANGUAGES = ("ja", "zh")


def our_nodes() -> dict[str, NodeInfo]:
    """The recorded definitions of this pack's nodes."""
    return {name: info for name, info in recorded().items() if name.startswith("FlashVideo")}


def list_inputs(info: NodeInfo) -> dict[str, dict[str, Any]]:
    """The options of each input, as the node shows them."""
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    order = [name for group in info["input_order"].values() for name in group]
    return {name: {"type": inputs[name][0], **inputs[name][1]} for name in order if name in inputs}


def help_head(info: NodeInfo) -> str:
    """Title, description, the table of inputs and the outputs of a help page."""
    rows = "".join(
        f"| **{name}** | {show_default(spec)} | {spec['tooltip']} |\n" for name, spec in list_inputs(info).items()
    )
    outputs = "".join(
        f"- **{name}**{f': {tooltip}' if tooltip else ''}\n"
        for name, tooltip in zip(info["output_name"], info["output_tooltips"], strict=True)
    )
    table = f"| input | default | meaning |\n|---|---|---|\n{rows}"
    return f"# {info['display_name']}\n\n{info['description']}\n\n{table}\n## Outputs\n\n{outputs}"


def show_default(spec: dict[str, Any]) -> str:
    """Nothing for what has to be connected, and for an empty text."""
    default = spec.get("default", "")
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"`{shown}`" if shown else ""


def texts_of(info: NodeInfo) -> Iterator[str]:
    """Every text of a node that is translated."""
    yield info["display_name"]
    yield info["description"]
    yield from (spec["tooltip"] for spec in list_inputs(info).values())
    yield from filter(None, info["output_tooltips"])


def load_translations() -> dict[str, dict[str, str]]:
    """Translations by English text, then by language."""
    return json.loads((LOCALES / "texts.json").read_text(encoding="utf-8"))


def node_defs(language: str) -> dict[str, dict[str, Any]]:
    """What ComfyUI reads of a language: name and description of each node, and the tooltips of inputs and outputs."""
    texts = {english: by_language[language] for english, by_language in load_translations().items()}
    return {
        name: {
            "display_name": texts[info["display_name"]],
            "description": texts[info["description"]],
            "inputs": {key: {"tooltip": texts[spec["tooltip"]]} for key, spec in list_inputs(info).items()},
            "outputs": {
                str(i): {"tooltip": texts[tooltip]} for i, tooltip in enumerate(info["output_tooltips"]) if tooltip
            },
        }
        for name, info in our_nodes().items()
    }


def dump(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def help_rest(page: str) -> str:
    """Of a help page what is written by hand: what follows the list of its outputs."""
    _, _, outputs = page.partition("\n## Outputs\n\n")
    _, gap, rest = outputs.partition("\n\n")
    return f"\n{rest}" if gap else ""


def write_help() -> None:
    for name, info in our_nodes().items():
        path = HELP / f"{name}.md"
        path.write_text(help_head(info) + help_rest(path.read_text(encoding="utf-8")), encoding="utf-8")


def write_locales() -> None:
    for language in LANGUAGES:
        path = LOCALES / language / "nodeDefs.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(node_defs(language)), encoding="utf-8")


if __name__ == "__main__":
    write_help()
    write_locales()
