"""The video ViT: pre-norm transformer blocks over the kept tokens, and nothing else.

Follows V-JEPA 2's encoder (arXiv 2506.09985), which SALT takes over: no class token, no dropout,
LayerNorm eps 1e-6, GELU MLP, rotary positions in every block, a final norm. Positions can also be
V-JEPA's (arXiv 2404.08471) or VideoMAE's (arXiv 2203.12602), added once before the blocks.

Shapes: B clips, K kept tokens, N all tokens, D width, F channels of a feature, h heads, d head_dim.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from vsalt.models.attention import Attention
from vsalt.models.config import Architecture, EncoderConfig, FeaturePooling, Positions, grid_of
from vsalt.models.pooling import pool_tokens
from vsalt.models.rope import RopeTable, rope_table
from vsalt.models.sincos import sincos_table, sinusoid
from vsalt.models.tokenizer import Tokenizer

NORM_EPS = 1e-6
INIT_STD = 0.02


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
        config: size, tubelet and kind of positions.
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
        return self.features(clips, ids=ids)[0]

    def features(
        self,
        clips: Shaped[Tensor, "B 3 T H W"],
        *,
        layers: Sequence[int] = (-1,),
        pooling: FeaturePooling = "tokens",
        ids: Int64[Tensor, "B K"] | None = None,
        norm: bool = True,
    ) -> tuple[Float[Tensor, "B *_"], ...]:
        """Return what the given blocks put out, in one forward pass.

        As V-JEPA 2's `out_layers`, each output goes through the encoder's final norm, which was
        trained for the last block only; blocks after the last one asked for are not computed.

        Args:
            clips: RGB frames, uint8, or float already standardised.
            layers: numbers of blocks, from 0, or from -1 backwards.
            pooling: tokens: none, shape (B, K, D). mean: over all tokens, (B, D). mean_space: over
                the tokens of each time step, the steps one after the other, (B, T' D).
            ids: token ids to keep, per clip; all by default.
            norm: apply the final norm.

        Returns:
            One tensor per entry of `layers`, in that order.

        Raises:
            ValueError: if there is no such block or pooling, no layer is given, or mean_space is
                asked for with `ids`.
        """
        wanted = block_indices(layers, len(self.blocks))
        if pooling == "mean_space" and ids is not None:
            raise ValueError("pooling mean_space needs all tokens of a clip; leave ids out")
        x, table = self._tokens(clips, ids)
        num_times = clips.shape[2] // self.config.tubelet[0]
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x, table)
            if index in wanted:
                out = self.norm(x) if norm else x
                outputs[index] = pool_tokens(out, num_times=num_times, pooling=pooling)
            if index == max(wanted):
                break
        return tuple(outputs[index] for index in wanted)

    def _tokens(
        self, clips: Shaped[Tensor, "B 3 T H W"], ids: Int64[Tensor, "B K"] | None
    ) -> tuple[Float[Tensor, "B K D"], RopeTable | None]:
        grid = grid_of(clips.shape[2], (clips.shape[3], clips.shape[4]), self.config.tubelet)
        if ids is None:
            ids = torch.arange(math.prod(grid), device=clips.device).expand(clips.shape[0], -1)
            x = self.tokenizer(clips)
        else:
            x = self.tokenizer(clips, ids)
        return add_positions(x, ids, grid, self.head_dim, self.config.positions)


def add_positions(
    x: Float[Tensor, "B K D"],
    ids: Int64[Tensor, "B K"],
    grid: tuple[int, int, int],
    head_dim: int,
    positions: Positions,
) -> tuple[Float[Tensor, "B K D"], RopeTable | None]:
    """Return the tokens and the rotary table that their blocks need, if any.

    Sin-cos positions are added to the tokens; rotary ones leave them as they are.
    """
    if positions == "sincos" or positions == "sincos1d":
        width = x.shape[-1]
        table = sincos_table(ids, grid, width) if positions == "sincos" else sinusoid(ids, width)
        # As V-JEPA's, the table stays fp32 under autocast, and with it all that is added to it.
        return x + (table if torch.is_autocast_enabled(x.device.type) else table.to(x.dtype)), None
    return x, rope_table(ids, grid, head_dim, positions)


def init_weights(module: nn.Module, blocks: nn.ModuleList) -> None:
    """Initialise as V-JEPA 2 does.

    Linear and convolution weights: normal with deviation 0.02; biases 0; norms (1, 0). The last
    linear map of both sub-layers of block i = 1, 2, ... is divided by sqrt(2 i).

    V-JEPA 2 truncates at +-2, a hundred deviations away, which no normal draw reaches. Its sampler
    (the inverse of the error function, in float32) does: one weight in 2 ** 24 becomes -2. Those
    are not reproduced.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            nn.init.normal_(part.weight, std=INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    with torch.no_grad():
        for index, block in enumerate(blocks, start=1):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * index))
            block.mlp.fc2.weight.div_(math.sqrt(2 * index))


def block_indices(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Return numbers of blocks from 0, given from 0 or from -1 backwards.

    Raises:
        ValueError: if there is no such block, or none is given.
    """
    wrong = [layer for layer in layers if not -depth <= layer < depth]
    if wrong or not layers:
        given = f"{wrong} are no blocks" if wrong else "no layer is given"
        raise ValueError(
            f"{given}; the encoder has {depth} blocks: layers are from 0 to {depth - 1}, "
            f"or from -1 to {-depth} counted from the end"
        )
    return tuple(layer % depth for layer in layers)
