"""V-JEPA's cut in keyed groups: one block size, the first ids in raster order, the minimum."""

import itertools
import math
import pickle
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.masking import batch_min
from vsalt.masking.batch_min import BatchMinMasker, truncated_means
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.masking.multiblock import block_sizes
from vsalt.masking.refusals import NoContextError
from vsalt.masking.sampler import build_mask_sampler, resolve_masks
from vsalt.masking.types import Grid, Mask

ASPECT = (0.75, 1.5)
GRID = (8, 7, 6)
SHORT = BlocksConfig(num_blocks=8, spatial_scale=0.15)
LONG = BlocksConfig(num_blocks=2, spatial_scale=0.7)
VJEPA = MultiblockConfig(policy="batch_min")


def group_of(config: MultiblockConfig, step: int, group: int, kind: int, grid: Grid) -> list[Mask]:
    draw = build_mask_sampler(config, grid, 0)
    first = group * config.group_size
    return [draw(step, first + index)[kind] for index in range(config.group_size)]


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("group_size", [1, 2, 24])
def test_lists_are_the_first_ids_as_many_as_every_clip_has(kind: int, group_size: int) -> None:
    """Blocks span all time, so the first time step tells what was hidden before the cut."""
    config = replace(VJEPA, group_size=group_size)
    num_places = GRID[1] * GRID[2]
    lengths = set()
    for group in range(12):
        masks = group_of(config, 3, group, kind, GRID)
        hidden = []
        for mask in masks:
            assert mask.targets[-1] >= num_places
            frame = np.isin(np.arange(num_places), mask.targets)
            hidden.append(np.tile(frame, GRID[0]))
        num_hidden = [int(each.sum()) for each in hidden]
        num_context = min(math.prod(GRID) - count for count in num_hidden)
        assert num_context > 0
        for mask, each in zip(masks, hidden, strict=True):
            assert mask.context.tolist() == np.flatnonzero(~each)[:num_context].tolist()
            assert mask.targets.tolist() == np.flatnonzero(each)[: min(num_hidden)].tolist()
        lengths.add((num_context, min(num_hidden)))
    assert len(lengths) > 3


def sizes_of(area: int, ratio: float) -> tuple[int, int]:
    height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    return min(14, height), min(14, width)


def test_a_group_has_one_aspect_ratio_for_both_kinds() -> None:
    """With one block per mask its size can be read off; 60 groups, 14 x 14 places."""
    single = {"num_blocks": 1}
    config = replace(
        VJEPA, group_size=4, short=replace(SHORT, **single), long=replace(LONG, **single)
    )
    draw = build_mask_sampler(config, (1, 14, 14), 0)
    possible = Counter(
        (sizes_of(29, ratio), sizes_of(137, ratio)) for ratio in np.linspace(*ASPECT, 40_001)
    )
    num_groups = 600
    drawn: Counter[tuple[tuple[int, int], ...]] = Counter()
    for group in range(num_groups):
        found = set()
        for index in range(4):
            boxes = []
            for mask in draw(0, 4 * group + index):
                rows, columns = mask.targets // 14, mask.targets % 14
                boxes.append((len(set(rows.tolist())), len(set(columns.tolist()))))
                assert len(mask.targets) == boxes[-1][0] * boxes[-1][1]
            found.add(tuple(boxes))
        (sizes,) = found
        drawn[sizes] += 1
    assert set(drawn) <= set(possible)
    # Pairs of sizes are as frequent as the closed form says (uniform aspect ratio).
    for sizes, count in possible.items():
        share = count / 40_001
        deviation = math.sqrt(share * (1 - share) / num_groups)
        assert abs(drawn[sizes] / num_groups - share) < 4 * deviation + 1e-3


def test_places_of_blocks_are_drawn_per_clip_kind_group_step_and_seed() -> None:
    same = replace(VJEPA, long=SHORT, group_size=3)
    seen = [
        mask.context.tobytes()
        for seed in (0, 1)
        for step in range(3)
        for position in range(9)
        for mask in build_mask_sampler(same, GRID, seed)(step, position)
    ]
    assert len(set(seen)) == len(seen)


def test_masks_are_functions_of_seed_step_and_position() -> None:
    config = replace(VJEPA, group_size=4)
    draw = build_mask_sampler(config, GRID, 3)
    places = [(step, position) for step in (-1, 0, 5) for position in range(11)]
    forth = {place: draw(*place) for place in places}
    copy = pickle.loads(pickle.dumps(draw))
    fresh = build_mask_sampler(config, GRID, 3)
    for place in reversed(places):
        for other in (copy, fresh):
            for mine, theirs in zip(forth[place], other(*place), strict=True):
                np.testing.assert_array_equal(mine.context, theirs.context)
                np.testing.assert_array_equal(mine.targets, theirs.targets)


