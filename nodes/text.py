"""Encode Prompt: one prompt as each stage wants to read it."""

import logging

from comfy_api.latest import io

from ..flashvideo_core.text import LONG_PROMPT_WORDS, MOTIONS, add_motion, suggest_longer
from .bridge.clip import T5_TOKENS, describe_unread, encode_text, is_word_clip
from .bridge.sampling import zero_conditioning
from .bridge.types import CLIP
from .remarks import remark


class FlashVideoTextEncode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoTextEncode",
            display_name="FlashVideo Encode Prompt",
            category="FlashVideo",
            description="Encodes a plain-text prompt for both stages: stage 1 reads it as it is, stage 2 with the "
            "motion words before it. Without a negative prompt the negative is zeros, as released.",
            search_aliases=["flashvideo", "prompt", "clip text encode", "conditioning"],
            inputs=[
                io.Clip.Input("clip", tooltip="From FlashVideo Load Text Encoder, or Load CLIP of type cogvideox."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="What happens in the clip. Plain text: brackets are not weights. The released weights "
                    f"follow detailed prompts of {LONG_PROMPT_WORDS[0]} to {LONG_PROMPT_WORDS[1]} words best; T5 reads "
                    f"at most {T5_TOKENS} tokens.",
                ),
                io.Combo.Input(
                    "motion",
                    options=list(MOTIONS),
                    default="medium motion",
                    tooltip="Put before the prompt for stage 2, as the released script does. none: nothing.",
                ),
                io.String.Input(
                    "negative_prompt",
                    default="",
                    multiline=True,
                    tooltip="What to keep away from. Leave it empty for the released behaviour: zeros.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Conditioning.Output("stage1", tooltip="The prompt for FlashVideo Stage 1."),
                io.Conditioning.Output("stage2", tooltip="The prompt for FlashVideo Stage 2."),
                io.Conditioning.Output("negative", tooltip="For both stages; zeros without a negative prompt."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, clip: CLIP, prompt: str, motion: str, negative_prompt: str) -> io.NodeOutput:
        if not is_word_clip(clip) and (hint := suggest_longer(prompt)):
            logging.info("FlashVideo: %s", hint)
        remark(cls, *(describe_unread(clip, text) for text in (prompt, negative_prompt) if text.strip()))
        stage1, stage2 = encode_text(clip, add_motion(prompt, "none")), encode_text(clip, add_motion(prompt, motion))
        negative = encode_text(clip, negative_prompt) if negative_prompt.strip() else zero_conditioning(stage1)
        return io.NodeOutput(stage1, stage2, negative)


NODES = [FlashVideoTextEncode]
