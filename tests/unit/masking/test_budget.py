"""The budget policy: counts, fairness in time, redraws, refusals, and V-JEPA's own averages."""

import dataclasses
import itertools
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.masking import budget
from vsalt.masking.batch_min import truncated_means
from vsalt.masking.budget import BudgetMasker, _subset, resolve_budget
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.masking.sampler import build_mask_sampler
from vsalt.masking.types import Grid
from vsalt.presets import salt_preset
from vsalt.randomness import keyed_generator
from vsalt.training.build import resolve_salt

ASPECT = (0.75, 1.5)
SHORT = BlocksConfig(num_blocks=8, spatial_scale=0.15)
LONG = BlocksConfig(num_blocks=2, spatial_scale=0.7)


def masker(blocks: BlocksConfig, num_context: int, num_targets: int, grid: Grid) -> BudgetMasker:
    blocks = replace(blocks, num_context=num_context, num_targets=num_targets)
    return BudgetMasker(grid, blocks, ASPECT)


@pytest.mark.parametrize(
    ("blocks", "num_context", "num_targets"), [(SHORT, 80, 190), (LONG, 35, 270)]
)
def test_every_draw_has_the_budgets_and_no_token_twice(
    blocks: BlocksConfig, num_context: int, num_targets: int
) -> None:
    draw = masker(blocks, num_context, num_targets, (8, 7, 7)).draw
    for key in range(300):
        mask = draw(0, 0, key, "kind")
        assert mask.context.shape == (num_context,)
        assert mask.targets.shape == (num_targets,)
        for ids in (mask.context, mask.targets):
            assert ids.dtype == np.int64
            assert (np.diff(ids) > 0).all()
            assert ids[0] >= 0
            assert ids[-1] < 8 * 49
        assert not set(mask.context.tolist()) & set(mask.targets.tolist())


