"""LoRA (arXiv 2106.09685) on a stage: small trainable matrices beside frozen layers, as the released stage 1 has them.

The targets are those of the released checkpoint (docs/released-model.md 4): attention's qkv with a pair of its own for
each of q, k and v, attention's output, and the adaLN modulation of every block.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import TransformerConfig
from ..errors import InputError
from ..weights.lora_keys import PREFIX

RELEASED = {"qkv": 3, "attn_out": 1, "modulation": 1}  # layer of a block -> LoRA pairs, each on its share of the rows
TARGETS = {"released": RELEASED, "all": RELEASED | {"mlp_up": 1, "mlp_down": 1}}


class LoRALinear(nn.Module):
    """base(x) + alpha / rank * up @ down @ x, where up starts at zero: a new LoRA changes nothing."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, pairs: int = 1):
        super().__init__()
        kwargs = {"device": base.weight.device, "dtype": torch.float32}
        self.base, self.rank, self.alpha = base, rank, alpha
        self.down = nn.Parameter(torch.empty(pairs, rank, base.in_features, **kwargs))
        self.up = nn.Parameter(torch.zeros(pairs, base.out_features // pairs, rank, **kwargs))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] -> [..., out_features]."""
        h = F.linear(x, self.down.flatten(0, 1).to(x.dtype)).unflatten(-1, self.down.shape[:2])
        change = torch.einsum("...pr,pdr->...pd", h, self.up.to(h.dtype)).flatten(-2)
        return torch.add(self.base(x), change, alpha=self.alpha / self.rank)


def add_lora(model: nn.Module, rank: int, alpha: float, layers: str = "released") -> nn.Module:
    """Freezes the transformer and puts a LoRA beside every target layer, in place. Raises InputError for a bad rank.

    New matrices are initialised from torch's global generator (randomness.seed_initialization).
    """
    if rank < 1:
        raise InputError(f"rank is {rank}; it must be at least 1")
    if not alpha > 0:
        raise InputError(f"alpha is {alpha}; it must be positive")
    model.requires_grad_(False)
    for block in model.blocks:
        for name, pairs in TARGETS[layers].items():
            setattr(block, name, LoRALinear(getattr(block, name), rank, alpha, pairs))
    return model


def count_lora_parameters(config: TransformerConfig, rank: int, layers: str = "released") -> int:
    """Trainable parameters of a LoRA of this rank."""
    d, e = config.hidden, config.time_dim
    mlp = 2 * (d + 4 * d) if layers == "all" else 0
    return config.layers * rank * (3 * (d + d) + (d + d) + (e + 12 * d) + mlp)


def convert_lora(model: nn.Module, trained: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The LoRA under the names that ComfyUI's loader and `convert --lora` read; trained: its matrices by name.

    Several pairs of one layer become one, with `up` block by block on the diagonal and rank and alpha times as large,
    which is the same sum.
    """
    out = {}
    for name, layer in model.named_modules():
        if isinstance(layer, LoRALinear):
            down, up = (trained[f"{name}.{side}"].detach().cpu().to(dtype) for side in ("down", "up"))
            out[f"{PREFIX}{name}.lora_A.weight"] = down.flatten(0, 1).contiguous()
            out[f"{PREFIX}{name}.lora_B.weight"] = torch.block_diag(*up)
            out[f"{PREFIX}{name}.alpha"] = torch.tensor(float(layer.alpha * len(down)))
    return out
