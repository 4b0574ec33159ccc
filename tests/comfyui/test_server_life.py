"""What the pack leaves in a real ComfyUI: memory that stays flat, other packs that stay whole, no files."""

from pathlib import Path

import pytest
from support.comfy_server import ComfyServer
from support.comfyui import PACK

pytestmark = pytest.mark.comfyui


def test_twenty_runs_leave_memory_flat(server, prompt):
    prompt["stage1"]["inputs"]["steps"] = prompt["stage2"]["inputs"]["steps"] = 2
    sizes = []
    for seed in range(1000, 1025):
        prompt["stage1"]["inputs"]["seed"] = seed
        server.complete(prompt)
        sizes.append(server.rss())
    settled = sizes[5:]  # allocator and caches have settled
    assert max(settled[-5:]) - max(settled[:5]) < 32 << 20, [size >> 20 for size in sizes]


def test_another_pack_with_the_same_inner_names(tmp_path):
    """A pack that has its own `nodes` and `flashvideo_core` packages loads beside ours, and neither sees the other.

    Two servers of their own: which packs there are is decided at a server's start.
    """
    other = tmp_path / "other-pack"
    (other / "nodes").mkdir(parents=True)
    (other / "flashvideo_core").mkdir()
    (other / "flashvideo_core" / "__init__.py").write_text("VALUE = 'theirs'\n")
    (other / "nodes" / "__init__.py").write_text(OTHER_PACK)
    (other / "__init__.py").write_text("from .nodes import NODE_CLASS_MAPPINGS\n")
    base = tmp_path / "base"
    base.mkdir()
    with ComfyServer({"ComfyUI-FlashVideo": PACK, "other-pack": other}, base=base) as server:
        found = server.get("/object_info")
        assert {"OtherNode", "FlashVideoStage1", "KSampler"} <= set(found)
        assert "IMPORT FAILED" not in server.log()
    before = everything_under(base)
    with ComfyServer({}, base=base) as server:  # uninstalled
        assert not [name for name in server.get("/object_info") if name.startswith("FlashVideo")]
    left = [path for path in before & everything_under(base) if "lash" in path.name and not path.is_symlink()]
    assert not left, "the pack left files behind"


OTHER_PACK = """
from ..flashvideo_core import VALUE


class OtherNode:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("STRING",), "run", VALUE

    def run(self):
        return (VALUE,)


NODE_CLASS_MAPPINGS = {"OtherNode": OtherNode}
"""


def everything_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "custom_nodes" not in path.parts[len(folder.parts) :]}
