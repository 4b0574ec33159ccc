"""Markdown for results that are read by people."""

from collections.abc import Iterable, Sequence


def format_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are shown as str shows them."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def format_percent(share: float) -> str:
    """One decimal where there is one: 0.95 -> 95 %, 0.9833 -> 98.3 %."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
