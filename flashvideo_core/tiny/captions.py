"""Captions of the procedural world: a scene said in many words and orders, and the vocabulary.

`caption` decides what to mention, fills the fields of one sentence form of the lexicon and tidies the result. Every
word of the vocabulary is one that it produces now and then, so none stays untrained.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from ..text import tokenize
from . import lexicon
from .scene import ATTRIBUTES, Scene, choose

MENTIONED = {"shape": 0.95, "color": 0.95, "motion": 0.95}  # probabilities; every other attribute: 0.5
# Said of whatever is not plain, so that what nothing is said of is plain: of a texture that a draft has lost stage 2
# has nothing but the caption.
SAID_UNLESS_PLAIN = ("texture", "background_texture")


def caption(
    scene: Scene, rng: np.random.Generator, odds: Mapping[str, float] = MENTIONED
) -> tuple[str, dict[str, int]]:
    """A sentence about the scene, and what it mentions: attribute -> index of its value in ATTRIBUTES.

    odds: the probability that an attribute is mentioned, 0.5 for one that is not there; by default shape, color and
    motion are each in 95 % of the captions. A texture that is not plain is always mentioned. The speed is said by an
    adverb or by FlashVideo's prefix ("medium motion,"), which alone can go with a shape that stands still.
    """
    said = {name for name in ATTRIBUTES if rng.random() < odds.get(name, 0.5)}
    said |= {name for name in SAID_UNLESS_PLAIN if getattr(scene, name) != "plain"}
    prefix = "speed" in said and (scene.motion == "still" or "motion" not in said or rng.random() < 0.5)
    text = _fill_sentence(scene, said - {"speed"} if prefix else said, rng)
    if rng.random() < 0.1:
        text = f"{text}, {_choose_any(lexicon.ENDINGS, rng)}"
    if rng.random() < 0.1:
        text = _insert_stray_words(text, rng)
    if prefix:
        text = f"{scene.speed} motion,{choose(('', ' '), rng)}{text}"
    mentioned = {name: ATTRIBUTES[name].index(getattr(scene, name)) for name in ATTRIBUTES if name in said}
    return _tidy(text), mentioned


def build_vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    tables = {name: table for name, table in vars(lexicon).items() if name.isupper()}
    texts = [*_list_texts(tables), *ATTRIBUTES["speed"], "motion", "an", "the", "one"]
    return tuple(sorted({word for text in texts for word in tokenize(re.sub(r"\{\w+\}", " ", text))}))


def _list_texts(table: dict | tuple | str) -> Iterator[str]:
    """All texts in the lexicon's tables, however deep."""
    if isinstance(table, str):
        yield table
    else:
        for inner in table.values() if isinstance(table, dict) else table:
            yield from _list_texts(inner)


def _fill_sentence(scene: Scene, said: set[str], rng: np.random.Generator) -> str:
    """One form, filled; with {looks} only where there is something to say about them."""
    words = {name: _choose_word(by[getattr(scene, name)], rng) for name, by in lexicon.WORDS.items() if name in said}
    traits = [words[name] for name in ("size", "texture", "color") if name in said]
    mover = _choose_any(lexicon.MOVER[scene.motion], rng) if "motion" in said and "speed" not in said else ""
    forms = lexicon.MOVING if "motion" in said else lexicon.NO_MOTION
    if mover and rng.random() < 0.15:
        forms = lexicon.AS_ADJECTIVE
    form = choose([form for form in forms if traits or "{looks}" not in form], rng)
    bare = words.get("shape") or _choose_any(lexicon.GENERIC, rng)
    verb = _conjugate(scene, words.get("speed", ""), rng) if "motion" in said else ("", "", "")
    return form.format(
        np=_write_noun_phrase(scene, words, bare, "", rng),
        mover_np=_write_noun_phrase(scene, words, bare, mover, rng),
        bare=bare,
        looks=_join_words(traits, rng),
        mover=mover,
        motion=f"{_choose_any(lexicon.MOTION_NOUN[scene.motion], rng)} {words.get('speed', '')}",
        on=_describe_background(lexicon.ON, words, rng),
        ground=_describe_background(lexicon.BEHIND, words, rng),
        opener=_choose_any(lexicon.OPENERS, rng),
        that=_choose_any(lexicon.THAT, rng),
        **dict(zip(("do", "does", "doing"), verb, strict=True)),
    )


