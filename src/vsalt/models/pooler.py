"""The attentive probe: from a frozen encoder's tokens to one feature, or to class scores.

Follows V-JEPA 2's attentive pooler (arXiv 2506.09985, appendix on the probes; SALT, arXiv
2509.24317, appendix D): depth - 1 blocks of self-attention over the tokens, then one block in which
a learned query looks at all of them,

    q = q + CrossAttention(q, norm1(tokens));    q = q + mlp(norm2(q)).

The cross-attention has no output projection, and the query is not normed before it. Nothing here
knows positions: the encoder's tokens carry them.

Shapes: B clips, N tokens, D width, C classes, h heads of d = D / h channels, Q queries.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vsalt.errors import report_problems
from vsalt.models.config import Architecture
from vsalt.models.vit import INIT_STD, Block, Mlp, init_weights

POOLER_NORM_EPS = 1e-5
MLP_RATIO = 4


class CrossAttention(nn.Module):
    """Multi-head attention of queries over tokens; heads are concatenated and not mapped again."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], tokens: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B Q D"]:
        """Return for each query a mixture of the tokens' values."""
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.kv(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        k, v = kv.unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).flatten(2)

    def weights(
        self, queries: Float[Tensor, "B Q D"], tokens: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B h Q N"]:
        """Return how much of each token's value goes into the mixture, softmax(q k' / sqrt(d))."""
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k = self.kv(tokens).unflatten(-1, (2, self.heads, -1))[:, :, 0].transpose(1, 2)
        scores: Tensor = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return scores.softmax(dim=-1)


class CrossBlock(nn.Module):
    """q += attention(q, norm(tokens)); q += mlp(norm(q))."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = CrossAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, MLP_RATIO * width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], tokens: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B Q D"]:
        """Apply both sub-layers to the queries."""
        queries = queries + self.attn(queries, self.norm1(tokens))
        out: Tensor = queries + self.mlp(self.norm2(queries))
        return out


class AttentivePooler(nn.Module):
    """Pools tokens by self-attention blocks and one learned query.

    Initialised as V-JEPA 2 does: `init_weights` for the self-attention blocks; the query normal
    with deviation 0.02; the last linear map of the cross-attention block divided by
    sqrt(2 max(1, depth - 1)), the divisor of the last self-attention block, not of one more.

    Args:
        width: channels D of a token.
        heads: attention heads, in all blocks.
        depth: blocks, the one of the query included. 4 is SALT's probe, 1 the query alone.
        eps: of all layer norms: 1e-5 in V-JEPA 2's code, whose encoders have 1e-6; converted
            weights of other libraries may have been trained with theirs.

    Raises:
        ConfigError: if a number is below 1, or the width cannot be divided among the heads.
    """

    def __init__(self, width: int, heads: int, depth: int, *, eps: float = POOLER_NORM_EPS) -> None:
        super().__init__()
        _check(width, heads, depth)
        self.width = width
        architecture = Architecture(width, depth - 1, heads, MLP_RATIO * width)
        self.query = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(architecture, eps=eps) for _ in range(depth - 1))
        self.cross = CrossBlock(width, heads, eps)
        init_weights(self, self.blocks)
        nn.init.normal_(self.query, std=INIT_STD)
        with torch.no_grad():
            self.cross.mlp.fc2.weight.div_(math.sqrt(2 * max(1, depth - 1)))

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """Return one feature per clip; any number of tokens, in any order."""
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.cross(self._queries(tokens), tokens)
        return out[:, 0]

    def attention(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N"]:
        """Return how much each head of the query looks at each token; each row sums to 1.

        With self-attention blocks before it, a token stands for what they have made of it.
        """
        for block in self.blocks:
            tokens = block(tokens)
        cross = self.cross
        return cross.attn.weights(self._queries(tokens), cross.norm1(tokens))[:, :, 0]

    def _queries(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B 1 D"]:
        return self.query.to(tokens.dtype).expand(tokens.shape[0], 1, -1)


class AttentiveClassifier(nn.Module):
    """A pooler and a linear map to class scores, which starts as torch's linear maps do.

    Args:
        pooler: from tokens to a feature.
        num_classes: C.
    """

    def __init__(self, pooler: AttentivePooler, num_classes: int) -> None:
        super().__init__()
        self.pooler = pooler
        self.linear = nn.Linear(pooler.width, num_classes)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B C"]:
        """Return the scores (logits) of the classes."""
        out: Tensor = self.linear(self.pooler(tokens))
        return out


def _check(width: int, heads: int, depth: int) -> None:
    problems = [
        f"the attentive pooler's {name} is {number}; it must be at least 1"
        for name, number in (("width", width), ("heads", heads), ("depth", depth))
        if number < 1
    ]
    if heads >= 1 and width % heads:
        problems.append(
            f"the attentive pooler's width {width} cannot be divided among {heads} heads; "
            "choose a number of heads that divides the width"
        )
    report_problems(problems)
