"""Facts as lines for people."""

import math
from collections.abc import Iterable, Mapping

Facts = dict[str, object]
"""What `info` says of a file, as JSON."""


def fact_lines(name: str, facts: Facts) -> Iterable[str]:
    """The kind on the first line, then a fact a line."""
    yield f"{name}: {facts['kind']}"
    for key, value in facts.items():
        if key != "kind":
            yield f"  {key:<17}{format_fact(key, value)}"


def format_fact(key: str, value: object) -> str:
    if key == "bytes":
        return format_bytes(value)
    if key == "parameters":
        return f"{value:,}"
    if key == "weights":
        return ", ".join(f"{name} {known['file']} {short_hash(known)}" for name, known in value.items())
    if isinstance(value, dict):
        inner = {name: format_fact(name, item) for name, item in value.items() if item is not None}
        return ", ".join(f"{name} {text}" for name, text in inner.items() if text)
    if isinstance(value, list | tuple):
        return "x".join(str(item) for item in value)
    return "none" if value is None else str(value)


def short_hash(known: Mapping[str, str]) -> str:
    """The beginning of a component's hash in a record."""
    return next(value for name, value in known.items() if name.endswith("sha256"))[:12]


def format_bytes(count: int) -> str:
    """1234567 -> 1.2 MB."""
    power = min(4, int(math.log(max(1, count), 1000)))
    return f"{count / 1000**power:.{0 if power == 0 else 1}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"