def _write_noun_phrase(scene: Scene, words: Mapping[str, str], noun: str, mover: str, rng: np.random.Generator) -> str:
    """ "the tiny striped red ball": adjectives mostly in that order, the texture sometimes behind the noun."""
    behind = "texture" in words and rng.random() < 0.35
    adjectives = [words[name] for name in ("size", "" if behind else "texture", "color") if name in words]
    if mover:
        adjectives.insert(int(rng.integers(len(adjectives) + 1)), mover)
    if rng.random() < 0.08:
        adjectives.insert(0, _choose_any(lexicon.NICE, rng))
    if rng.random() < 0.3:
        rng.shuffle(adjectives)
    article = choose(("a", "a", "a", "the", "one", ""), rng)
    tail = _choose_any(lexicon.WITH[scene.texture], rng) if behind else ""
    return " ".join([article, *adjectives, noun, tail])


def _conjugate(scene: Scene, adverb: str, rng: np.random.Generator) -> tuple[str, str, str]:
    """Base, third person and gerund of what the shape does, each with its direction and adverb."""
    verbs, way = lexicon.VERBS.get(scene.motion), ""
    if scene.motion in lexicon.WAYS and (verbs is None or rng.random() < 0.6):
        verbs = lexicon.HASTE[scene.speed] if rng.random() < 0.15 else lexicon.MOVE
        way = _choose_word(lexicon.WAYS[scene.motion], rng)
    forms = _choose_any(verbs, rng).split("/")
    if adverb.endswith("ly") and rng.random() < 0.5:
        return tuple(f"{adverb} {form} {way}" for form in forms)
    return tuple(f"{form} {way} {adverb}" for form in forms)


def _describe_background(forms: tuple[str, ...], words: Mapping[str, str], rng: np.random.Generator) -> str:
    traits = [words[name] for name in ("background_texture", "background") if name in words]
    if not traits:
        return ""
    joined = " ".join(traits) if rng.random() < 0.7 else _join_words(traits, rng)
    return choose(forms, rng).format(words=joined, noun=_choose_word(lexicon.GROUND, rng))


def _join_words(words: list[str], rng: np.random.Generator) -> str:
    """A list in words, in any order: "red and small", "small, striped and red", "red, small"."""
    words = [words[i] for i in rng.permutation(len(words))]
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + choose(lexicon.LAST, rng) + words[-1]


def _insert_stray_words(text: str, rng: np.random.Generator) -> str:
    """The text with one or two words dropped in that mean nothing here."""
    words = text.split(" ")
    for _ in range(rng.integers(1, 3)):
        words.insert(int(rng.integers(len(words) + 1)), choose(lexicon.STRAY.split(), rng))
    return " ".join(words)


def _tidy(text: str) -> str:
    """Single spaces, no doubled or hanging punctuation, "an" before a vowel."""
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?: ?([,.:]))+(?= |$)", r"\1", text)
    text = re.sub(r"\ba (?=[aeio]|u(?!ni))", "an ", text)
    return re.sub(r"^[\s,.:]+|[\s,:]+$", "", text)


def _choose_word(alternatives: str, rng: np.random.Generator) -> str:
    """One of the alternatives, the plainest one a third of the time."""
    return alternatives.split(", ")[0] if rng.random() < 1 / 3 else _choose_any(alternatives, rng)


def _choose_any(alternatives: str, rng: np.random.Generator) -> str:
    return choose(alternatives.split(", "), rng)
