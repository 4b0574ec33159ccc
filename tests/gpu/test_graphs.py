"""Networks in training as CUDA graphs beside the same networks run kernel by kernel."""

from functools import partial

import pytest
import torch

from flashvideo_core.dit import Transformer
from flashvideo_core.tiny.init import init_vae
from flashvideo_core.tiny.recipe_stages import make_stage2_config
from flashvideo_core.tiny.recipe_vae import VAE_CONFIG
from flashvideo_core.training.device import prepare_network, prepare_transformer
from flashvideo_core.training.distributed import World
from flashvideo_core.training.losses import autoencode, stage2_loss, vae_loss
from flashvideo_core.vae import VAE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: nothing here was run on a GPU"),
]
CUDA = World(device="cuda")


def measure(model, losses):
    """The losses one after the other, and the gradients of each."""
    found = []
    for loss_fn in losses:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = loss_fn()
        loss.backward()
        found.append((loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    return found


def compare(eager, captured):
    for (loss, grad), (other, close) in zip(eager, captured, strict=True):
        assert other == pytest.approx(loss, rel=1e-2)
        assert (grad - close).norm() < 0.05 * grad.norm()


def test_a_captured_transformer_follows_its_weights_and_the_noise_step():
    torch.manual_seed(0)
    model = Transformer(make_stage2_config(1.0)).cuda().train()
    z, z_ref, txt = torch.randn(2, 16, 3, 8, 8).cuda(), torch.randn(2, 16, 3, 8, 8).cuda(), torch.randn(2, 8, 64).cuda()

    def list_losses(network):
        return [
            partial(stage2_loss, network, z, z_ref, txt, step, torch.Generator().manual_seed(step))
            for step in (30, 600)
        ]

    eager = measure(model, list_losses(model))
    network = prepare_transformer(model, CUDA)
    compare(eager, measure(model, list_losses(network)))
    assert abs(eager[0][0] - eager[1][0]) > 1e-3
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.9)
    changed = measure(model, list_losses(network))
    assert abs(changed[0][0] - eager[0][0]) > 1e-4


def test_a_captured_vae_takes_clips_of_several_shapes():
    torch.manual_seed(0)
    vae = init_vae(VAE(VAE_CONFIG)).cuda().train()
    clips = [torch.rand(2, 3, frames, 32, 48).cuda() * 2 - 1 for frames in (1, 9, 17)]

    def list_losses(network):
        return [partial(vae_loss, network, clip, torch.Generator().manual_seed(1)) for clip in (*clips, clips[0])]

    run = partial(autoencode, vae)
    compare(measure(vae, list_losses(run)), measure(vae, list_losses(prepare_network(vae, run, CUDA))))
