"""The `budget` policy: every clip has the same number of context and target tokens.

V-JEPA cuts all index lists of a batch to the shortest one in raster order (`batch_min.py`), so the
number of tokens depends on the batch and late frames are seen less (measured in its own code, at 24
clips and long masks: 3 % of the targets lie in the last of 8 time steps). Here the numbers are
fixed in the config, a clip that has more keeps a uniformly random subset, and a draw that has fewer
is drawn again. Shapes are static and every time step is treated alike.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from vsalt.errors import ConfigError
from vsalt.masking.batch_min import truncated_means
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.masking.multiblock import draw_block_size, draw_hidden
from vsalt.masking.types import Grid, Mask
from vsalt.randomness import keyed_generator

MAX_ATTEMPTS = 200
"""Far beyond what an accepted configuration needs: at acceptance 1/2 it fails once in 1e60."""

MIN_ACCEPTANCE = 0.5


class BudgetMasker:
    """Draws masks of one kind with a fixed number of context and target tokens.

    Args:
        grid: size of a clip in tokens (T, H, W).
        blocks: the kind, with `num_context` and `num_targets` set.
        aspect_ratio: range of height over width of a block.
    """

    def __init__(self, grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float]) -> None:
        if blocks.num_context is None or blocks.num_targets is None:
            raise ValueError("resolve the budget first: num_context and num_targets must be set")
        self.grid = grid
        self.blocks = blocks
        self.aspect_ratio = aspect_ratio
        self.num_context = blocks.num_context
        self.num_targets = blocks.num_targets

    def attempt(self, generator: np.random.Generator) -> Mask | None:
        """Draw once; None if the draw falls short of the budget."""
        size = draw_block_size(generator, self.grid, self.blocks, self.aspect_ratio)
        hidden = draw_hidden(generator, self.grid, size, self.blocks).ravel()
        context, targets = np.flatnonzero(~hidden), np.flatnonzero(hidden)
        if len(context) < self.num_context or len(targets) < self.num_targets:
            return None
        return Mask(
            context=_subset(generator, context, self.num_context),
            targets=_subset(generator, targets, self.num_targets),
        )

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of (context, target) tokens."""
        return self.num_context, self.num_targets

    def draw(self, seed: int, step: int, position: int, kind: str) -> Mask:
        """Return the mask of a key: the first of its attempts 0, 1, 2, ... with enough tokens."""
        key = ("mask", seed, step, position, kind)
        for attempt in range(MAX_ATTEMPTS):
            mask = self.attempt(keyed_generator(*key, attempt))
            if mask is not None:
                return mask
        raise AssertionError(f"no mask within {MAX_ATTEMPTS} attempts of {key}")

    def acceptance(self, num_draws: int = 400) -> float:
        """Share of single attempts that reach the budget, over keyed draws."""
        accepted = sum(
            self.attempt(keyed_generator("acceptance", i)) is not None for i in range(num_draws)
        )
        return accepted / num_draws


def _subset(generator: np.random.Generator, ids: np.ndarray, size: int) -> np.ndarray:
    """Return `size` of the ids, each subset equally likely, ascending."""
    if len(ids) == size:
        return ids
    return np.sort(generator.choice(ids, size, replace=False, shuffle=False))


def resolve_budget(
    config: MultiblockConfig, grid: Grid, *, flag: str = "masks"
) -> MultiblockConfig:
    """Fill in unset budgets for a grid and refuse those that masks seldom reach.

    Returns:
        The config with integers for every `num_context` and `num_targets`.

    Raises:
        ConfigError: if fewer than half of the draws of a kind reach its budget.
    """
    kinds: dict[str, Any] = {}
    problems = []
    for name, blocks in config.kinds.items():
        context, targets = truncated_means(grid, blocks, config.aspect_ratio)
        kinds[name], share = _fill_in(grid, blocks, config.aspect_ratio, context, targets)
        if share < MIN_ACCEPTANCE:
            problems.append(
                f"{flag}.{name}: only {share:.1%} of the masks on a {grid} grid reach "
                f"{kinds[name].num_context} context and {kinds[name].num_targets} target tokens; "
                f"lower --{flag}.{name}.num-context or --{flag}.{name}.num-targets "
                f"(V-JEPA's truncation reaches {context} and {targets} on average), or take more "
                "tokens per frame by a larger --clip.size or a smaller encoder.tubelet"
            )
    if problems:
        raise ConfigError(problems)
    return replace(config, **kinds)


def _fill_in(
    grid: Grid,
    blocks: BlocksConfig,
    aspect_ratio: tuple[float, float],
    context: int,
    targets: int,
) -> tuple[BlocksConfig, float]:
    """Set unset budgets to the given means, or as little below as half of the draws reach.

    On small grids the two means together are reached by fewer than half of the draws.

    Returns:
        The kind with both budgets, and the share of draws that reach them.
    """
    unset = {"num_context": context, "num_targets": targets}
    unset = {name: mean for name, mean in unset.items() if getattr(blocks, name) is None}
    for percent in range(100, 0, -1):
        lowered = {name: max(1, mean * percent // 100) for name, mean in unset.items()}
        filled = replace(blocks, **lowered)
        share = BudgetMasker(grid, filled, aspect_ratio).acceptance()
        if share >= MIN_ACCEPTANCE or not unset:
            break
    return filled, share
