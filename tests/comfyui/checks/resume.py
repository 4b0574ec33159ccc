"""Stage 2 gone on with from each of its states: the bits of a sampling that was not stopped, and of Stage 2's own."""

import torch

from .latent_windows import make_inputs, make_settings
from .setting import STAGE2, conditioning, load_stage, pack


def check_stage_2_goes_on_from_every_state():
    sampling, runs = pack("nodes.bridge.sampling"), pack("nodes.bridge.runs")
    (z_ref, txt), model, states = make_inputs(), load_stage(STAGE2), []
    settings = make_settings(windows="time", time_window=3, time_overlap=1)

    def refine(latent, resume=None, keep=lambda state: None):
        sampler = sampling.make_resumable_euler(resume, keep)
        return runs.refine_latents(model, conditioning(txt), None, latent, settings, sampler=sampler)

    whole = refine(z_ref, keep=states.append)
    assert torch.equal(whole, runs.refine_latents(model, conditioning(txt), None, z_ref, settings))
    assert [state.step for state in states] == [0, 1]
    for state in states:
        assert torch.equal(refine(torch.zeros_like(z_ref), state), whole)
