"""What the loader calls: keys, independence of the kinds, pickling."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from vsalt.masking.config import MASKS, BlocksConfig, MultiblockConfig, Policy
from vsalt.masking.sampler import Masker, build_mask_sampler, resolve_masks

BLOCKS = BlocksConfig(num_blocks=2, spatial_scale=0.3, num_context=60, num_targets=90)
GRID = (4, 6, 8)


def test_masks_are_functions_of_seed_step_position_and_kind() -> None:
    config = MultiblockConfig(short=BLOCKS, long=BLOCKS)
    draw, other = build_mask_sampler(config, GRID, 3), build_mask_sampler(config, GRID, 4)
    places = [(step, position) for step in range(5) for position in range(6)]
    seen = [mask.targets.tobytes() for place in places for mask in draw(*place)]
    seen += [mask.targets.tobytes() for place in places for mask in other(*place)]
    assert len(set(seen)) == 2 * 2 * len(places)

    copy = pickle.loads(pickle.dumps(draw))
    for place in reversed(places):
        for mine, theirs in zip(draw(*place), copy(*place), strict=True):
            np.testing.assert_array_equal(mine.context, theirs.context)
            np.testing.assert_array_equal(mine.targets, theirs.targets)


def test_one_kinds_settings_do_not_change_the_other() -> None:
    config = MultiblockConfig(short=BLOCKS, long=BLOCKS)
    changed = replace(config, short=replace(BLOCKS, num_blocks=3, num_context=40))
    for position in range(5):
        _, long = build_mask_sampler(config, GRID, 0)(7, position)
        _, same = build_mask_sampler(changed, GRID, 0)(7, position)
        np.testing.assert_array_equal(long.targets, same.targets)
        np.testing.assert_array_equal(long.context, same.context)


def test_kinds_are_drawn_independently() -> None:
    """Two kinds of one configuration overlap as much as masks of different clips do."""
    draw = build_mask_sampler(MultiblockConfig(short=BLOCKS, long=BLOCKS), GRID, 0)
    pairs = [draw(0, position) for position in range(400)]
    same = [len(np.intersect1d(one.targets, two.targets)) for one, two in pairs]
    apart = [
        len(np.intersect1d(one.targets, pairs[i - 1][1].targets))
        for i, (one, _) in enumerate(pairs)
    ]
    deviation = np.std(apart) * np.sqrt(2 / 400)
    assert abs(np.mean(same) - np.mean(apart)) < 4 * deviation


@pytest.mark.parametrize("policy", ["budget", "batch_min"])
def test_further_pairs_leave_the_first_as_it_was(policy: Policy) -> None:
    blocks = BLOCKS if policy == "budget" else replace(BLOCKS, num_context=None, num_targets=None)
    one = MultiblockConfig(policy=policy, group_size=3, short=blocks, long=blocks)
    three = replace(one, num_pairs=3)
    assert three.kind_names == ("short", "long", "short_2", "long_2", "short_3", "long_3")
    few, many = (build_mask_sampler(config, GRID, 0) for config in (one, three))
    assert many.counts == 3 * few.counts
    drawn = [(few(2, position), many(2, position)) for position in range(12)]
    for first, all_masks in drawn:
        for mine, theirs in zip(first, all_masks, strict=False):
            np.testing.assert_array_equal(mine.targets, theirs.targets)
    # On a grid this small two masks of many are the same by chance.
    different = {mask.targets.tobytes() for _, all_masks in drawn for mask in all_masks}
    assert len(different) > 0.9 * 6 * len(drawn)


def test_counts_are_those_of_the_masks() -> None:
    short = replace(BLOCKS, num_context=50)
    draw = build_mask_sampler(MultiblockConfig(short=short, long=BLOCKS), GRID, 0)
    drawn = tuple((len(mask.context), len(mask.targets)) for mask in draw(0, 0))
    assert draw.counts == drawn == ((50, 90), (60, 90))


def test_the_first_mask_of_a_run_stays_what_it_is() -> None:
    """Pinned: another key or another order of draws changes every run that can be resumed."""
    draw = build_mask_sampler(MultiblockConfig(short=BLOCKS, long=BLOCKS), GRID, 0)
    short, long = draw(0, 0)
    assert short.context[:6].tolist() == [0, 1, 2, 9, 15, 18]
    assert short.targets[:6].tolist() == [5, 11, 12, 19, 20, 21]
    assert long.targets[-6:].tolist() == [174, 178, 179, 180, 181, 182]


@pytest.mark.parametrize("name", MASKS)
def test_every_family_gives_maskers_that_loader_processes_can_hold(name: str) -> None:
    grid = (4, 5, 7)
    config = resolve_masks(MASKS[name](), grid)
    assert config.name == name
    draw = build_mask_sampler(config, grid, 11)
    assert tuple(draw.maskers) == config.kind_names
    for masker in draw.maskers.values():
        assert isinstance(masker, Masker)
    drawn = draw(4, 2)
    assert tuple((len(mask.context), len(mask.targets)) for mask in drawn) == draw.counts
    for mask, again in zip(drawn, pickle.loads(pickle.dumps(draw))(4, 2), strict=True):
        np.testing.assert_array_equal(mask.context, again.context)
        np.testing.assert_array_equal(mask.targets, again.targets)
