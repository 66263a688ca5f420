"""The `budget` policy: every clip has the same number of context and target tokens.

V-JEPA cuts all index lists of a batch to the shortest one in raster order (`batch_min.py`), so the
number of tokens depends on the batch and late frames are seen less (measured in its own code, at 24
clips and long masks: 3 % of the targets lie in the last of 8 time steps). Here the numbers are
fixed in the config, a clip that has more keeps a uniformly random subset, and a draw that has fewer
is drawn again. Shapes are static. With `temporal_scale` 1 and `max_temporal_keep` 1 every time step
is treated alike; shorter blocks hide the middle steps more often than the first and the last.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from vsalt.errors import ConfigError
from vsalt.masking.batch_min import truncated_means
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.masking.multiblock import block_sizes, draw_block_size, draw_hidden
from vsalt.masking.refusals import (
    NoContextError,
    fewer_hidden,
    more_tokens,
    no_context_problem,
)
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
        counts = drawn_counts(self.grid, self.blocks, self.aspect_ratio, num_draws)
        return _share(counts, *self.counts)


def _subset(generator: np.random.Generator, ids: np.ndarray, size: int) -> np.ndarray:
    """Return `size` of the ids, each subset equally likely, ascending."""
    if len(ids) == size:
        return ids
    return np.sort(generator.choice(ids, size, replace=False, shuffle=False))


@lru_cache(maxsize=64)
def drawn_counts(
    grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float], num_draws: int = 400
) -> np.ndarray:
    """Return the numbers of (context, target) tokens of keyed draws, shape (num_draws, 2)."""
    num_hidden = []
    for index in range(num_draws):
        generator = keyed_generator("acceptance", index)
        size = draw_block_size(generator, grid, blocks, aspect_ratio)
        num_hidden.append(int(draw_hidden(generator, grid, size, blocks).sum()))
    targets = np.array(num_hidden)
    counts = np.stack([grid[0] * grid[1] * grid[2] - targets, targets], axis=1)
    counts.flags.writeable = False  # the cache hands out the same array again
    return counts


def resolve_budget(
    config: MultiblockConfig, grid: Grid, *, flag: str = "masks"
) -> MultiblockConfig:
    """Fill in unset budgets for a grid and refuse those that masks seldom reach.

    Returns:
        The config with integers for every `num_context` and `num_targets`.

    Raises:
        ConfigError: if fewer than half of the draws of a kind reach its budget.
    """
    kinds: dict[str, BlocksConfig] = {}
    problems = []
    for name, blocks in config.kinds.items():
        try:
            kinds[name] = _fill_in(grid, blocks, config.aspect_ratio, f"{flag}.{name}")
        except NoContextError as error:
            problems.append(no_context_problem(error, f"{flag}.{name}"))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return replace(config, short=kinds["short"], long=kinds["long"])


def _fill_in(
    grid: Grid, blocks: BlocksConfig, aspect_ratio: tuple[float, float], flag: str
) -> BlocksConfig:
    """Set unset budgets to V-JEPA's means, or as little below as half of the draws reach.

    On small grids the two means together are reached by fewer than half of the draws.

    Raises:
        ConfigError: if half of the draws do not reach what is given.
        NoContextError: if V-JEPA's truncation does not end.
    """
    counts = drawn_counts(grid, replace(blocks, num_context=None, num_targets=None), aspect_ratio)
    given = (blocks.num_context, blocks.num_targets)
    if _share(counts, 1, 1) < MIN_ACCEPTANCE:
        largest = max(block_sizes(grid, blocks, aspect_ratio), key=math.prod)
        raise ConfigError(
            [
                f"{flag}: fewer than half of the masks on a {grid} grid leave a context token "
                f"({_share(counts, 1, 1):.1%}); {fewer_hidden(blocks, grid, largest, flag)}"
            ]
        )
    if _share(counts, given[0] or 1, given[1] or 1) < MIN_ACCEPTANCE:
        raise ConfigError([_out_of_reach(counts, grid, given, flag)])
    if None not in given:
        return blocks
    means = truncated_means(grid, replace(blocks, num_context=None, num_targets=None), aspect_ratio)
    context, targets = _lowered(counts, means, given)
    return replace(blocks, num_context=context, num_targets=targets)


def _share(counts: np.ndarray, context: int, targets: int) -> float:
    """Return the share of draws, shape (n, 2), with so many tokens."""
    return float((counts >= (context, targets)).all(axis=1).mean())


def _lowered(
    counts: np.ndarray, most: tuple[int, int], given: tuple[int | None, int | None]
) -> tuple[int, int]:
    """Return the largest percentage of the most, at least 1, that half of the draws reach.

    Numbers that are given stay as they are; with 1 in place of the others, half reach them.
    """
    for percent in range(100, -1, -1):
        context, targets = (
            max(1, highest * percent // 100) if fixed is None else fixed
            for highest, fixed in zip(most, given, strict=True)
        )
        if _share(counts, context, targets) >= MIN_ACCEPTANCE:
            break
    return context, targets


def _out_of_reach(
    counts: np.ndarray, grid: Grid, given: tuple[int | None, int | None], flag: str
) -> str:
    """Return the problem with what was given, and what half of the draws reach instead."""
    flags = (f"--{flag}.num-context", f"--{flag}.num-targets")
    named = [
        f"{number} {what} tokens"
        for number, what in zip(given, ("context", "target"), strict=True)
        if number is not None
    ]
    # The most of one that half of the draws reach while the other stays what it is.
    most = [_most(counts, index, given[1 - index] or 1) for index in (0, 1)]
    ways = [
        f"{flags[index]} {most[index]}"
        for index in (0, 1)
        if given[index] is not None and most[index]
    ]
    if not ways:
        both = _lowered(counts, (_most(counts, 0, 1), _most(counts, 1, 1)), (None, None))
        ways = [f"{flags[0]} {both[0]} with {flags[1]} {both[1]}"]
    return (
        f"{flag}: only {_share(counts, given[0] or 1, given[1] or 1):.1%} of the masks on a "
        f"{grid} grid have {' and '.join(named)}, and half must; take at most "
        f"{' or '.join(ways)}, or take {more_tokens(flag)}"
    )


def _most(counts: np.ndarray, index: int, other: int) -> int:
    """Return the most tokens of one list that half of the draws reach, with the other's number."""
    reached = np.where(counts[:, 1 - index] >= other, counts[:, index], 0)
    needed = math.ceil(MIN_ACCEPTANCE * len(counts))
    return int(np.sort(reached)[-needed])
