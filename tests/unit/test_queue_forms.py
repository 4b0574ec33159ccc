"""Answers of a ComfyUI server of any form: each is read, or refused in one sentence."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvideo_core.cli.server_answers import (
    describe_refusal,
    find_failure,
    list_node_files,
    list_queued,
    list_saved,
    parse_message,
    parse_progress,
)
from flashvideo_core.errors import InputError

KEYS = ["status", "messages", "outputs", "images", "filename", "subfolder", "type", "9", "error", "node_errors"]
LEAVES = st.sampled_from([None, True, 0, -3, 1.5, math.nan, math.inf, "", "output", "execution_error", [], {}])


def nested(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(st.sampled_from(KEYS), inner, max_size=4) | st.lists(inner, max_size=2) | LEAVES


ANSWERS = st.dictionaries(st.sampled_from(KEYS), nested(nested(nested(nested(LEAVES)))), max_size=4)


@given(ANSWERS)
def test_answers_of_any_form_are_read_or_refused(answer):
    assert all(isinstance(prompt_id, str) for prompt_id in list_queued(answer))
    assert isinstance(describe_refusal(answer), str)
    for read in (find_failure, list_saved, lambda answer: list_node_files(answer, "9", "images")):
        try:
            read(answer)
        except InputError as error:
            assert "\n" not in str(error)


@given(st.dictionaries(st.sampled_from(["value", "max", "node"]), nested(LEAVES)))
def test_progress_of_any_form_is_read_or_passed_over(detail):
    at = parse_progress(detail)
    assert at is None or (isinstance(at[0], str) and at[1] > 0)


def test_progress():
    assert parse_progress({"node": "3", "value": 2, "max": 4}) == ("3", 2, 4)
    assert parse_progress({"node": "3", "value": 0, "max": 4}) is None


@pytest.mark.parametrize("text", ["no json", "[1]", '{"data": 5}', "[" * 100_000])
def test_odd_messages_are_passed_over(text):
    assert parse_message(text) == {}
