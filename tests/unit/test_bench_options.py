"""bench --options: the combinations of stage 2, what they evaluate, and their table."""

import json

import pytest
from support.cli_run import run

from flashvideo_core.bench.operations import count_operations, count_transformer
from flashvideo_core.bench.sizes import SIZES
from flashvideo_core.bench.variants import Variant, list_variants

NAMES = ["dense", "windows", "guided", "windows+guided", "distilled", "windows+distilled"]


def test_every_combination_but_guidance_of_a_distilled_one():
    assert [variant.name for variant in list_variants(("windows", "guided", "distilled"))] == NAMES
    assert [variant.name for variant in list_variants(["distilled"])] == ["dense", "distilled"]
    assert all(Variant.parse(variant.name) == variant for variant in list_variants(("windows", "guided")))
    with pytest.raises(ValueError, match="sparse is no option of stage 2; use windows, guided, distilled"):
        list_variants(["sparse", "windows"])


def test_passes_and_operations_of_the_released_size():
    """A clip of 49 frames at 1072x1920: 22.4 PFLOP as released, 0.6 with windows and distilled."""
    released = SIZES["released"]
    found = {variant.name: variant for variant in list_variants(("windows", "guided", "distilled"))}
    assert [variant.count_passes() for variant in found.values()] == [8, 8, 5, 5, 1, 1]
    assert found["dense"].count_operations(released) == count_operations("stage2", released)
    one = count_transformer(released.stage2, released.clip_latent, released.window)
    assert found["windows+distilled"].count_operations(released) == one
    counted = [variant.count_operations(released) / 1e15 for variant in found.values()]
    assert counted == pytest.approx([22.4, 4.7, 14.0, 2.96, 2.81, 0.59], rel=0.01)


def test_the_command_prints_a_table(capsys):
    command = ("bench", "--part", "stage2", "--size", "tiny", "--options", "distilled", "--repeats", "1")
    code, out, err = run(capsys, *command, "--device", "cpu")
    assert code == 0, err
    *table, last = out.splitlines()
    result = json.loads(last)
    assert [row["name"] for row in result["variants"]] == ["dense", "distilled"]
    assert [line.split(" | ")[1:4] for line in table[2:]] == [["8", "22.45", "1.0x"], ["1", "2.81", "8.0x"]]
    assert result["variants"][0]["time_ratio"] == 1 > result["variants"][1]["time_ratio"]


def test_options_are_of_stage_2(capsys):
    code, _, err = run(capsys, "bench", "--part", "dit", "--size", "tiny", "--options", "--device", "cpu")
    assert code != 0 and "--options are of the part stage2, not of dit" in err
