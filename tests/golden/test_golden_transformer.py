"""Both transformers against the recorded passes: every stage on the way from tokens to output."""

import pytest
import torch
from support.golden import CONFIG, ONE_PASS, compare, load_golden
from torch import Tensor

from flashvideo_core.attention import attention, rope_table


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.parametrize("stage", [1, 2])
def test_every_recorded_array(stage, case, request):
    dit = request.getfixturevalue(f"stage{stage}")
    golden = load_golden(f"stage{stage}_forward", f"case{case}.")
    ours = trace(dit, golden["x"], golden["timesteps"], golden["context"], CONFIG["s2"]["ref_step"])
    if stage == 1 and case == 0:  # the adapter applied on the fly, which merging must equal
        ours["out_unmerged_lora"] = ours["out"]
    compare(f"stage{stage}_forward", ours, golden, {"x", "timesteps", "context"}, ONE_PASS)


def trace(dit, x: Tensor, timesteps: Tensor, context: Tensor, ref_step: int) -> dict[str, Tensor]:
    """One pass and everything on its way, under the golden names. x [B, T, 16, H, W]."""
    seen, ours = [], {}

    def attend(q, k, v):
        seen.append((q, k))
        return attention(q, k, v)

    def keep(name):
        return lambda module, args, out: ours.__setitem__(name, out.clone())  # blocks work in place

    hooks = [
        dit.blocks[0].register_forward_pre_hook(lambda module, args: ours.update(tokens_in=args[0].clone())),
        dit.norm_out.register_forward_hook(keep("final_layernorm_out")),
        *(block.register_forward_hook(keep(f"block{i}_out")) for i, block in enumerate(dit.blocks)),
    ]
    out = dit(x.transpose(1, 2), timesteps, context, ref_step, attention=attend)
    for hook in hooks:
        hook.remove()
    text = ours["block1_out"][:, : context.shape[1]]  # dropped before the last norm; the recording kept it
    ours["final_layernorm_out"] = torch.cat([dit.norm_out(text), ours["final_layernorm_out"]], dim=1)
    cos, sin = rope_table(x.shape[1], x.shape[3] // 2, x.shape[4] // 2)
    return ours | {
        "out": out.transpose(1, 2),
        "emb": dit.embed_time(timesteps, x.shape[1], ref_step, x.dtype),
        "block0_q": seen[0][0],
        "block0_k": seen[0][1],
        "rope_cos": cos[None],
        "rope_sin": sin[None],
    }
