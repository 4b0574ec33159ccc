"""The convolution of an enlarged map in four phases, against enlarging and convolving."""

import pytest
import torch
import torch.nn.functional as F
from support.golden import ONE_PASS, error
from torch import nn

from flashvideo_core.vae_upsample import can_use_phases, convolve_enlarged, convolve_phases


def enlarge_and_convolve(conv, x):
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (16, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_four_phases_are_the_convolution_of_the_enlarged_map(size, bias):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(6, 10, 3, padding=1, bias=bias), torch.randn(3, 6, *size)
    assert error(convolve_phases(x, conv.weight, conv.bias), enlarge_and_convolve(conv, x)) < ONE_PASS
    assert torch.equal(convolve_enlarged(conv, x), convolve_phases(x, conv.weight, conv.bias))


@torch.no_grad()
def test_in_float64_they_are_equal_to_the_last_digits():
    conv, x = nn.Conv2d(6, 10, 3, padding=1, dtype=torch.float64), torch.randn(2, 6, 7, 9, dtype=torch.float64)
    assert error(convolve_phases(x, conv.weight, conv.bias), enlarge_and_convolve(conv, x)) < 1e-14


def test_training_and_shorter_dtypes_convolve_the_enlarged_map():
    conv, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 5, 5)
    assert not can_use_phases(x, conv.weight)
    assert torch.equal(convolve_enlarged(conv, x), enlarge_and_convolve(conv, x))
    with torch.no_grad():
        assert can_use_phases(x, conv.weight) and not can_use_phases(x, conv.weight.bfloat16())
        assert not can_use_phases(x.bfloat16(), conv.weight.bfloat16())
        assert torch.equal(convolve_enlarged(conv.bfloat16(), x.bfloat16()), enlarge_and_convolve(conv, x.bfloat16()))
