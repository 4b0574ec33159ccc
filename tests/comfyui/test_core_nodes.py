"""docs/core-nodes.md shows what the checks of core_table.py hold."""

from pathlib import Path

import pytest
from core_table import draw_tables

PAGE = Path(__file__).parents[2] / "docs" / "core-nodes.md"


@pytest.mark.parametrize(("name", "table"), draw_tables().items())
def test_the_page_shows_what_is_tested(name, table):
    assert f"<!-- {name} -->\n{table}\n<!-- end -->" in PAGE.read_text()
