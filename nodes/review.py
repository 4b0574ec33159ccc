"""Review: looks at the drafts before stage 2 spends time on one of them.

What holds back the nodes behind it in ComfyUI 0.33 (the blocker was tried, the others are ruled out by its code):
- Waiting inside execute keeps the one prompt worker busy, so nothing else in the queue runs, and a closed browser
  leaves the server stuck. Not done here.
- A lazy input can spare the inputs of a node, never the nodes behind it: this node has to show its inputs and has
  to keep its output back. It would have to sit in every possible follower, ComfyUI's own nodes among them.
- A silent ExecutionBlocker as the output skips everything behind it without an error and is cached like any result.
  This is used. (It has to be given as a positional output: NodeOutput(block_execution=...) without outputs crashes.)
One thing a blocker cannot do: nodes that do not depend on it, stage 2's loader for example, still run on a plain
Run. The buttons of web/review.js therefore queue parts of the graph: new drafts run this node and what is before it;
refining runs what is behind it, with Load Latent of a saved draft in its place, so that it is the draft that was seen
whatever has become of the nodes before it since.
"""

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..flashvideo_core.errors import InputError
from ..flashvideo_core.settings import check_choice
from .bridge.types import Latent
from .drafts import save_draft


class FlashVideoReview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoReview",
            display_name="FlashVideo Review",
            category="FlashVideo",
            description="Plays the drafts and holds back everything behind this node until one of them is approved. "
            "The buttons queue only what is needed; over the API set decision to approve.",
            search_aliases=["flashvideo", "preview video", "approve", "pause", "gate", "choose draft"],
            is_output_node=True,
            inputs=[
                io.Latent.Input("latent", tooltip="The drafts from FlashVideo Stage 1."),
                io.Image.Input("images", tooltip="The same drafts decoded, for looking at."),
                io.Combo.Input(
                    "decision",
                    options=["review", "approve"],
                    default="review",
                    tooltip="review: nothing behind this node runs. approve: the chosen draft goes on.",
                ),
                io.Int.Input("choice", default=0, min=0, max=15, tooltip="Which draft goes on, counted from 0."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The chosen draft, held back until approved.")],
        )

    @classmethod
    def execute(cls, latent: Latent, images: Tensor, decision: str, choice: int) -> io.NodeOutput:
        samples = latent["samples"]
        clips = split_clips(images, samples)
        metadata = {**(cls.hidden.extra_pnginfo or {}), "prompt": cls.hidden.prompt}
        saved = [save_draft(clip, z, metadata) for clip, z in zip(clips, samples.split(1), strict=True)]
        drafts = {"drafts": [video for video, _ in saved], "draft_latents": [latent for _, latent in saved]}
        if decision == "review":
            return io.NodeOutput(ExecutionBlocker(None), ui=drafts)
        check_choice(choice, len(clips))
        return io.NodeOutput({"samples": samples[choice : choice + 1]}, ui=drafts)


def split_clips(images: Tensor, samples: Tensor) -> tuple[Tensor, ...]:
    """[B*F, H, W, 3] -> B clips of F = 4T-3 frames, B and T from the latent [B, 16, T, h, w]."""
    if samples.ndim != 5:
        raise InputError(f"the latent has the shape {list(samples.shape)}; a video latent [B, 16, T, H, W] is needed")
    batch, frames = samples.shape[0], 4 * samples.shape[2] - 3
    if len(images) != batch * frames:
        raise InputError(
            f"{len(images)} images do not belong to this latent of {batch} drafts with {frames} frames each; "
            "connect the latent itself, decoded"
        )
    return images.split(frames)


NODES = [FlashVideoReview]
