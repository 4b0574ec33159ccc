"""Which attention is taken, that the exact ones agree, and what a machine that cannot do it says."""

import sys
from types import SimpleNamespace

import pytest
import torch
from support.cli_run import run
from support.golden import ONE_PASS, error
from torch.nn.attention import SDPBackend

from flashvideo_core import attention as functions
from flashvideo_core.attention import attention, chunked_attention, plain_attention
from flashvideo_core.kernels import FUSED_KERNELS, choose_attention, find_fastest_kernel, fused_attention

CPU, META = torch.device("cpu"), torch.device("meta")


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


def test_the_fastest_kernel_that_runs_is_taken():
    """Of torch's kernels a CPU has one fused and the unfused; with a clock of our own either is the fastest."""
    assert find_fastest_kernel(FUSED_KERNELS, CPU, torch.float32) is SDPBackend.FLASH_ATTENTION
    assert find_fastest_kernel([SDPBackend.CUDNN_ATTENTION], CPU, torch.float32) is None
    both = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
    for fast in both:
        ticks = iter([t for kernel in both for _ in range(3) for t in (0.0, 1.0 if kernel is fast else 2.0)])
        assert find_fastest_kernel(both, CPU, torch.float32, lambda ticks=ticks: next(ticks)) is fast
    q, k, v = example()
    assert error(fused_attention(q, k, v, both[0]), fused_attention(q, k, v, both[1])) < ONE_PASS


def test_names():
    assert choose_attention("auto", CPU, torch.float32) is choose_attention("fused", CPU, torch.bfloat16) is attention
    assert choose_attention("chunked", CPU, torch.float32) is chunked_attention
    with pytest.raises(ValueError, match="auto, fused, chunked, sage"):
        choose_attention("flash", CPU, torch.float32)


def test_without_a_fused_kernel_auto_is_chunked_and_fused_is_refused():
    """As on the meta device, where nothing can be timed."""
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