def test_a_group_is_drawn_once_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = batch_min.draw_clips
    monkeypatch.setattr(batch_min, "draw_clips", lambda *given: calls.append(1) or real(*given))
    draw = build_mask_sampler(VJEPA, GRID, 0)
    calls.clear()  # what else may have been computed for this configuration
    for position in range(48):
        draw(0, position)
    assert len(calls) == 2 * 2


def test_the_first_group_of_a_run_stays_what_it_is() -> None:
    """Pinned: another key or another order of draws changes every run that can be resumed."""
    short, long = build_mask_sampler(VJEPA, GRID, 0)(0, 0)
    assert (len(short.context), len(short.targets)) == (64, 144)
    assert (len(long.context), len(long.targets)) == (16, 240)
    assert short.context[:6].tolist() == [0, 1, 2, 5, 6, 7]
    assert long.targets[-6:].tolist() == [280, 282, 283, 284, 285, 286]


@pytest.mark.parametrize("policy", ["budget", "batch_min"])
def test_late_steps_are_predicted_less_under_batch_min_only(policy: str) -> None:
    """Long masks: a fair share of the last of 8 steps is 12.5 %, V-JEPA's is about 3 %.

    Tokens of a clip are not independent, so the fair share is met to a hundredth only.
    """
    grid = (8, 14, 14)
    config = MultiblockConfig(policy=policy)
    config = resolve_masks(config, grid)
    draw = build_mask_sampler(config, grid, 0)
    masks = [draw(0, position)[1] for position in range(10 * 24)]
    context, targets = (
        np.bincount(np.concatenate(ids) // 196, minlength=8) / sum(map(len, ids))
        for ids in ([mask.context for mask in masks], [mask.targets for mask in masks])
    )
    if policy == "budget":
        assert np.abs(context - 0.125).max() < 0.01
        assert np.abs(targets - 0.125).max() < 0.01
    else:
        assert 0.01 < targets[-1] < 0.06
        assert context[0] > 0.25
        assert (np.diff(context) <= 0).all()


@pytest.mark.parametrize(("group_size", "kind"), [(1, 0), (8, 1), (24, 0), (24, 1)])
def test_counts_are_the_expected_ones(group_size: int, kind: int) -> None:
    """Against groups that the masker really draws, within four standard errors and rounding."""
    config = replace(VJEPA, group_size=group_size)
    masker = list(build_mask_sampler(config, GRID, 0).maskers.values())[kind]
    num_groups = 300
    drawn = np.array(
        [
            (len(mask.context), len(mask.targets))
            for mask in (masker.draw(9, 0, group * group_size, "x") for group in range(num_groups))
        ]
    )
    tolerance = 4 * drawn.std(axis=0) * math.sqrt(1 / num_groups + 1 / 250) + 0.5
    assert (tolerance < 0.1 * math.prod(GRID)).all()
    assert (np.abs(drawn.mean(axis=0) - masker.counts) < tolerance).all()


def test_the_expected_counts_of_24_clips_are_the_default_budgets() -> None:
    budget = resolve_masks(MultiblockConfig(), (8, 7, 7))
    assert (
        build_mask_sampler(VJEPA, (8, 7, 7), 0).counts
        == build_mask_sampler(budget, (8, 7, 7), 0).counts
        == ((81, 190), (35, 270))
    )


def test_context_in_early_steps_only() -> None:
    early = replace(LONG, max_temporal_keep=0.5)
    masker = BatchMinMasker(GRID, early, ASPECT, 6)
    whole = BatchMinMasker(GRID, LONG, ASPECT, 6)
    for position in range(12):
        mask = masker.draw(0, 0, position, "long")
        assert mask.context[-1] < 4 * 42
        assert len(mask.context) <= len(whole.draw(0, 0, position, "long").context)
    context, targets = truncated_means(GRID, early, ASPECT, group_size=6)
    assert context < whole.counts[0]
    assert targets > whole.counts[1]


def test_blocks_that_leave_no_context_are_refused() -> None:
    covering = replace(
        VJEPA, aspect_ratio=(1.0, 1.0), long=BlocksConfig(num_blocks=1, spatial_scale=1.0)
    )
    with pytest.raises(ConfigError) as caught:
        resolve_masks(covering, (2, 4, 4), flag="student.masks")
    assert caught.value.problems == [
        "student.masks.long: the aspect ratios allow a block of (2, 4, 4) tokens, which covers the "
        "whole grid (2, 4, 4); lower --student.masks.long.spatial-scale, or take a larger "
        "--clip.size or a smaller --student.encoder.tubelet"
    ]
    assert resolve_masks(VJEPA, (2, 4, 4)) is VJEPA


def test_the_problems_of_all_kinds_are_told_with_the_flags_that_help() -> None:
    many = BlocksConfig(num_blocks=60, spatial_scale=0.6, temporal_scale=0.5)
    early = replace(many, num_blocks=1, spatial_scale=1.0, max_temporal_keep=0.5)
    config = replace(VJEPA, aspect_ratio=(1.0, 1.0), short=many, long=early)
    with pytest.raises(ConfigError) as caught:
        resolve_masks(config, (2, 4, 4))
    assert caught.value.problems[0] == (
        "masks.short: 60 blocks of (1, 3, 3) tokens cover the whole grid (2, 4, 4) in nearly every "
        "draw; lower --masks.short.num-blocks or --masks.short.spatial-scale, or take a larger "
        "--clip.size or a smaller --encoder.tubelet"
    )
    # A block covers one of the two steps, so half of the draws leave the step of the context.
    assert len(caught.value.problems) == 1
    early = replace(early, num_blocks=40)
    with pytest.raises(ConfigError) as caught:
        resolve_masks(replace(config, long=early), (2, 4, 4))
    short, long = caught.value.problems
    assert "or raise --masks.long.max-temporal-keep, or take" in long
    assert "max-temporal-keep" not in short


def possible_sizes(
    grid: Grid, scale: float, low: Fraction, high: Fraction
) -> dict[tuple[int, int], bool]:
    """Sizes by exact intervals of the aspect ratio, and whether more than one ratio gives them."""
    _, height, width = grid
    area = math.floor(height * width * scale)
    half = Fraction(1, 2)
    found = {}
    for h, w in itertools.product(range(1, height + 1), range(1, width + 1)):
        bounds = [low, high]
        if area == 0 and (h, w) != (1, 1):
            continue
        if area:
            # round(sqrt(area a)) is h from (h - 1/2)^2 / area on; 1 also below, the side also above
            first = [(h - half) ** 2 / area if h > 1 else low]
            last = [(h + half) ** 2 / area if h < height else high]
            first.append(area / (w + half) ** 2 if w < width else low)
            last.append(area / (w - half) ** 2 if w > 1 else high)
            bounds = [max(low, *first), min(high, *last)]
        if bounds[0] <= bounds[1]:
            found[h, w] = bounds[0] < bounds[1]
    return found


@pytest.mark.parametrize("scale", [0.01, 0.15, 0.7, 0.96146, 1.0])
@pytest.mark.parametrize("grid", [(8, 14, 14), (2, 24, 16), (3, 5, 2), (1, 1, 1)])
@pytest.mark.parametrize("aspect", [(0.75, 1.5), (0.01, 30.0), (1.0, 1.0)])
def test_all_sizes_of_blocks_are_found(
    grid: Grid, scale: float, aspect: tuple[float, float]
) -> None:
    blocks = BlocksConfig(num_blocks=1, spatial_scale=scale, temporal_scale=0.4)
    exact = possible_sizes(grid, scale, Fraction(aspect[0]), Fraction(aspect[1]))
    sizes = block_sizes(grid, blocks, aspect)
    assert sizes == sorted(set(sizes))
    assert {size[0] for size in sizes} == {max(1, 4 * grid[0] // 10)}
    found = {size[1:] for size in sizes}
    assert found <= set(exact)
    assert found >= {size for size, is_wide in exact.items() if is_wide}
    assert found


def test_a_rare_block_that_covers_the_grid_is_refused_at_the_start() -> None:
    """Few aspect ratios give it, so a run would meet it at a late step only."""
    grid, blocks = (2, 24, 16), BlocksConfig(num_blocks=1, spatial_scale=0.96146)
    with pytest.raises(ConfigError, match=r"masks\.long: .* covers the whole grid \(2, 24, 16\)"):
        resolve_masks(replace(VJEPA, long=blocks), grid)
    truncated_means(grid, blocks, ASPECT)  # does not meet it in 250 groups
    with pytest.raises(NoContextError, match="covers the whole grid"):
        BatchMinMasker(grid, blocks, (1.5, 1.5), 24).draw(0, 0, 0, "long")


def test_settings_that_have_no_meaning_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        replace(VJEPA, group_size=0, long=replace(LONG, num_targets=20))
    assert caught.value.problems == [
        "masks.group-size is 0; it must be at least 1",
        "masks.long.num-targets is 20, but with --masks.policy batch_min the group decides; "
        "set it to None, or --masks.policy budget",
    ]
