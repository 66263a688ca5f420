"""Half the targets: how many, which, by which key; and that a share of 1 changes nothing."""

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalt.errors import ConfigError
from vsalt.masking.config import (
    MASKS,
    BlocksConfig,
    CausalConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.masking.fewer_targets import num_predicted, running_cell
from vsalt.masking.sampler import build_mask_sampler

GRID = (4, 6, 8)
BLOCKS = BlocksConfig(num_blocks=2, spatial_scale=0.3, num_context=60, num_targets=90)
GROUPED = replace(BLOCKS, num_context=None, num_targets=None)
FAMILIES: dict[str, Any] = {
    "budget": MultiblockConfig(short=BLOCKS, long=replace(BLOCKS, num_targets=61)),
    "batch_min": MultiblockConfig(policy="batch_min", group_size=3, short=GROUPED, long=GROUPED),
    "tube": TubeConfig(ratio=0.75, num_masks=2),
    "random": RandomConfig(ratio=0.9),
    "causal": CausalConfig(ratio=0.6, num_masks=2),
}


def draw(config: Any, seed: int = 3, grid: tuple[int, int, int] = GRID) -> list[Any]:
    sampler = build_mask_sampler(config, grid, seed)
    return [sampler(step, position) for step in range(3) for position in range(6)]


def test_the_running_cell_is_videomae_v2s() -> None:
    """Numbers of its `RunningCellMaskingGenerator`, which marks what is not decoded by 1."""
    hidden = ~running_cell((4, 4, 4), 0.5, phase=0)
    first = ["".join(str(int(x)) for x in step.ravel()[:6]) for step in hidden]
    assert first == ["101001", "000011", "010110", "111100"]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_running_cell_is_even_over_space_and_time(share: float) -> None:
    cells = np.stack([running_cell((8, 6, 4), share, phase) for phase in range(4)])
    blocks = cells.reshape(4, 8, 3, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
    assert (blocks.sum(axis=(-1, -2)) == 4 * share).all()
    # Every place is decoded at as many of any four steps, and in as many phases.
    assert (cells[:, :4].sum(axis=1) == 4 * share).all()
    assert (cells.sum(axis=0) == 4 * share).all()
    assert running_cell((3, 5, 7), share, 1).shape == (3, 5, 7)


# SHA-256 of all ids of 18 draws, as they were before targets could be left out.
BEFORE = {
    "budget": "8784d81fbd7f0295",
    "batch_min": "098e523da55d3a1c",
    "tube": "34387c23aa872f30",
    "random": "43c8fbc6325c616d",
    "causal": "ccbab73671290056",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_share_of_1_changes_no_byte(family: str) -> None:
    digest = hashlib.sha256()
    for kinds in draw(replace(FAMILIES[family], target_share=1.0)):
        for mask in kinds:
            digest.update(mask.context.astype("<i8").tobytes())
            digest.update(mask.targets.astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == BEFORE[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("share", "choice"), [(0.5, "random"), (0.3, "random"), (0.5, "running_cell")]
)
def test_a_part_of_the_targets_is_kept_and_all_of_the_context(
    family: str, share: float, choice: str
) -> None:
    whole = FAMILIES[family]
    fewer = replace(whole, target_share=share, target_choice=choice)
    for before, after in zip(draw(whole), draw(fewer), strict=True):
        for one, two in zip(before, after, strict=True):
            np.testing.assert_array_equal(one.context, two.context)
            assert set(two.targets) < set(one.targets)
            assert len(two.targets) == max(1, round(share * len(one.targets)))
            assert (np.diff(two.targets) > 0).all()
    given, kept = (build_mask_sampler(config, GRID, 3).counts for config in (whole, fewer))
    assert kept == tuple((seen, round(share * hidden)) for seen, hidden in given)
    if family != "batch_min":
        drawn = {tuple((len(m.context), len(m.targets)) for m in kinds) for kinds in draw(fewer)}
        assert drawn == {kept}


def test_tokens_of_the_cell_come_first() -> None:
    config = RandomConfig(ratio=0.9, target_share=0.5, target_choice="running_cell")
    cells = [running_cell(GRID, 0.5, phase).ravel() for phase in range(4)]
    phases = set()
    for (whole,), (kept,) in zip(draw(RandomConfig(ratio=0.9)), draw(config), strict=True):
        fits = []
        for phase, cell in enumerate(cells):
            inside = {int(token) for token in whole.targets if cell[token]}
            chosen = set(kept.targets.tolist())
            # All that is kept lies in the cell, or all of the cell is kept.
            fits += [phase] if chosen <= inside or inside <= chosen else []
        assert len(fits) == 1
        phases |= {*fits}
    assert phases == {0, 1, 2, 3}


def test_targets_are_drawn_by_seed_step_position_and_kind() -> None:
    config = TubeConfig(ratio=0.75, num_masks=2, target_share=0.5)
    sampler = build_mask_sampler(config, GRID, 3)
    seen = {mask.targets.tobytes() for kinds in draw(config) for mask in kinds}
    assert len(seen) == 18 * 2
    copy = pickle.loads(pickle.dumps(sampler))
    for one, two in zip(sampler(5, 2), copy(5, 2), strict=True):
        np.testing.assert_array_equal(one.targets, two.targets)
    # Of causal masks the whole targets hardly differ; their halves do.
    ends = draw(CausalConfig(ratio=0.5, target_share=0.5))
    assert len({kinds[0].targets.tobytes() for kinds in ends}) == 18


def test_every_target_is_kept_equally_often() -> None:
    sampler = build_mask_sampler(CausalConfig(ratio=0.5, target_share=0.5), (2, 4, 4), 0)
    num_draws = 800
    counts = np.zeros(32)
    for position in range(num_draws):
        counts[sampler(0, position)[0].targets] += 1
    assert (counts[:16] == 0).all()
    deviations = (counts[16:] - num_draws / 2) / np.sqrt(num_draws / 4)
    assert np.abs(deviations).max() < 4


@given(st.integers(1, 3000), st.floats(0.001, 0.999))
def test_at_least_one_target_is_left(num_targets: int, share: float) -> None:
    kept = num_predicted(num_targets, share)
    assert 1 <= kept <= num_targets
    assert abs(kept - share * num_targets) <= 1


@pytest.mark.parametrize("family", MASKS)
def test_wrong_shares_are_refused_in_every_family(family: str) -> None:
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match=r"target-share is .*above 0 and at most 1"):
            MASKS[family](target_share=share)
    for share in (0.3, 1.0):
        with pytest.raises(ConfigError, match=r"running_cell takes 0\.25, 0\.5, 0\.75 only"):
            MASKS[family](target_share=share, target_choice="running_cell")
