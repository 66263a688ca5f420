"""What the loader calls for each clip: one mask of every kind, keyed by (seed, step, position)."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor

from vsalt.masking.batch_min import BatchMinMasker, check_batch_min
from vsalt.masking.budget import BudgetMasker, resolve_budget
from vsalt.masking.config import MaskConfig, MultiblockConfig
from vsalt.masking.fewer_targets import FewerTargets
from vsalt.masking.ratio import build_ratio_masker, check_ratio
from vsalt.masking.types import Grid, Mask, Masker


@dataclass(frozen=True)
class MaskSampler:
    """Draws a clip's masks. Picklable, so that loader processes can hold it.

    Attributes:
        seed: the run's seed.
        maskers: one masker per kind, by name.
    """

    seed: int
    maskers: Mapping[str, Masker]

    def __call__(
        self,
        step: int,
        position: int,
        clip: UInt8[Tensor, "3 T H W"] | None = None,  # noqa: ARG002
    ) -> tuple[Mask, ...]:
        """Return one mask per kind. `clip` is for maskers that look at the input; none does yet."""
        return tuple(
            masker.draw(self.seed, step, position, kind) for kind, masker in self.maskers.items()
        )

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """(context, target) tokens of every kind; under `batch_min` their expectation."""
        return tuple(masker.counts for masker in self.maskers.values())


def build_mask_sampler(config: MaskConfig, grid: Grid, seed: int) -> MaskSampler:
    """Build the sampler of a resolved mask config (see `resolve_masks`)."""
    maskers: dict[str, Masker] = {
        kind: _build_masker(config, grid, kind) for kind in config.kind_names
    }
    if config.target_share < 1:
        maskers = {
            kind: FewerTargets(masker, grid, config.target_share, config.target_choice)
            for kind, masker in maskers.items()
        }
    return MaskSampler(seed=seed, maskers=maskers)


def resolve_masks(config: MaskConfig, grid: Grid, *, flag: str = "masks") -> MaskConfig:
    """Write out the numbers that depend on the grid, and refuse what the grid does not allow.

    Args:
        config: settings of any family.
        grid: size of a clip in tokens.
        flag: path of the settings on the command line, for messages.

    Raises:
        ConfigError: if masks leave no context, or seldom reach their budget.
    """
    if not isinstance(config, MultiblockConfig):
        check_ratio(config, grid, flag=flag)
        return config
    if config.policy == "budget":
        return resolve_budget(config, grid, flag=flag)
    check_batch_min(config, grid, flag=flag)
    return config


def _build_masker(config: MaskConfig, grid: Grid, kind: str) -> Masker:
    if not isinstance(config, MultiblockConfig):
        return build_ratio_masker(config, grid)
    blocks = config.blocks_of(kind)
    if config.policy == "budget":
        return BudgetMasker(grid, blocks, config.aspect_ratio)
    return BatchMinMasker(grid, blocks, config.aspect_ratio, config.group_size)
