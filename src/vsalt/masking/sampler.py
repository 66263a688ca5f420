"""What the loader calls for each clip: one mask of every kind, keyed by (seed, step, position)."""

from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from vsalt.masking.budget import BudgetMasker
from vsalt.masking.config import MultiblockConfig
from vsalt.masking.types import Grid, Mask


@dataclass(frozen=True)
class MaskSampler:
    """Draws a clip's masks. Picklable, so that loader processes can hold it.

    Attributes:
        seed: the run's seed.
        maskers: one masker per kind, by name.
    """

    seed: int
    maskers: dict[str, BudgetMasker]

    def __call__(
        self,
        step: int,
        position: int,
        clip: UInt8[Tensor, "3 T H W"] | None = None,  # noqa: ARG002
    ) -> tuple[Mask, ...]:
        """Return one mask per kind. `clip` is for maskers that look at the input; none does yet."""
        return tuple(
            masker.draw("mask", self.seed, step, position, kind)
            for kind, masker in self.maskers.items()
        )

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """(context, target) tokens of every kind."""
        return tuple((masker.num_context, masker.num_targets) for masker in self.maskers.values())


def build_mask_sampler(config: MultiblockConfig, grid: Grid, seed: int) -> MaskSampler:
    """Build the sampler of a resolved mask config (see `resolve_budget`)."""
    return MaskSampler(
        seed=seed,
        maskers={
            name: BudgetMasker(grid, blocks, config.aspect_ratio)
            for name, blocks in config.kinds.items()
        },
    )
