"""The released samplers as SIGMAS, SAMPLER and GUIDER for ComfyUI's custom sampling nodes."""

from comfy_api.latest import io

from ..flashvideo_core.guidance import GUIDANCE_SCALES
from .bridge.sampling import Guider, config_of, sampler_of, sigmas_of, with_flow


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
                io.Int.Input("steps", default=51, min=1, max=999, tooltip="Released: stage 1: 51, stage 2: 4 or 5."),
            ],
            outputs=[io.Sigmas.Output("sigmas")],
        )

    @classmethod
    def execute(cls, model, steps) -> io.NodeOutput:
        return io.NodeOutput(sigmas_of(model, steps))


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
    def execute(cls, model) -> io.NodeOutput:
        return io.NodeOutput(sampler_of(model))


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
                io.Conditioning.Input("negative", optional=True, tooltip="Not connected: zeros, as released."),
                io.Float.Input("cfg", default=8.0, min=0.0, max=30.0, step=0.1, tooltip="Released: 8, stage 2: 13."),
                io.Combo.Input(
                    "guidance",
                    options=list(GUIDANCE_SCALES),
                    default="released",
                    tooltip="released: stage 1's changing scale; stage 2 is constant either way. constant: cfg.",
                ),
            ],
            outputs=[io.Guider.Output("guider")],
        )

    @classmethod
    def execute(cls, model, positive, cfg, guidance, negative=None) -> io.NodeOutput:
        constant = config_of(model).objective == "flow"
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
                io.Float.Input("shift", default=2.5, min=0.1, max=20.0, step=0.01, tooltip="Released: 2.5."),
                io.Int.Input("noise_step", default=675, min=0, max=999, tooltip="Of the reference; trained: 675."),
            ],
            outputs=[io.Model.Output("model")],
        )

    @classmethod
    def execute(cls, model, shift, noise_step) -> io.NodeOutput:
        return io.NodeOutput(with_flow(model, shift, noise_step))


NODES = [FlashVideoSigmas, FlashVideoSampler, FlashVideoGuider, FlashVideoFlow]
