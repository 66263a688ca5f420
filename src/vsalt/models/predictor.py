"""The predictor: from context tokens and target positions to what stands at those positions.

With pixels as the target the same network is called the pixel decoder; SALT's compute tables are
reproduced only by a decoder of the predictor's shape (arXiv 2509.24317, table of step allocation).

Shapes: B clips, Kc context tokens, Kt target tokens, D width inside.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vsalt.models.config import Positions, PredictorConfig
from vsalt.models.vit import NORM_EPS, Block, add_positions, init_weights


class Predictor(nn.Module):
    """A narrow ViT over the context tokens and one learned mask token per target position.

    V-JEPA 2's wiring: linear in, mask tokens appended, blocks with positions, norm, linear out at
    the target positions. Attention does not depend on the order of tokens, so they are not sorted.
    Positions are those on the clip's own grid; V-JEPA 2's predictor takes every grid as square.

    Args:
        config: a resolved config.
        in_width: channels of the context tokens.
        out_width: channels of a target.
        positions: how tokens know where they are, as the encoder's do.
    """

    def __init__(
        self, config: PredictorConfig, *, in_width: int, out_width: int, positions: Positions
    ) -> None:
        super().__init__()
        architecture = config.architecture
        self.positions: Positions = positions
        self.head_dim = architecture.width // architecture.heads
        self.embed = nn.Linear(in_width, architecture.width)
        self.mask_token = nn.Parameter(torch.zeros(architecture.width))
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.depth))
        self.norm = nn.LayerNorm(architecture.width, eps=NORM_EPS)
        self.out = nn.Linear(architecture.width, out_width)
        init_weights(self, self.blocks)

    def forward(
        self,
        context: Float[Tensor, "B Kc C"],
        context_ids: Int64[Tensor, "B Kc"],
        target_ids: Int64[Tensor, "B Kt"],
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "B Kt O"]:
        """Predict the targets at `target_ids`."""
        seen = self.embed(context)
        num_context = seen.shape[1]
        hidden = self.mask_token.expand(*target_ids.shape, -1)
        # Under autocast `seen` is bf16 and the mask token fp32: what follows is added up in fp32.
        x = torch.cat([seen, hidden], dim=1)
        ids = torch.cat([context_ids, target_ids], dim=1)
        x, table = add_positions(x, ids, grid, self.head_dim, self.positions)
        for block in self.blocks:
            x = block(x, table)
        out: Tensor = self.out(self.norm(x[:, num_context:]))
        return out
