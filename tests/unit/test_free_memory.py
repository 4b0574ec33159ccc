"""How much memory is free, with psutil and without."""

import os
import sys

import pytest
import torch

from flashvideo_core.memory import free_memory

CPU = torch.device("cpu")


def test_psutil_tells_what_is_available():
    psutil = pytest.importorskip("psutil")
    assert free_memory(CPU) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="POSIX only")
def test_without_psutil_half_of_the_memory_is_taken_for_available(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)  # an import of it fails
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_memory(CPU) == total // 2


def test_where_nothing_tells_psutil_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.delattr(os, "sysconf", raising=False)
    with pytest.raises(ValueError, match="pip install psutil"):
        free_memory(CPU)
