"""What a command says where a package that only it needs is absent."""

import sys

import pytest
import torch

from flashvideo_core.errors import InputError
from flashvideo_core.packages import require_package
from flashvideo_core.tiny.detectors import detect
from flashvideo_core.tiny.evaluate import evaluate, evaluate_ablation
from flashvideo_core.tiny.train import train_tiny
from flashvideo_core.training.contact_sheet import write_contact_sheet


@pytest.fixture
def absent(monkeypatch):
    """Makes packages as if they were not installed."""
    return lambda *names: [monkeypatch.setitem(sys.modules, name, None) for name in names]


def test_what_is_there_is_not_complained_about():
    require_package("torch", "this needs", "test")


def test_an_absent_package_is_named_as_pip_knows_it_with_its_extra(absent):
    absent("PIL")
    with pytest.raises(InputError, match=r"^this needs pillow, which is not installed: pip install pillow .*\[train\]"):
        require_package("PIL", "this needs", "train")


def test_evaluation_asks_for_scipy_before_anything_is_sampled(absent, tmp_path):
    absent("scipy")
    for call in (lambda: evaluate(None), lambda: evaluate_ablation(None, tmp_path)):
        with pytest.raises(InputError, match=r"shapes are found in clips with scipy.*\[tiny\]"):
            call()
    with pytest.raises(InputError, match="scipy"):
        detect(torch.rand(5, 64, 96, 3))


def test_training_asks_for_matplotlib_before_anything_is_trained(absent, tmp_path):
    absent("matplotlib")
    with pytest.raises(InputError, match=r"loss curves with matplotlib.*\[train\]"):
        train_tiny(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_contact_sheet_asks_for_pillow(absent, tmp_path):
    absent("PIL")
    clip = torch.zeros(3, 1, 16, 16)
    with pytest.raises(InputError, match="pillow"):
        write_contact_sheet([(clip, clip)], tmp_path / "sheet.png")
