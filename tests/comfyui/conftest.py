"""A prompt for the small models, for the tests to change and run."""

import pytest
from support.comfy_models import two_stage_prompt
from support.comfyui import Prompt


@pytest.fixture
def prompt() -> Prompt:
    return two_stage_prompt()
