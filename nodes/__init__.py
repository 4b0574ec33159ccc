"""The node pack: the extension with its explicit list of nodes."""

from comfy_api.latest import ComfyExtension, io

from . import custom, loaders, review, stages, text


class FlashVideoExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*loaders.NODES, *text.NODES, *stages.NODES, *review.NODES, *custom.NODES]