def chi_square_over_time(ids: list[np.ndarray], grid: Grid) -> float:
    counts = np.bincount(np.concatenate(ids) // (grid[1] * grid[2]), minlength=grid[0])
    expected = counts.sum() / grid[0]
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize(("blocks", "budgets"), [(SHORT, (80, 190)), (LONG, (35, 270))])
def test_all_time_steps_are_treated_alike(blocks: BlocksConfig, budgets: tuple[int, int]) -> None:
    """Chi-square of 7 degrees of freedom exceeds 24.3 once in 1000, also for draws that repel.

    The rule that V-JEPA has instead, keeping the first ids in raster order, is far beyond.
    """
    grid = (8, 7, 7)
    one = masker(blocks, *budgets, grid)
    masks = [one.draw(0, 0, key, "kind") for key in range(400)]
    assert chi_square_over_time([mask.context for mask in masks], grid) < 24.3
    assert chi_square_over_time([mask.targets for mask in masks], grid) < 24.3

    cut = [np.setdiff1d(np.arange(8 * 49), mask.context)[: budgets[1]] for mask in masks]
    assert chi_square_over_time(cut, grid) > 100


def test_kept_subsets_are_equally_likely() -> None:
    ids = np.array([3, 5, 8, 13, 21])
    generator = np.random.default_rng(0)
    counts = Counter(tuple(_subset(generator, ids, 3).tolist()) for _ in range(3000))
    assert set(counts) == set(itertools.combinations(ids.tolist(), 3))
    # 10 subsets; chi-square with 9 degrees of freedom exceeds 27.9 once in 1000
    assert sum((count - 300) ** 2 / 300 for count in counts.values()) < 27.9


def test_a_mask_is_a_function_of_its_key() -> None:
    one, other = masker(SHORT, 80, 190, (8, 7, 7)), masker(SHORT, 80, 190, (8, 7, 7))
    masks = [one.draw(7, step, 2, "short") for step in range(20)]
    for step, mask in reversed(list(enumerate(masks))):
        again = other.draw(7, step, 2, "short")
        np.testing.assert_array_equal(mask.context, again.context)
        np.testing.assert_array_equal(mask.targets, again.targets)
    assert len({mask.targets.tobytes() for mask in masks}) == 20


def test_draws_that_fall_short_are_drawn_again_from_the_same_key() -> None:
    one = masker(LONG, 60, 200, (8, 7, 7))
    redraws: Counter[int] = Counter()
    for key in range(200):
        for attempt in itertools.count():
            mask = one.attempt(keyed_generator("mask", 3, 4, key, "kind", attempt))
            if mask is not None:
                break
        redraws[attempt] += 1
        np.testing.assert_array_equal(one.draw(3, 4, key, "kind").targets, mask.targets)
    assert redraws[0] < 200
    assert max(redraws) >= 2
    # The number of attempts is geometric, with the acceptance that the masker states.
    assert abs(redraws[0] / 200 - one.acceptance()) < 4 * math.sqrt(0.25 / 200)


def plain_truncation(
    grid: Grid, blocks: BlocksConfig, num_groups: int, num_clips: int = 24
) -> np.ndarray:
    """Context and targets that V-JEPA's collator leaves in each batch, with sets of tokens.

    One block size per batch, from an aspect ratio (evenly spread here, uniform there); clips
    without context are drawn again; every list is cut to the shortest of the batch.
    """
    steps, height, width = grid
    generator = np.random.default_rng(3)
    area = math.floor(height * width * blocks.spatial_scale)
    kept = []
    for group in range(num_groups):
        ratio = ASPECT[0] + (ASPECT[1] - ASPECT[0]) * (group + 0.5) / num_groups
        h = min(height, round(math.sqrt(area * ratio)))
        w = min(width, round(math.sqrt(area / ratio)))
        sizes: list[int] = []
        while len(sizes) < num_clips:
            hidden: set[tuple[int, int]] = set()
            for _ in range(blocks.num_blocks):
                top, left = generator.integers(height - h + 1), generator.integers(width - w + 1)
                hidden |= {(top + i, left + j) for i in range(h) for j in range(w)}
            if len(hidden) < height * width:
                sizes.append(steps * len(hidden))
        kept.append((steps * height * width - max(sizes), min(sizes)))
    return np.array(kept)


@pytest.mark.parametrize(
    ("grid", "blocks"),
    [((8, 14, 14), SHORT), ((8, 14, 14), LONG), ((8, 7, 7), LONG), ((8, 4, 4), SHORT)],
)
def test_default_budgets_are_what_vjepas_truncation_leaves(
    grid: Grid, blocks: BlocksConfig
) -> None:
    ours = truncated_means(grid, blocks, ASPECT, 600)
    plain = plain_truncation(grid, blocks, 300)
    # Four standard errors of the difference, and half a token of rounding.
    tolerance = 4 * plain.std(axis=0) * math.sqrt(1 / 600 + 1 / 300) + 0.5
    assert (tolerance < 0.05 * math.prod(grid)).all()
    assert (np.abs(plain.mean(axis=0) - ours) < tolerance).all()


@pytest.mark.parametrize(
    ("blocks", "context_share", "target_share"), [(SHORT, 23.3, 47.1), (LONG, 6.9, 69.7)]
)
def test_default_budgets_are_those_measured_on_vjepa2s_collator(
    blocks: BlocksConfig, context_share: float, target_share: float
) -> None:
    """Measured on facebookresearch/vjepa2 at c2963a4: 224 px, 16 frames, batch 24, 60 draws."""
    context, targets = truncated_means((8, 14, 14), blocks, ASPECT)
    assert abs(100 * context / 1568 - context_share) < 1.5
    assert abs(100 * targets / 1568 - target_share) < 1.5


@pytest.mark.parametrize(
    ("preset", "short", "long"),
    [
        ("tiny-cpu", (39, 51), (27, 88)),
        ("small-gpu", (81, 190), (35, 270)),
    ],
)
def test_resolved_budgets_of_presets(
    preset: str, short: tuple[int, int], long: tuple[int, int]
) -> None:
    """A change of these numbers changes what every run of the preset trains on."""
    config = resolve_salt(salt_preset(preset))
    for stage in (config.teacher, config.student):
        assert (stage.masks.short.num_context, stage.masks.short.num_targets) == short
        assert (stage.masks.long.num_context, stage.masks.long.num_targets) == long
    assert resolve_salt(config) == config


def test_the_papers_presets_are_cut_as_vjepas_are() -> None:
    config = resolve_salt(salt_preset("paper-vitl"))
    for stage in (config.teacher, config.student):
        assert isinstance(stage.masks, MultiblockConfig)
        assert (stage.masks.policy, stage.masks.group_size) == ("batch_min", 24)
        assert stage.loop.micro_batch_size == 24
    sampler = build_mask_sampler(config.student.masks, (8, 14, 14), 0)
    assert sampler.counts == ((367, 759), (95, 1106))


def test_given_budgets_are_kept_and_the_others_filled_in() -> None:
    short = replace(SHORT, num_targets=100)
    resolved = resolve_budget(MultiblockConfig(short=short), (8, 7, 7))
    assert resolved.short.num_targets == 100
    assert resolved.short.num_context == truncated_means((8, 7, 7), short, ASPECT)[0]
    assert resolved.long.num_context is not None


def refusals(config: MultiblockConfig, grid: Grid) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve_budget(config, grid, flag="student.masks")
    return caught.value.problems


def advice(problem: str) -> dict[str, dict[str, int]]:
    """The numbers that a problem recommends, by kind and setting."""
    found: dict[str, dict[str, int]] = {}
    for kind, name, number in re.findall(r"--student\.masks\.(\w+)\.(num-\w+) (\d+)", problem):
        found.setdefault(kind, {})[name.replace("-", "_")] = int(number)
    return found


def test_budgets_that_masks_seldom_reach_are_refused_with_what_they_reach() -> None:
    grid = (8, 7, 7)
    short = replace(SHORT, num_context=300, num_targets=190)
    long = replace(LONG, num_targets=391)
    problems = refusals(MultiblockConfig(short=short, long=long), grid)
    share = masker(SHORT, 300, 190, grid).acceptance()
    assert share < 0.5
    tokens = "take a larger --clip.size or a smaller --student.encoder.tubelet"
    # 300 context tokens are out of reach whatever the targets are, so only they can be lowered.
    assert list(advice(problems[0])["short"]) == ["num_context"]
    most = advice(problems[0])["short"]
    assert problems[0] == (
        f"student.masks.short: only {share:.1%} of the masks on a (8, 7, 7) grid have 300 context "
        "tokens and 190 target tokens, and half must; take at most --student.masks.short."
        f"num-context {most['num_context']}, or {tokens}"
    )
    # What was not set is not named.
    most = advice(problems[1])["long"]
    assert problems[1] == (
        "student.masks.long: only 0.0% of the masks on a (8, 7, 7) grid have 391 target tokens, "
        f"and half must; take at most --student.masks.long.num-targets {most['num_targets']}, or "
        f"{tokens}"
    )


@pytest.mark.parametrize(
    "budgets",
    [
        {"num_context": 200},
        {"num_targets": 391},
        {"num_context": 150, "num_targets": 190},
        {"num_context": 60, "num_targets": 300},
        {"num_context": 390, "num_targets": 391},
    ],
)
@pytest.mark.parametrize("kind", ["short", "long"])
def test_the_numbers_of_a_refusal_are_the_largest_that_work(
    kind: str, budgets: dict[str, int]
) -> None:
    grid, blocks = (8, 7, 7), {"short": SHORT, "long": LONG}[kind]
    config = MultiblockConfig(**{kind: replace(blocks, **budgets)})
    (problem,) = refusals(config, grid)
    ways = advice(problem)[kind]
    together = f"with --student.masks.{kind}" in problem
    assert set(ways) <= set(budgets)
    assert together == (len(ways) == 2 and f"or --student.masks.{kind}" not in problem)
    for changed in [ways] if together else [{name: most} for name, most in ways.items()]:
        followed = replace(blocks, **{**budgets, **changed})
        resolved = resolve_budget(MultiblockConfig(**{kind: followed}), grid)
        assert {**budgets, **changed}.items() <= dataclasses.asdict(resolved.kinds[kind]).items()
        if not together:
            ((name, most),) = changed.items()
            refusals(MultiblockConfig(**{kind: replace(followed, **{name: most + 1})}), grid)


@pytest.mark.parametrize("grid", [(8, 5, 5), (4, 3, 4)])
def test_default_budgets_of_small_grids_lie_as_little_below_the_means_as_needed(
    grid: tuple[int, int, int],
) -> None:
    resolved = resolve_budget(MultiblockConfig(), grid)
    for given, blocks in ((SHORT, resolved.short), (LONG, resolved.long)):
        means = truncated_means(grid, given, ASPECT)
        chosen = (blocks.num_context, blocks.num_targets)
        assert None not in chosen
        assert masker(given, *chosen, grid).acceptance() >= 0.5
        if chosen != means:
            percent = next(
                percent
                for percent in range(100, 0, -1)
                if tuple(max(1, mean * percent // 100) for mean in means) == chosen
            )
            above = [mean * (percent + 1) // 100 for mean in means]
            assert masker(given, above[0], above[1], grid).acceptance() < 0.5
    assert resolved.long.num_context != truncated_means(grid, LONG, ASPECT)[0]


def test_half_of_the_draws_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(SHORT, num_context=20, num_targets=30)
    config = MultiblockConfig(short=short, long=short)
    for num_reached, refused in ((200, False), (199, True)):
        counts = np.array([[20, 30]] * num_reached + [[19, 31]] * (400 - num_reached))
        monkeypatch.setattr(budget, "drawn_counts", lambda *_, counts=counts: counts)
        if refused:
            with pytest.raises(ConfigError, match=r"only 49\.8% of the masks") as caught:
                resolve_budget(config, (8, 4, 4))
            # 19 context tokens are in all draws; fewer targets are no help.
            assert "num-context 19, or take" in caught.value.problems[0]
        else:
            assert resolve_budget(config, (8, 4, 4)) == config


def test_blocks_that_cover_the_grid_are_refused() -> None:
    whole = BlocksConfig(num_blocks=1, spatial_scale=1.0, num_context=3)
    many = BlocksConfig(num_blocks=60, spatial_scale=0.6)
    config = MultiblockConfig(short=many, long=whole, aspect_ratio=(1.0, 1.0))
    tokens = "or take a larger --clip.size or a smaller --student.encoder.tubelet"
    few = "fewer than half of the masks on a (2, 4, 4) grid leave a context token (0.0%); lower"
    assert refusals(config, (2, 4, 4)) == [
        f"student.masks.short: {few} --student.masks.short.num-blocks or "
        f"--student.masks.short.spatial-scale, {tokens}",
        f"student.masks.long: {few} --student.masks.long.spatial-scale, {tokens}",
    ]
    # Smaller blocks than one place, or fewer than one, there are not.
    assert refusals(MultiblockConfig(), (8, 1, 1)) == [
        f"student.masks.{kind}: fewer than half of the masks on a (8, 1, 1) grid leave a context "
        f"token (0.0%); {tokens.removeprefix('or ')}"
        for kind in ("short", "long")
    ]
    # Half of the draws would do, but V-JEPA's truncation has no mean where one size covers all.
    rare = BlocksConfig(num_blocks=1, spatial_scale=0.99)
    (problem,) = refusals(MultiblockConfig(long=rare), (2, 24, 16))
    assert problem.startswith("student.masks.long: the aspect ratios allow a block of (2, 24, 16)")
    given = MultiblockConfig(long=replace(rare, num_context=2, num_targets=300))
    assert resolve_budget(given, (2, 24, 16)).long == given.long


def test_a_masker_needs_its_budget() -> None:
    with pytest.raises(ValueError, match="resolve the budget first"):
        BudgetMasker((8, 7, 7), SHORT, ASPECT)
