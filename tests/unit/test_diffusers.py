"""An independent check against diffusers' CogVideoX with the same weights: VAE, block, whole stage-1 network.

diffusers is a test dependency only (pip install diffusers).
"""

import pytest
import torch
from safetensors.torch import save_file
from support.golden import ONE_PASS, error

from benchmarks.peer_weights import block_weights, transformer_weights
from flashvideo_core.attention import attention, rope_rotations, rope_table
from flashvideo_core.checkpoint import load_vae
from flashvideo_core.dit import timestep_embedding

diffusers = pytest.importorskip("diffusers", reason="NO DIFFUSERS: pip install diffusers for the independent check")


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vaes(tmp_path_factory):
    """diffusers' VAE with random weights in every parameter, and ours loaded from its file."""
    theirs = diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(32, 64, 64, 128), layers_per_block=1, norm_num_groups=32, latent_channels=16
    ).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + (parameter.ndim == 1) * 0.5)
        theirs.decoder.conv_out.conv.weight.mul_(0.3)  # so that few pixels are clamped
        theirs.decoder.conv_out.conv.bias.zero_()
    path = tmp_path_factory.mktemp("vae") / "diffusion_pytorch_model.safetensors"
    save_file(theirs.state_dict(), path)
    ours = load_vae(path)
    assert ours.config.channels == 32
    assert ours.config.blocks == 1
    return ours, theirs.requires_grad_(False)


def test_vae_encode(vaes):
    ours, theirs = vaes
    frames = torch.rand(1, 3, 9, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert error(ours.encode(frames), theirs.encode(frames).latent_dist.mean) < ONE_PASS


def test_vae_encode_in_groups_with_caches(vaes):
    """diffusers takes groups of 9, 8, 8 frames; so does our encoder when it is given them."""
    ours, theirs = vaes
    frames = torch.rand(2, 3, 25, 16, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1
    cache = {}
    moments = torch.cat([ours.encoder(group, cache) for group in frames.split([9, 8, 8], dim=2)], dim=2)
    assert error(moments, theirs.encode(frames).latent_dist.parameters) < ONE_PASS


@pytest.mark.parametrize("t", [1, 3, 7])
def test_vae_decode(vaes, t):
    ours, theirs = vaes
    z = randn(1, 16, t, 4, 6, seed=3)
    frames = ours.decode(z)
    assert error(frames, theirs.decode(z).sample.clamp(-1, 1)) < ONE_PASS
    assert (frames.abs() < 1).float().mean() > 0.5  # not all clamped away


def test_rope_table():
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    theirs = get_3d_rotary_pos_embed(64, None, (4, 6), 3, grid_type="slice", max_size=(4, 6))
    for our_table, their_table in zip(rope_table(3, 4, 6), theirs, strict=True):
        assert error(our_table, their_table) < ONE_PASS


@pytest.mark.parametrize("stage", [1, 2])
def test_block(stage, request):
    from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock

    dit = request.getfixturevalue(f"stage{stage}")
    theirs = CogVideoXBlock(128, 2, 64, time_embed_dim=64, attention_bias=True).eval().requires_grad_(False)
    theirs.load_state_dict(block_weights(dit.blocks[1], "diffusers"))
    txt, img, vec, pe = randn(2, 5, 128), randn(2, 12, 128, seed=1), randn(2, 64, seed=2), rope_table(2, 2, 3)
    ours = dit.blocks[1](torch.cat([txt, img], dim=1), 5, vec, rope_rotations(2, 2, 3, text=5), attention)
    our_txt, our_img = ours.split([5, 12], dim=1)
    their_img, their_txt = theirs(img, txt, vec, pe)
    assert error(our_img, their_img) < ONE_PASS
    assert error(our_txt, their_txt) < ONE_PASS


def test_whole_stage1_network(stage1):
    config = stage1.config
    theirs = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=64,
        in_channels=16,
        out_channels=16,
        time_embed_dim=config.time_dim,
        text_embed_dim=config.text_dim,
        num_layers=config.layers,
        use_rotary_positional_embeddings=True,
    )
    theirs.load_state_dict(transformer_weights(stage1, "diffusers"))
    theirs.norm_out.norm.eps = 1e-6  # diffusers has 1e-5 here; the released code, and the golden data, 1e-6
    theirs.eval().requires_grad_(False)
    x, t, txt = randn(2, 16, 3, 4, 6), torch.tensor([999.0, 40.0]), randn(2, 7, config.text_dim, seed=1)
    out = theirs(x.transpose(1, 2), txt, t, image_rotary_emb=rope_table(3, 2, 3)).sample.transpose(1, 2)
    assert error(stage1(x, t, txt), out) < ONE_PASS


def test_timestep_embedding():
    theirs = diffusers.models.embeddings.Timesteps(128, flip_sin_to_cos=True, downscale_freq_shift=0)
    t = torch.tensor([999.0, 714.2857, 0.0])
    assert error(timestep_embedding(t, 128), theirs(t)) < ONE_PASS
