"""The node pack: the extension with its explicit list of nodes."""

from comfy_api.latest import ComfyExtension, io

from . import custom, decode, handoff, loaders, refine_video, review, speed, stages, text, video
from .bridge.plans import add_route
from .plan import plan_prompt


class FlashVideoExtension(ComfyExtension):
    async def on_load(self) -> None:
        add_route(plan_prompt)
        video.place_sample()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        modules = (loaders, text, video, stages, handoff, decode, refine_video, review, custom, speed)
        return [node for module in modules for node in module.NODES]
