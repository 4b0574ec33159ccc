"""Which attention is taken, that the exact ones agree, and what a machine that cannot do it says."""

import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from support.cli_run import run
from support.golden import ONE_PASS, error
from torch.nn.attention import SDPBackend

from flashvideo_core import attention as functions
from flashvideo_core import kernels
from flashvideo_core.attention import attention, chunked_attention, plain_attention
from flashvideo_core.kernels import (
    FUSED_KERNELS,
    choose_attention,
    choose_kernel,
    fused_attention,
    load_kernel,
    runs_here,
)

CPU, CUDA, META = (torch.device(name) for name in ("cpu", "cuda", "meta"))


def example(dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return (torch.randn(2, 3, 50, 64, generator=g).to(dtype) for _ in range(3))


@pytest.mark.parametrize("scores", [1, 2 * 3 * 50 * 7, 1 << 28])
def test_chunked_attention_is_exact(scores, monkeypatch):
    """One query at a time, seven, and all."""
    sizes, plain = [], plain_attention
    monkeypatch.setattr(functions, "plain_attention", lambda q, k, v: sizes.append(q.shape[2]) or plain(q, k, v))
    q, k, v = example()
    assert error(chunked_attention(q, k, v, scores), attention(q, k, v)) < ONE_PASS
    assert max(sizes) == min(50, max(1, scores // 300)) and sum(sizes) == 50


def test_chunked_attention_sums_in_float32():
    q, k, v = example(torch.bfloat16)
    exact = attention(q.float(), k.float(), v.float())
    assert error(chunked_attention(q, k, v).float(), exact) < 2e-2


def test_kernels_that_torch_has_are_found_and_agree():
    """A CPU has one of the fused, called flash, and the unfused."""
    works = {name: runs_here(kernel, CPU, torch.float32) for name, kernel in FUSED_KERNELS.items()}
    assert works == {"cudnn": False, "flash": True, "efficient": False}
    q, k, v = example()
    assert (
        error(fused_attention(q, k, v, SDPBackend.FLASH_ATTENTION), fused_attention(q, k, v, SDPBackend.MATH))
        < ONE_PASS
    )


@pytest.fixture
def card(monkeypatch):
    """A Hopper with some of torch's kernels, or another card."""

    def having(*names, capability=(9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        there = {FUSED_KERNELS[name] for name in names}
        monkeypatch.setattr(kernels, "runs_here", lambda kernel, device, dtype: kernel in there)
        return partial(choose_kernel, device=CUDA, dtype=torch.bfloat16)

    return having


def test_the_first_of_the_list_that_works_is_taken(card):
    """Whatever their speed at the moment: two runs on one machine take the same."""
    assert list(FUSED_KERNELS) == ["cudnn", "flash", "efficient"]
    assert card("efficient", "flash", "cudnn")("auto") == card("cudnn")("fused") == "cudnn"
    assert card("efficient", "flash")("auto") == "flash"
    assert card("efficient")("fused") == "efficient"
    assert card()("auto") == "chunked"
    assert card("efficient", "flash", "cudnn", capability=(8, 9))("auto") == "flash"
    assert card("efficient", "cudnn", capability=(12, 0))("auto") == "cudnn"
    assert load_kernel("flash", CUDA).keywords == {"kernel": SDPBackend.FLASH_ATTENTION}


def test_the_kernel_of_an_earlier_run_is_taken_where_it_works(card):
    choose = card("cudnn", "efficient")
    assert choose("auto", earlier="efficient") == "efficient"
    assert choose("auto", earlier="chunked") == "chunked"
    for other in ("flash", "torch", "unheard of"):
        assert choose("auto", earlier=other) == "cudnn"
    assert choose("chunked", earlier="efficient") == "chunked"
    assert choose_kernel("auto", CPU, torch.float32, earlier="cudnn") == "torch"


def test_names():
    assert choose_attention("auto", CPU, torch.float32) is choose_attention("fused", CPU, torch.bfloat16) is attention
    assert choose_attention("chunked", CPU, torch.float32) is chunked_attention
    with pytest.raises(ValueError, match="auto, fused, chunked, sage"):
        choose_attention("flash", CPU, torch.float32)


def test_without_a_fused_kernel_auto_is_chunked_and_fused_is_refused():
    """As on the meta device, where nothing can be waited for."""
    assert choose_attention("auto", META, torch.bfloat16) is chunked_attention
    with pytest.raises(ValueError, match="no fused attention for bfloat16 on meta; use --attention chunked"):
        choose_attention("fused", META, torch.bfloat16)


def test_sage_is_imported_when_it_is_asked_for(monkeypatch, capsys):
    """On the command line it is refused before anything is loaded. With the package, it is called with its layout."""
    code, _, err = run(capsys, "generate", "a red circle", "--attention", "sage")
    assert code != 0 and "needs the package sageattention, which is not installed" in err
    given = {}
    module = SimpleNamespace(sageattn=lambda q, k, v, **options: given.update(options) or v, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sageattention", module)
    with pytest.raises(ValueError, match="CUDA device, not cpu"):
        choose_attention("sage", CPU, torch.float32)
    assert choose_attention("sage", torch.device("cuda"), torch.bfloat16)(1, 2, 3) == 3
    assert given == {"tensor_layout": "HND", "is_causal": False}
