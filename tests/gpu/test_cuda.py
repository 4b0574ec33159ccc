"""The same networks on a CUDA device: golden parity in float32 and bf16, the embedded model beside the CPU.

bf16 has 8 significant bits, so its bounds are those of rounding: a wrong kernel is off by much more. Without a CUDA
device every test here is skipped, and says so.
"""

import pytest
import torch
from support.golden import CHECKPOINTS, CONFIG, ONE_PASS, SAMPLING, STAGE1_SCALE, STAGE2_SCALE, error, load_golden

from flashvideo_core.checkpoint import load_transformer, load_vae
from flashvideo_core.pipeline import generate, load_pipeline
from flashvideo_core.sampling import sample_stage1, sample_stage2

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO CUDA DEVICE: nothing here was run on a GPU"),
]
BOUNDS = {torch.float32: (ONE_PASS, SAMPLING), torch.bfloat16: (0.03, 0.1)}  # one pass, a sampling run
S1, S2 = CONFIG["s1"], CONFIG["s2"]


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    """TF32 would be compared with the recording's float32."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(params=list(BOUNDS), ids=["float32", "bf16"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("stage", [1, 2])
@torch.no_grad()
def test_transformer(stage, case, dtype):
    golden = load_golden(f"stage{stage}_forward", f"case{case}.")
    dit = load_transformer(CHECKPOINTS / f"stage{stage}.pt", "cuda", dtype)
    x, txt = golden["x"].transpose(1, 2).to("cuda", dtype), golden["context"].to("cuda", dtype)
    out = dit(x, golden["timesteps"].cuda(), txt, S2["ref_step"] if stage == 2 else None)
    assert error(out.transpose(1, 2).float().cpu(), golden["out"]) <= BOUNDS[dtype][0]


@pytest.mark.parametrize("frames", [1, 9, 17, 49])
@torch.no_grad()
def test_vae_encode(frames, dtype):
    golden = load_golden("vae", f"enc{frames}.")
    z = load_vae(CHECKPOINTS / "3d-vae.pt", "cuda", dtype).encode(golden["x"].cuda())
    assert error(z.cpu(), golden["moments"].chunk(2, dim=1)[0]) <= BOUNDS[dtype][0]


@pytest.mark.parametrize("latent_frames", [2, 5, 13])
@torch.no_grad()
def test_vae_decode(latent_frames, dtype):
    golden = load_golden("vae", f"dec{latent_frames}.")
    frames = load_vae(CHECKPOINTS / "3d-vae.pt", "cuda", dtype).decode(golden["z"].cuda())
    assert error((frames[0].permute(1, 2, 3, 0).cpu() + 1) * 127.5, golden["frames"]) <= BOUNDS[dtype][0]


def test_stage1_sampler(dtype):
    golden = load_golden("stage1_sampler")
    draws = iter(golden["noise_steps"])
    z = sample_stage1(
        load_transformer(CHECKPOINTS / "stage1.pt", "cuda", dtype),
        golden["noise_init"].transpose(1, 2).cuda(),
        golden["context_cond"].to("cuda", dtype),
        steps=6,
        cfg=S1["cfg"],
        draw_noise=lambda x: next(draws).transpose(1, 2).cuda(),
    )
    assert error(z.transpose(1, 2).cpu() * STAGE1_SCALE, golden["final"]) <= BOUNDS[dtype][1]


@pytest.mark.parametrize("steps", S2["steps"])
def test_stage2_sampler(steps, dtype):
    golden, shared = load_golden("stage2_sampler", f"n{steps}."), load_golden("stage2_sampler")
    z = sample_stage2(
        load_transformer(CHECKPOINTS / "stage2.pt", "cuda", dtype),
        shared["ref_latent"].transpose(1, 2).cuda() / STAGE2_SCALE,
        shared["context_cond"].to("cuda", dtype),
        noise=golden["ref_noise"].transpose(1, 2).cuda(),
        steps=steps,
        cfg=S2["cfg"],
        shift=S2["shift"],
        ref_step=S2["ref_step"],
    )
    assert error(z.transpose(1, 2).cpu() * STAGE2_SCALE, golden["final"]) <= BOUNDS[dtype][1]


def test_a_clip_is_the_one_of_the_cpu():
    """Noise is drawn on the CPU, so that a seed means the same clip on every device."""
    prompt, settings = "a large green square moves right over a white background", {"seed": 2, "frames": 9}
    here, there = (generate(load_pipeline(device=d, dtype=torch.float32), prompt, **settings) for d in ("cuda", "cpu"))
    assert error(here.draft.latent, there.draft.latent) <= SAMPLING
    assert error(here.latent, there.latent) <= SAMPLING
    assert error(here.frames, there.frames) <= 2 * SAMPLING  # two passes of the VAE more
