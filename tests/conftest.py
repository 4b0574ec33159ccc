"""Fixtures: golden checkpoints, a ComfyUI server. At a run's end, the errors measured against the golden data."""

import os
import signal

import pytest
import torch
from support.comfy_models import write_small_models
from support.comfy_server import ComfyServer
from support.comfyui import find_fault
from support.golden import CHECKPOINTS, MEASURED

from flashvideo_core.checkpoint import load_transformer, load_vae

THREADS = 2
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)  # processes of the tests too: a sum has the same bits at the same threads
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what it starts in the background ignore Ctrl-C


@pytest.hookimpl(tryfirst=True)  # before the fixtures, one of which starts a server
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("comfyui") and (fault := find_fault()):
        pytest.skip(fault)


@pytest.fixture(scope="session")
def stage1():
    """The golden stage 1, LoRA merged, float32. Never changed by a test."""
    return load_transformer(CHECKPOINTS / "stage1.pt")


@pytest.fixture(scope="session")
def stage2():
    return load_transformer(CHECKPOINTS / "stage2.pt")


@pytest.fixture(scope="session")
def vae():
    return load_vae(CHECKPOINTS / "3d-vae.pt")


@pytest.fixture(scope="session")
def comfyui(tmp_path_factory):
    """A running ComfyUI with this pack and the small models: one for the whole session, started when first used."""
    base = tmp_path_factory.mktemp("comfy")
    write_small_models(base / "models")
    with ComfyServer(base=base) as running:
        yield running


@pytest.fixture(scope="module")
def server(comfyui):
    """The session's ComfyUI as if it had just started: no cached results, nothing in its input folder.

    Tests that need other packs or folders start a ComfyServer of their own, and say why.
    """
    comfyui.forget()
    return comfyui


def pytest_terminal_summary(terminalreporter):
    if MEASURED:
        terminalreporter.section("largest error over largest value against the golden data")
    for file, (error, worst) in sorted(MEASURED.items()):
        terminalreporter.write_line(f"{file:<18} {error:.1e}  ({worst})")
