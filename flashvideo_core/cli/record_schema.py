"""The form of a record: every key with what its value must be. The numbers of a stage are checked by settings.py.

`check_record` is the one place where a record from a file is looked at before anything in it is used.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from ..errors import InputError
from ..faithful import Drift
from ..media.codecs import BIT_DEPTHS, CODECS, MAX_CRF
from ..media.timing import TIMINGS
from ..media.video_writer import MAX_FPS

DTYPE_NAMES = ("float32", "bf16", "fp16", "fp32", "bfloat16", "float16")
HASHES = ("sha256", "source_sha256", "listing_sha256")
MIN_TILE = 4  # latent rows and columns, of which neighbours share at least two
_FRACTION = re.compile(r"([0-9]{1,12})(?:/([0-9]{1,12}))?")


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words and as a test. None is as good as a key that is not there where it is optional."""

    words: str
    holds: Callable[[Any], bool]
    is_optional: bool = True


def is_text(value: object) -> bool:
    """A text that can be written: JSON can hold halves of characters, which UTF-8 cannot."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object, low: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def is_rate(value: object) -> bool:
    """Frames per second as a number, or as the fraction "24000/1001"."""
    if isinstance(value, str):
        match = _FRACTION.fullmatch(value)
        if not match or int(match[2] or 1) == 0:
            return False
        value = Fraction(int(match[1]), int(match[2] or 1))
        return 0 < value <= MAX_FPS
    return is_number(value) and 0 < value <= MAX_FPS


def is_table(value: object) -> bool:
    return isinstance(value, dict)


def is_table_of_texts(value: object) -> bool:
    return is_table(value) and all(is_text(item) for item in value.values())


def is_hash(value: object) -> bool:
    """How a component is known: its file, and a hash of it."""
    if not is_table(value) or not is_text(value.get("file")):
        return False
    found = [value[name] for name in HASHES if name in value]
    return bool(found) and all(map(is_text, found)) and is_whole(value.get("bytes", 0))


def is_split(value: object) -> bool:
    """VAESplit as JSON."""
    if isinstance(value, list):
        return len(value) == 2 and all(is_whole(side, MIN_TILE) for side in value)
    return is_whole(value, 1)


def is_passes(value: object) -> bool:
    """How often each branch of guidance was evaluated."""
    return is_table(value) and value.keys() == {"cond", "uncond"} and all(map(is_whole, value.values()))


def is_drift(value: object) -> bool:
    """Drift as JSON."""
    names = {field.name for field in fields(Drift)}
    return is_table(value) and value.keys() == names and all(map(is_number, value.values()))


RECORD = {
    "prompt": Rule("a text", is_text, False),
    "stage1": Rule("a table of settings", is_table, False),
    "stage2": Rule("a table of settings", is_table),
    "weights": Rule("a table of components", is_table, False),
    "dtype": Rule(f"one of {', '.join(DTYPE_NAMES)}", DTYPE_NAMES.__contains__, False),
    "device": Rule("a text", is_text, False),
    "fps": Rule(f"a rate above 0, at most {MAX_FPS}", is_rate, False),
    "crf": Rule(f"a number from 0 to {MAX_CRF}", lambda value: is_number(value) and 0 <= value <= MAX_CRF),
    "codec": Rule(f"one of {', '.join(CODECS)}", lambda value: is_text(value) and value in CODECS),
    "bit_depth": Rule(
        f"one of {', '.join(map(str, BIT_DEPTHS))}", lambda value: is_whole(value) and value in BIT_DEPTHS
    ),
    "timing": Rule(f"one of {', '.join(TIMINGS)}", lambda value: is_text(value) and value in TIMINGS),
    "attention": Rule("a text", is_text),
    "kernel": Rule("a text", is_text),
    "source": Rule("a table with the name of a file", lambda value: is_table(value) and is_text(value.get("file"))),
    "drift": Rule(f"a table of numbers: {', '.join(field.name for field in fields(Drift))}", is_drift),
    "software": Rule("a table", is_table),
    "paths": Rule("a table of texts", is_table_of_texts),
}
COMPONENT = Rule("a table of a file and its hash", is_hash)
SOFTWARE = {
    "flashvideo": Rule("a text", is_text),
    "torch": Rule("a text", is_text),
    "threads": Rule("a whole number from 1", lambda value: is_whole(value, 1)),
}
PLAN = {
    "encode": Rule(f"a whole number from 1, or two from {MIN_TILE}", is_split),
    "decode": Rule(f"a whole number from 1, or two from {MIN_TILE}", is_split),
    "branches": Rule("1 or 2", lambda value: is_whole(value, 1) and value <= 2),
}
STAGE = {
    "negative": Rule("a text", is_text),
    "tiles": Rule("a table", is_table),
    "passes": Rule("a table of cond and uncond, whole numbers", is_passes),
}


def check_record(values: object) -> None:
    """Raises InputError, without a subject, for a key whose value is of a wrong type or out of its range.

    Keys that are missing are not looked for here (`Record.from_json`), nor are those that are unknown.
    """
    if not isinstance(values, dict):
        raise InputError("holds no record of a clip of ours")
    check_table(values, RECORD)
    for name, known in (values.get("weights") or {}).items():
        check_value(known, COMPONENT, f"weights.{name}")
    check_table(values.get("software") or {}, SOFTWARE, "software.")
    for stage in ("stage1", "stage2"):
        settings = values.get(stage) or {}
        check_table(settings, STAGE, f"{stage}.")
        check_table(settings.get("tiles") or {}, PLAN, f"{stage}.tiles.")


def check_table(values: Mapping[str, Any], rules: Mapping[str, Rule], prefix: str = "") -> None:
    for name, rule in rules.items():
        if name in values and not (values[name] is None and rule.is_optional):
            check_value(values[name], rule, prefix + name)


def check_value(value: object, rule: Rule, name: str) -> None:
    if not rule.holds(value):
        raise InputError(f"has settings that cannot be used: {name} is {shorten(value)}; it must be {rule.words}")


def shorten(value: object) -> str:
    """A value for a message, on one line that a terminal can show."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
