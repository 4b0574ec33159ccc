"""A prompt for the small models, for the tests to change and run."""

import pytest
from support.comfy_models import two_stage_prompt


@pytest.fixture
def prompt() -> dict:
    return two_stage_prompt()
