"""The converter streams: its memory is that of a few tensors, whatever the size of the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.weight_files import STAGE1_PT

from flashvideo_core.checkpoint import open_weights

MEASURE = """
import re, sys, threading
import torch
from flashvideo_core.convert import convert

def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

torch.set_num_threads(1)
convert(sys.argv[1], sys.argv[2], sys.argv[4])  # a small file first: libraries and pools are in memory then
base, peak, done = private(), [0], threading.Event()

def watch():
    while not done.wait(0.004):
        peak[0] = max(peak[0], private())

thread = threading.Thread(target=watch)
thread.start()
convert(sys.argv[3], sys.argv[2], sys.argv[4])
done.set()
thread.join()
sys.stdout.write(str(peak[0] - base))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory by /proc")
@pytest.mark.parametrize("dtype", ["float32", "fp8"])
def test_memory_is_that_of_a_few_tensors(tmp_path, dtype):
    """A stage 1 of 130 MB in bf16, its largest weight 9 MB in float32, converts within 80 MB of its own.

    Loading it whole would take 260 MB. Only private memory counts: the source is mapped, and the written
    pages belong to the system. glibc is told to return what is freed, as it does with the real, larger tensors.
    """
    large = write_large_stage1(tmp_path / "large.pt")
    assert large.stat().st_size > 120e6
    command = [sys.executable, "-c", MEASURE, str(STAGE1_PT), str(tmp_path / "out.safetensors"), str(large), dtype]
    repository = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(repository), "MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80e6
    summary = open_weights(tmp_path / "out.safetensors")
    assert summary.config.hidden == 768


def write_large_stage1(path: Path) -> Path:
    """The golden stage 1 in a larger size: hidden 768, 8 layers, LoRA rank 16, zeros as weights."""
    small = torch.load(STAGE1_PT, weights_only=True)["module"]
    wide = {128: 768, 256: 1536, 384: 2304, 512: 3072, 1536: 9216, 4: 16}
    large = {}
    for name, value in small.items():
        shape = [wide.get(n, n) for n in value.shape] if value.shape[-1:] != (2,) else [768, 16, 2, 2]
        names = [name]
        if ".layers.1." in name or "list.1." in name or "modulations.1." in name:
            names = [name.replace(".1.", f".{i}.", 1) for i in range(1, 8)]
        large |= {n: torch.zeros(shape, dtype=torch.bfloat16) for n in names}
    torch.save({"module": large}, path)
    return path
