"""The released samplers as SIGMAS, SAMPLER and GUIDER for ComfyUI's custom sampling nodes."""

from comfy_api.latest import io

from ..flashvideo_core.config import STAGE1_DEFAULTS, STAGE2_DEFAULTS
from .bridge.sampling import Guider, get_config, make_sampler, make_sigmas, set_flow
from .bridge.types import Conditioning, Model
from .inputs import cfg_input, guidance_input, negative_input, noise_step_input, shift_input, steps_input


class FlashVideoSigmas(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoSigmas",
            display_name="FlashVideo Sigmas",
            category="FlashVideo/custom sampling",
            description="The released schedule of the model's stage, for ComfyUI's custom sampling nodes.",
            search_aliases=["flashvideo", "scheduler", "sigmas"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1 or stage 2."),
                steps_input(
                    STAGE1_DEFAULTS.steps,
                    1,
                    999,
                    f"Evaluations; released: {STAGE1_DEFAULTS.steps} in stage 1, {STAGE2_DEFAULTS.steps} or 5 in "
                    "stage 2.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas")],
        )

    @classmethod
    def execute(cls, model: Model, steps: int) -> io.NodeOutput:
        return io.NodeOutput(make_sigmas(model, steps))


class FlashVideoSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoSampler",
            display_name="FlashVideo Sampler",
            category="FlashVideo/custom sampling",
            description="The released sampler of the model's stage: DPM-Solver++(2M) SDE in alpha space for stage 1 "
            "(with FlashVideo Sigmas only), Euler for stage 2.",
            search_aliases=["flashvideo", "sampler"],
            inputs=[io.Model.Input("model", tooltip="Stage 1 or stage 2.")],
            outputs=[io.Sampler.Output("sampler")],
        )

    @classmethod
    def execute(cls, model: Model) -> io.NodeOutput:
        return io.NodeOutput(make_sampler(model))


class FlashVideoGuider(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoGuider",
            display_name="FlashVideo Guider",
            category="FlashVideo/custom sampling",
            description="Classifier-free guidance as released: in stage 1 with a scale that changes with the step.",
            search_aliases=["flashvideo", "cfg", "guidance"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 1 or stage 2."),
                io.Conditioning.Input("positive", tooltip="The prompt of this stage."),
                negative_input("Not connected: zeros, which is what the released code uses."),
                cfg_input(
                    STAGE1_DEFAULTS.cfg,
                    f"Guidance; released: {STAGE1_DEFAULTS.cfg:g} in stage 1, {STAGE2_DEFAULTS.cfg:g} in stage 2.",
                ),
                guidance_input(
                    "released: the changing scale in stage 1. constant: cfg in every step. Stage 2 is constant either "
                    "way."
                ),
            ],
            outputs=[io.Guider.Output("guider")],
        )

    @classmethod
    def execute(
        cls, model: Model, positive: Conditioning, cfg: float, guidance: str, negative: Conditioning | None = None
    ) -> io.NodeOutput:
        constant = get_config(model).objective == "flow"
        return io.NodeOutput(Guider(model, positive, negative, cfg, "constant" if constant else guidance))


class FlashVideoFlow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="FlashVideoFlow",
            display_name="FlashVideo Stage 2 Flow",
            category="FlashVideo/custom sampling",
            description="Stage 2 with another time shift and noise step, for ComfyUI's own samplers.",
            search_aliases=["flashvideo", "model sampling", "shift"],
            inputs=[
                io.Model.Input("model", tooltip="Stage 2."),
                shift_input(f"How much of the path goes to the first steps; released: {STAGE2_DEFAULTS.shift}."),
                noise_step_input(f"Noise on the reference, 0 to 999; trained: {STAGE2_DEFAULTS.ref_step}."),
            ],
            outputs=[io.Model.Output("model")],
        )

    @classmethod
    def execute(cls, model: Model, shift: float, noise_step: int) -> io.NodeOutput:
        return io.NodeOutput(set_flow(model, shift, noise_step))


NODES = [FlashVideoSigmas, FlashVideoSampler, FlashVideoGuider, FlashVideoFlow]
