"""The nodes in the real editor, in the languages of locales/."""

import pytest
from support.editor import Editor, requires_browser
from support.make_texts import LANGUAGES, node_defs
from support.workflow_files import load_workflow

pytestmark = [pytest.mark.browser, pytest.mark.comfyui, requires_browser]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_are_named_and_explained_in_the_language_of_the_editor(server, language):
    wanted = node_defs(language)["FlashVideoStage2"]
    assert server.get("/i18n")[language]["nodeDefs"]["FlashVideoStage2"] == wanted
    with Editor(server.url, language=language) as editor:
        editor.open(load_workflow("tiny-two-stage"))
        assert wanted["display_name"] in editor.page.evaluate("() => app.graph.nodes.map(node => node.title)")
        assert editor.errors() == []
