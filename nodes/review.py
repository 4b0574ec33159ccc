"""Review: looks at the drafts before stage 2 spends time on one of them.

What holds back the nodes behind it in ComfyUI 0.33 (the blocker was tried, the others are ruled out by its code):
- Waiting inside execute keeps the one prompt worker busy, so nothing else in the queue runs, and a closed browser
  leaves the server stuck. Not done here.
- A lazy input can spare the inputs of a node, never the nodes behind it: this node has to show its inputs and has
  to keep its output back. It would have to sit in every possible follower, ComfyUI's own nodes among them.
- A silent ExecutionBlocker as the output skips everything behind it without an error, is cached like any result,
  and the same graph with decision = approve runs on from the cached drafts. This is used. (It has to be given as a
  positional output: NodeOutput(block_execution=...) without outputs crashes.)
One thing a blocker cannot do: nodes that do not depend on it, stage 2's loader for example, still run on a plain
Run. The buttons of web/review.js therefore queue partial runs: new drafts run this node and what is before it,
approving runs the outputs behind it. Partial runs also leave the seed widgets alone.
"""

import hashlib
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import InputImpl, Types, io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..flashvideo_core.errors import InputError
from .bridge.types import Latent

FPS = 8


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
        drafts = {"drafts": [write_preview(clip, metadata) for clip in clips]}
        if decision == "review":
            return io.NodeOutput(ExecutionBlocker(None), ui=drafts)
        if choice >= len(clips):
            raise InputError(f"choice is {choice}, but the drafts are 0 to {len(clips) - 1}")
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


def write_preview(clip: Tensor, metadata: dict[str, Any]) -> ui.SavedResult:
    """A small video of a clip [F, H, W, 3] in ComfyUI's temp folder, with the workflow in it.

    It is named by its content: approving shows the same files again.
    """
    pixels = clip[..., :3].mul(255).round().clamp(0, 255).byte().cpu().contiguous()
    name = f"flashvideo_draft_{hashlib.sha256(pixels.numpy()).hexdigest()[:16]}.mp4"
    path = Path(folder_paths.get_temp_directory(), name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        components = Types.VideoComponents(images=clip, audio=None, frame_rate=Fraction(FPS))
        partial = path.with_name(f"partial_{name}")
        InputImpl.VideoFromComponents(components).save_to(str(partial), metadata=metadata)
        os.replace(partial, path)
    return ui.SavedResult(name, "", io.FolderType.temp)


NODES = [FlashVideoReview]
