"""Captions of the procedural world: a scene said in many words and orders, and the vocabulary.

`caption` decides what to mention, fills the fields of one sentence form of the lexicon and tidies the result. Every
word of the vocabulary is one that it produces now and then, so none stays untrained.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from ..text import tokenize
from . import lexicon
from .world import CHOICES, Scene, one_of

ATTRIBUTES = CHOICES  # name -> its values, in the order of the class indices
MENTIONED = {"shape": 0.95, "color": 0.95, "motion": 0.95}  # probabilities; every other attribute: 0.5


def caption(
    scene: Scene, rng: np.random.Generator, odds: Mapping[str, float] = MENTIONED
) -> tuple[str, dict[str, int]]:
    """A sentence about the scene, and what it mentions: attribute -> index of its value in ATTRIBUTES.

    odds: the probability that an attribute is mentioned, 0.5 for one that is not there; by default shape, color and
    motion are each in 95 % of the captions. The speed is said by an adverb or by FlashVideo's prefix ("medium
    motion,"), which alone can go with a shape that stands still.
    """
    said = {name for name in ATTRIBUTES if rng.random() < odds.get(name, 0.5)}
    prefix = "speed" in said and (scene.motion == "still" or "motion" not in said or rng.random() < 0.5)
    text = _sentence(scene, said - {"speed"} if prefix else said, rng)
    if rng.random() < 0.1:
        text = f"{text}, {_any(lexicon.ENDINGS, rng)}"
    if rng.random() < 0.1:
        text = _stray(text, rng)
    if prefix:
        text = f"{scene.speed} motion,{one_of(('', ' '), rng)}{text}"
    mentioned = {name: ATTRIBUTES[name].index(getattr(scene, name)) for name in ATTRIBUTES if name in said}
    return _tidy(text), mentioned


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    tables = {name: table for name, table in vars(lexicon).items() if name.isupper()}
    texts = [*_texts(tables), *ATTRIBUTES["speed"], "motion", "an", "the", "one"]
    return tuple(sorted({word for text in texts for word in tokenize(re.sub(r"\{\w+\}", " ", text))}))


def _texts(table: dict | tuple | str) -> Iterator[str]:
    """All texts in the lexicon's tables, however deep."""
    if isinstance(table, str):
        yield table
    else:
        for inner in table.values() if isinstance(table, dict) else table:
            yield from _texts(inner)


def _sentence(scene: Scene, said: set[str], rng: np.random.Generator) -> str:
    """One form, filled; with {looks} only where there is something to say about them."""
    words = {name: _pick(by[getattr(scene, name)], rng) for name, by in lexicon.WORDS.items() if name in said}
    traits = [words[name] for name in ("size", "texture", "color") if name in said]
    mover = _any(lexicon.MOVER[scene.motion], rng) if "motion" in said and "speed" not in said else ""
    forms = lexicon.MOVING if "motion" in said else lexicon.NO_MOTION
    if mover and rng.random() < 0.15:
        forms = lexicon.AS_ADJECTIVE
    form = one_of([form for form in forms if traits or "{looks}" not in form], rng)
    bare = words.get("shape") or _any(lexicon.GENERIC, rng)
    verb = _verb(scene, words.get("speed", ""), rng) if "motion" in said else ("", "", "")
    return form.format(
        np=_noun_phrase(scene, words, bare, "", rng),
        mover_np=_noun_phrase(scene, words, bare, mover, rng),
        bare=bare,
        looks=_join(traits, rng),
        mover=mover,
        motion=f"{_any(lexicon.MOTION_NOUN[scene.motion], rng)} {words.get('speed', '')}",
        on=_ground(lexicon.ON, words, rng),
        ground=_ground(lexicon.BEHIND, words, rng),
        opener=_any(lexicon.OPENERS, rng),
        that=_any(lexicon.THAT, rng),
        **dict(zip(("do", "does", "doing"), verb, strict=True)),
    )


def _noun_phrase(scene: Scene, words: dict, noun: str, mover: str, rng: np.random.Generator) -> str:
    """ "the tiny striped red ball": adjectives mostly in that order, the texture sometimes behind the noun."""
    behind = "texture" in words and rng.random() < 0.35
    adjectives = [words[name] for name in ("size", "" if behind else "texture", "color") if name in words]
    if mover:
        adjectives.insert(int(rng.integers(len(adjectives) + 1)), mover)
    if rng.random() < 0.08:
        adjectives.insert(0, _any(lexicon.NICE, rng))
    if rng.random() < 0.3:
        rng.shuffle(adjectives)
    article = one_of(("a", "a", "a", "the", "one", ""), rng)
    tail = _any(lexicon.WITH[scene.texture], rng) if behind else ""
    return " ".join([article, *adjectives, noun, tail])


def _verb(scene: Scene, adverb: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Base, third person and gerund of what the shape does, each with its direction and adverb."""
    verbs, way = lexicon.VERBS.get(scene.motion), ""
    if scene.motion in lexicon.WAYS and (verbs is None or rng.random() < 0.6):
        verbs = lexicon.HASTE[scene.speed] if rng.random() < 0.15 else lexicon.MOVE
        way = _pick(lexicon.WAYS[scene.motion], rng)
    forms = _any(verbs, rng).split("/")
    if adverb.endswith("ly") and rng.random() < 0.5:
        return tuple(f"{adverb} {form} {way}" for form in forms)
    return tuple(f"{form} {way} {adverb}" for form in forms)


def _ground(forms: tuple[str, ...], words: dict, rng: np.random.Generator) -> str:
    parts = [words[name] for name in ("background_texture", "background") if name in words]
    if not parts:
        return ""
    joined = " ".join(parts) if rng.random() < 0.7 else _join(parts, rng)
    return one_of(forms, rng).format(words=joined, noun=_pick(lexicon.GROUND, rng))


def _join(parts: list[str], rng: np.random.Generator) -> str:
    """A list in words, in any order: "red and small", "small, striped and red", "red, small"."""
    parts = [parts[i] for i in rng.permutation(len(parts))]
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + one_of(lexicon.LAST, rng) + parts[-1]


def _stray(text: str, rng: np.random.Generator) -> str:
    """The text with one or two words dropped in that mean nothing here."""
    words = text.split(" ")
    for _ in range(rng.integers(1, 3)):
        words.insert(int(rng.integers(len(words) + 1)), one_of(lexicon.STRAY.split(), rng))
    return " ".join(words)


def _tidy(text: str) -> str:
    """Single spaces, no doubled or hanging punctuation, "an" before a vowel."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?: ?([,.:]))+(?= |$)", r"\1", text)
    text = re.sub(r"\ba (?=[aeio]|u(?!ni))", "an ", text)
    return re.sub(r"^[\s,.:]+|[\s,:]+$", "", text)


def _pick(alternatives: str, rng: np.random.Generator) -> str:
    """One of the alternatives, the plainest one a third of the time."""
    return alternatives.split(", ")[0] if rng.random() < 1 / 3 else _any(alternatives, rng)


def _any(alternatives: str, rng: np.random.Generator) -> str:
    return one_of(alternatives.split(", "), rng)
