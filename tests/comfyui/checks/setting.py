"""What every check uses: the pack as ComfyUI loads it, small inputs, golden data, comparisons.

The pack is loaded by its location and never from sys.path, where its `nodes` would hide ComfyUI's.
"""

import contextlib
import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.sample
import torch
from safetensors.torch import load_file

PACK, NAME = Path(__file__).resolve().parents[3], "flashvideo_pack"
DATA, SHARED = PACK / "tests" / "data", PACK.parent / "shared" / "golden"
STAGE1, STAGE2, VAE = (DATA / "checkpoints" / name for name in ("stage1.pt", "stage2.pt", "3d-vae.pt"))
FLOAT32 = {"dtype": torch.float32}
ONE_PASS, SAMPLING = 2e-5, 5e-5  # largest error over largest value


def load_pack():
    spec = importlib.util.spec_from_file_location(NAME, PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


def pack(module: str):
    return importlib.import_module(f"{NAME}.{module}")


def recorded(name: str) -> dict[str, torch.Tensor]:
    for folder in (DATA, SHARED):
        if (path := folder / f"{name}.safetensors").is_file():
            return load_file(path)
    raise Skipped(f"GOLDEN DATA ABSENT: {name}.safetensors is neither in {DATA} nor in {SHARED}")


def conditioning(txt: torch.Tensor) -> list[Any]:
    """Text embeddings as ComfyUI's CONDITIONING."""
    return [[txt, {}]]


def to_bcthw(x: torch.Tensor) -> torch.Tensor:
    """What is recorded as [B, T, C, H, W] as [B, C, T, H, W]."""
    return x.transpose(1, 2)


def assert_close(ours: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    assert ours.shape == wanted.shape, (ours.shape, wanted.shape)
    error = float((ours - wanted).abs().max() / wanted.abs().max())
    assert error <= tolerance, f"error {error:.2e} over {tolerance:.0e}"


def load_stage(path, options=FLOAT32, **kwargs):
    return pack("nodes.bridge.models").load_model(path, options, **kwargs)


def small_inputs(batch: int = 1) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    txt, x = torch.randn(batch, 10, 32, generator=g), torch.randn(batch, 16, 3, 6, 8, generator=g)
    return {"x": x, "timestep": torch.full((batch,), 500.0), "context": txt}


def forward(patcher, inputs, **options) -> torch.Tensor:
    """One evaluation of the network of a patcher that is loaded as it is."""
    return patcher.model.diffusion_model(**inputs, transformer_options=options)


def refine(patcher, steps: int = 2, seed: int = 5) -> torch.Tensor:
    """A short core KSampler run on a stage-2 patcher."""
    g = torch.Generator().manual_seed(4)
    z, txt = torch.randn(1, 16, 2, 6, 8, generator=g), torch.randn(1, 10, 32, generator=g)
    noise = comfy.sample.prepare_noise(z, seed)
    positive, negative = conditioning(txt), conditioning(torch.zeros_like(txt))
    settings = {"disable_pbar": True, "seed": seed}
    return comfy.sample.sample(patcher, noise, steps, 13.0, "euler", "simple", positive, negative, z, **settings)


class Skipped(Exception):
    """What a check needs is not there."""


@contextlib.contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """What is logged at warning level or above meanwhile."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def raises(kind: type[BaseException], text: str) -> Iterator[None]:
    """pytest.raises without pytest, which ComfyUI's environment may lack."""
    try:
        yield
    except kind as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")
