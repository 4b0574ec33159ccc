"""KJNodes' model patches on our MODEL, where $KJNODES_PATH names a checkout of kijai/ComfyUI-KJNodes."""

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

import torch

from .by_hand import CFG, Case, combine, count_calls, euler, guided, make_case, sample
from .setting import SAMPLING, Skipped, assert_close, raises


def load_pack_of_nodes() -> types.ModuleType:
    """Its file of model patches alone, without the rest of the pack and what that imports."""
    folder = os.environ.get("KJNODES_PATH")
    if not folder:
        raise Skipped("NO KJNODES: $KJNODES_PATH names no checkout of kijai/ComfyUI-KJNodes")
    if "kjnodes" not in sys.modules:
        sys.modules["kjnodes"] = package = types.ModuleType("kjnodes")
        package.__path__ = [str(Path(folder) / "nodes")]
    return importlib.import_module("kjnodes.model_optimization_nodes")


def check_kj_cfg_zero_star():
    """Its formula on what the network adds to the state; its zero init loses a step of stage 2, and stage 1."""
    node = load_pack_of_nodes().CFGZeroStarAndInit()
    for stage in (1, 2):
        case = make_case(stage)

        def rule(x: torch.Tensor, cond: torch.Tensor, uncond: torch.Tensor) -> torch.Tensor:
            c, u = x - cond, x - uncond
            u = u * (c * u).sum() / ((u * u).sum() + 1e-8)
            return x - (u + CFG * (c - u))

        assert_close(sample(case, node.patch(case.model, False, 0)[0]), euler(case, combine(case, rule)), 20 * SAMPLING)
    sample(make_case(2), node.patch(make_case(2).model, True, 0)[0])
    with raises(ValueError, "switch zero init off"):
        sample(make_case(1), node.patch(make_case(1).model, True, 0)[0])


def check_kj_compiled_blocks():
    """Each block compiled on its own, and another time for another patch."""
    node = load_pack_of_nodes().TorchCompileModelAdvanced()
    case = make_case(2)
    model = node.patch(case.model, "aot_eager", False, "default", "false", 64, True, False)[0]
    with count_calls(model) as passes:
        assert_close(sample(case, model), euler(case, guided(case)), SAMPLING)
    assert sum(passes) == 8


def check_kj_memory_factor():
    """What ComfyUI reserves is multiplied by it."""
    case, asked = make_case(2), []
    estimate = case.model.model.memory_required
    case.model.model.memory_required = lambda *args, **kwargs: asked.append(estimate(*args, **kwargs)) or asked[-1]
    sample(case, load_pack_of_nodes().ModelMemoryUsageFactorOverride().patch(case.model, 2.0)[0])
    assert max(asked) > 1.9 * min(asked)


def check_kj_patches_of_wan_end_at_their_own_node():
    """They look for Wan's layers: nothing runs with half a patch."""
    kj, case = load_pack_of_nodes(), make_case(2)
    for patch in (wan_nag, wan_enhance, wan_chunks):
        with raises(AttributeError, "has no attribute"):
            patch(kj, case)
    with raises(ValueError, "only works with TeaCacheKJ"):
        sample(case, kj.SkipLayerGuidanceWanVideo().slg(case.model, 0.0, 1.0, "1")[0])
    with raises(ValueError, "has the blocks 0 to 1"):
        sample(case, kj.SkipLayerGuidanceWanVideo().slg(case.model, 0.0, 1.0, "10")[0])


def wan_nag(kj: types.ModuleType, case: Case) -> Any:
    return kj.WanVideoNAG().patch(case.model, [[case.negative, {}]], 11, 0.25, 2.5)


def wan_enhance(kj: types.ModuleType, case: Case) -> Any:
    return kj.WanVideoEnhanceAVideoKJ().enhance(case.model, 2.0, {"samples": case.z})


def wan_chunks(kj: types.ModuleType, case: Case) -> Any:
    return kj.WanChunkFeedForward.execute(case.model, 2, 1)
