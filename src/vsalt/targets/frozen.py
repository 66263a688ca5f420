"""A frozen teacher's latents as the target: what trains SALT's student.

The teacher sees the whole clip once, for all masks; its output after the final norm is gathered
at the target tokens (SALT, arXiv 2509.24317, section 2.2). By default every target token is
standardised by a LayerNorm without parameters, eps 1e-5: V-JEPA's code does so, SALT's text does
not say. Another block than the last gives its output as it is, without the final norm, which was
trained for the last (MVD, arXiv 2212.04500, takes its targets so).
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from vsalt.models.vit import Encoder, block_indices
from vsalt.targets.outside import OutsideTeacher

TargetNorm = Literal["layer_norm", "none"]


class FrozenTeacher(nn.Module):
    """An encoder that is never trained and always in eval mode.

    Args:
        encoder: the teacher; its parameters stop requiring gradients.
        norm: how target tokens are standardised.
        layer: of an encoder of ours the block that gives the targets, from 0 or from -1 backwards;
            a teacher from outside knows its own.

    Raises:
        ValueError: if there is no such block.
    """

    encoder: Encoder | OutsideTeacher

    def __init__(
        self, encoder: Encoder | OutsideTeacher, norm: TargetNorm, *, layer: int = -1
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.norm = norm
        self.width = encoder.width
        if isinstance(encoder, Encoder):
            (self.layer,) = block_indices((layer,), len(encoder.blocks))
        self.eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":  # noqa: ARG002
        """Stay in eval mode whatever is asked."""
        return super().train(False)

    def shard_units(self) -> list[nn.Module]:
        """Return its blocks; of a network from outside, its longest list of modules."""
        if isinstance(self.encoder, Encoder):
            return [*self.encoder.blocks]
        lists = [part for part in self.encoder.modules() if isinstance(part, nn.ModuleList)]
        return [*max(lists, key=len, default=nn.ModuleList())]

    @torch.no_grad()
    def open(
        self, clips: UInt8[Tensor, "B 3 T H W"]
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K D"]]:
        """Encode the clips and return a function from token ids to their targets."""
        latents = self.latents(clips)
        return lambda ids: gather_tokens(latents, ids)

    @torch.no_grad()
    def latents(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        """Return the targets of all tokens."""
        latents = self._encode(clips).float()
        if self.norm == "layer_norm":
            latents = nn.functional.layer_norm(latents, latents.shape[-1:])
        return latents

    def _encode(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        if isinstance(self.encoder, Encoder) and self.layer < len(self.encoder.blocks) - 1:
            return self.encoder.features(clips, layers=(self.layer,), norm=False)[0]
        tokens: Tensor = self.encoder(clips)
        return tokens


def gather_tokens(
    tokens: Float[Tensor, "B N D"], ids: Int64[Tensor, "B K"]
) -> Float[Tensor, "B K D"]:
    """Return each clip's tokens with the given ids."""
    return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))
