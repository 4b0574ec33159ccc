"""Translated texts of the editor: complete, current, and with the numbers and names of the English ones."""

import re

import pytest
from support.make_texts import LANGUAGES, LOCALES, dump, list_inputs, load_translations, node_defs, our_nodes, texts_of

NODES = our_nodes()


def test_every_text_is_translated_once_and_no_translation_is_left_over():
    """A text that is changed in a node is another text here: its translations are then looked at again."""
    assert set(load_translations()) == {text for info in NODES.values() for text in texts_of(info)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_files_that_comfyui_reads_are_those_of_the_source(language):
    """`python tests/support/make_texts.py` writes them."""
    assert (LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8") == dump(node_defs(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_input_and_output_has_an_entry(language):
    entries = node_defs(language)
    assert set(entries) == set(NODES)
    for name, info in NODES.items():
        assert set(entries[name]["inputs"]) == set(list_inputs(info))
        assert set(entries[name]["outputs"]) == {str(i) for i, text in enumerate(info["output_tooltips"]) if text}


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_stay(language):
    for english, translations in load_translations().items():
        assert sorted(numbers(translations[language])) == sorted(numbers(english)), english


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_options_are_explained_by_their_own_names(language):
    translations = load_translations()
    for info in NODES.values():
        for spec in list_inputs(info).values():
            for option in spec.get("options") or ():
                if f"{option}:" in spec["tooltip"]:
                    assert f"{option}:" in translations[spec["tooltip"]][language], (spec["tooltip"], option)


def test_the_languages_are_those_of_the_folder():
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == set(LANGUAGES)
    assert all(set(by_language) == set(LANGUAGES) for by_language in load_translations().values())
