"""The convolution of an enlarged map in four phases, against enlarging and convolving."""

import pytest
import torch
import torch.nn.functional as F
from support.golden import ONE_PASS, error
from torch import nn

from flashvideo_core.vae_upsample import in_phases, phases_pay, upsampled


def resize_to_target(conv, x):
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (16, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_four_phases_are_the_convolution_of_the_enlarged_map(size, bias):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(6, 10, 3, padding=1, bias=bias), torch.randn(3, 6, *size)
    assert error(in_phases(x, conv.weight, conv.bias), resize_to_target(conv, x)) < ONE_PASS
    assert torch.equal(upsampled(conv, x), in_phases(x, conv.weight, conv.bias))


@torch.no_grad()
def test_in_float64_they_are_equal_to_the_last_digits():
    conv, x = nn.Conv2d(6, 10, 3, padding=1, dtype=torch.float64), torch.randn(2, 6, 7, 9, dtype=torch.float64)
    assert error(in_phases(x, conv.weight, conv.bias), resize_to_target(conv, x)) < 1e-14


def test_training_and_shorter_dtypes_convolve_the_enlarged_map():
    conv, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(1, 4, 5, 5)
    assert not phases_pay(x, conv.weight)
    assert torch.equal(upsampled(conv, x), resize_to_target(conv, x))
    with torch.no_grad():
        assert phases_pay(x, conv.weight) and not phases_pay(x, conv.weight.bfloat16())
        assert not phases_pay(x.bfloat16(), conv.weight.bfloat16())
        assert torch.equal(upsampled(conv.bfloat16(), x.bfloat16()), resize_to_target(conv, x.bfloat16()))
