"""The video ViT: pre-norm transformer blocks over the kept tokens, and nothing else.

Follows V-JEPA 2's encoder (arXiv 2506.09985), which SALT takes over: no class token, no additive
positions, no dropout, LayerNorm eps 1e-6, GELU MLP, rotary positions in every block, a final norm.

Shapes: B clips, K kept tokens, N all tokens, D width, h heads, d head_dim.
"""

import math

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from vsalt.models.config import Architecture, EncoderConfig, grid_of
from vsalt.models.rope import RopeTable, apply_rope, rope_table
from vsalt.models.tokenizer import Tokenizer

NORM_EPS = 1e-6


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
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two linear maps with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """Map every token alike."""
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """x += attention(norm(x)); x += mlp(norm(x))."""

    def __init__(self, architecture: Architecture, *, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(architecture.width, eps=eps)
        self.attn = Attention(architecture.width, architecture.heads)
        self.norm2 = nn.LayerNorm(architecture.width, eps=eps)
        self.mlp = Mlp(architecture.width, architecture.mlp_width)

    def forward(
        self, x: Float[Tensor, "B K D"], table: RopeTable | None = None
    ) -> Float[Tensor, "B K D"]:
        """Apply both sub-layers; without a table, tokens have no positions."""
        x = x + self.attn(self.norm1(x), table)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Encoder(nn.Module):
    """Maps the kept tubelets of a clip to tokens.

    Any number of frames, height and width that divides into tubelets can be given at any time;
    positions are integers and not rescaled.

    Args:
        config: size, tubelet and rotary mode.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        architecture = config.architecture
        self.width = architecture.width
        self.head_dim = architecture.width // architecture.heads
        self.tokenizer = Tokenizer(architecture.width, config.tubelet)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.depth))
        self.norm = nn.LayerNorm(architecture.width, eps=NORM_EPS)
        init_weights(self, self.blocks)

    def forward(
        self,
        clips: Shaped[Tensor, "B 3 T H W"],
        ids: Int64[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Encode the tokens with the given ids, which do not see the others; all by default.

        Args:
            clips: RGB frames, uint8, or float already standardised.
            ids: token ids to keep, per clip.

        Returns:
            Tokens after the final norm, in the order of `ids`.
        """
        grid = grid_of(clips.shape[2], (clips.shape[3], clips.shape[4]), self.config.tubelet)
        if ids is None:
            ids = torch.arange(math.prod(grid), device=clips.device).expand(clips.shape[0], -1)
            x = self.tokenizer(clips)
        else:
            x = self.tokenizer(clips, ids)
        table = rope_table(ids, grid, self.head_dim, self.config.rope)
        for block in self.blocks:
            x = block(x, table)
        out: Tensor = self.norm(x)
        return out


def init_weights(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Initialise as V-JEPA 2 does.

    Linear and convolution weights: normal with deviation 0.02, truncated at +-2; biases 0; norms
    (1, 0). The last linear map of both sub-layers of block i = 1, 2, ... is divided by sqrt(2 i).
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    with torch.no_grad():
        for index, block in enumerate(blocks, start=1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * index))
            block.mlp.fc2.weight.div_(math.sqrt(2 * index))
