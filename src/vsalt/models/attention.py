"""Self-attention, and the one place where torch's own costs twice what it has to: bf16 on a CPU.

Shapes: B clips, K tokens, D width, h heads of d = D / h channels.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vsalt.models.rope import RopeTable, apply_rope

MAX_TOKENS = 1024
"""Beyond, the K x K weights that are kept for the gradient fit neither cache nor memory."""


class Attention(nn.Module):
    """Multi-head self-attention, with rotary positions on queries and keys where they are given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B K D"], table: RopeTable | None = None
    ) -> Float[Tensor, "B K D"]:
        """Attend over all K tokens."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if table is not None:
            q, k = apply_rope(q, table), apply_rope(k, table)
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).flatten(2))
        return out


def attend(
    q: Float[Tensor, "B h K d"], k: Float[Tensor, "B h K d"], v: Float[Tensor, "B h K d"]
) -> Float[Tensor, "B h K d"]:
    """Return softmax(q k' / sqrt(d)) v.

    torch's fused attention for CPUs takes longer in bf16 than in fp32, while products of matrices
    take half the time where the CPU has instructions for them. So up to `MAX_TOKENS` tokens in bf16
    are done by products; scores and weights are rounded to bf16 then.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.shape[-2] <= MAX_TOKENS:
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
        return scores.softmax(dim=-1) @ v
    return nn.functional.scaled_dot_product_attention(q, k, v)
