"""A workflow for the tests of the batch client."""

from support.comfy_models import two_stage_prompt

from flashvideo_core.cli.workflow import Graph


def make_review_graph() -> Graph:
    """From a prompt to a clip, with two drafts and a review between the stages."""
    graph = two_stage_prompt()
    graph["stage1"]["inputs"].update(drafts=2, steps=2)
    look = {**graph["decode"]["inputs"], "latent": ["stage1", 0]}
    graph["look"] = {"class_type": "FlashVideoDecode", "inputs": look}
    inputs = {"latent": ["stage1", 0], "images": ["look", 0], "decision": "review", "choice": 0}
    graph["review"] = {"class_type": "FlashVideoReview", "inputs": inputs}
    graph["handoff"]["inputs"]["latent"] = ["review", 0]
    return graph
