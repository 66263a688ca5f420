"""Tube, random and causal masks: what they keep, how evenly, and what is refused."""

import math
from fractions import Fraction

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.masking.config import CausalConfig, RandomConfig, RatioConfig, TubeConfig, num_kept
from vsalt.masking.ratio import build_ratio_masker
from vsalt.masking.sampler import build_mask_sampler, resolve_masks

GRID = (8, 7, 9)
NUM_PLACES, NUM_TOKENS = 63, 504
FAMILIES: list[type[RatioConfig]] = [TubeConfig, RandomConfig, CausalConfig]


@pytest.mark.parametrize(
    ("num_items", "ratio", "kept"),
    [
        (100, 0.9, 10),  # 100 * (1 - 0.9) is 9.999999999999998
        (196, 0.9, 19),  # V-JEPA's tubes at 224 pixels
        (1568, 0.9, 156),
        (100, 0.93, 7),  # 100 - ceil(100 * 0.93) is 6
        (30, 0.3, 21),
        (10, 0.95, 0),
        (1000, 1e-6, 999),
    ],
)
def test_the_kept_number_is_exact(num_items: int, ratio: float, kept: int) -> None:
    assert num_kept(num_items, ratio) == kept


def test_the_kept_number_is_that_of_whole_number_arithmetic() -> None:
    for percent in range(1, 100):
        for num_items in (16, 49, 100, 196, 1568):
            expected = num_items * (100 - percent) // 100
            assert num_kept(num_items, percent / 100) == expected
            assert num_kept(num_items, float(Fraction(percent, 100))) == expected


def test_tubes_hide_the_same_places_at_all_times() -> None:
    masker = build_ratio_masker(TubeConfig(), GRID)
    assert masker.counts == (8 * 6, 8 * 57)
    for position in range(50):
        mask = masker.draw(0, 0, position, "tube_1")
        seen = np.zeros(NUM_TOKENS, dtype=bool)
        seen[mask.context] = True
        frames = seen.reshape(8, NUM_PLACES)
        assert frames[0].sum() == 6
        assert (frames == frames[0]).all()


@pytest.mark.parametrize(
    ("ratio", "whole_steps", "rest"),
    [(0.9, 0, 50), (0.8, 1, 37), (0.5, 4, 0), (0.001, 7, 62)],
)
def test_causal_masks_see_the_beginning(ratio: float, whole_steps: int, rest: int) -> None:
    masker = build_ratio_masker(CausalConfig(ratio=ratio), GRID)
    first = whole_steps * NUM_PLACES
    assert masker.counts == (first + rest, NUM_TOKENS - first - rest)
    partly = set()
    for position in range(20):
        mask = masker.draw(0, 0, position, "causal_1")
        assert mask.context[:first].tolist() == list(range(first))
        drawn = mask.context[first:]
        assert len(drawn) == rest
        assert ((first <= drawn) & (drawn < first + NUM_PLACES)).all()
        partly.add(tuple(drawn.tolist()))
    assert len(partly) == 1 if rest == 0 else len(partly) > 10


def chi_square(counts: np.ndarray, num_draws: int, num_kept: int) -> float:
    """Of how often each of n items was among the k kept: n - 1 degrees of freedom.

    A count has variance m (k / n) (1 - k / n), and the counts of a draw add up to k.
    """
    n, share = len(counts), num_kept / len(counts)
    scale = num_draws * share * (1 - share) * n / (n - 1)
    return float(((counts - num_draws * share) ** 2).sum() / scale)


@pytest.mark.parametrize(
    ("config", "num_items", "kept", "bound"),
    [
        (TubeConfig(ratio=0.7), 63, 18, 103.4),
        (CausalConfig(ratio=0.97), 63, 15, 103.4),
        (RandomConfig(ratio=0.7), 504, 151, 606.4),
    ],
    ids=["tube", "causal", "random"],
)
def test_items_are_kept_equally_often(
    config: RatioConfig, num_items: int, kept: int, bound: float
) -> None:
    """Chi-square exceeds the bound once in 1000: 103.4 at 62, 606.4 at 503 degrees of freedom."""
    masker = build_ratio_masker(config, GRID)
    counts = np.zeros(NUM_TOKENS)
    for position in range(600):
        counts[masker.draw(1, 2, position, "kind").context] += 1
    statistic = chi_square(counts[:num_items], 600, kept)
    assert statistic < bound
    # Counts that are too even would be just as wrong: below 35 (of 62) once in 1000.
    assert statistic > num_items - 1 - (bound - num_items + 1)


def test_pairs_of_places_are_kept_equally_often() -> None:
    """A tube mask that moved a fixed pattern about would pass the test of single places."""
    masker = build_ratio_masker(TubeConfig(ratio=0.5), (1, 2, 3))
    pairs: dict[tuple[int, ...], int] = {}
    for position in range(2000):
        mask = tuple(masker.draw(0, 0, position, "kind").context.tolist())
        pairs[mask] = pairs.get(mask, 0) + 1
    assert len(pairs) == math.comb(6, 3)
    # 20 subsets; chi-square with 19 degrees of freedom exceeds 43.8 once in 1000
    assert sum((count - 100) ** 2 / 100 for count in pairs.values()) < 43.8


@pytest.mark.parametrize("family", FAMILIES)
def test_several_masks_of_a_clip_are_drawn_apart(family: type[RatioConfig]) -> None:
    config = family(ratio=0.91, num_masks=3)
    assert config.kind_names == tuple(f"{config.name}_{i}" for i in (1, 2, 3))
    masks = build_mask_sampler(config, GRID, 5)(3, 1)
    assert len({mask.context.tobytes() for mask in masks}) == 3
    # The first of them is the one that a single mask is.
    (single,) = build_mask_sampler(family(ratio=0.91), GRID, 5)(3, 1)
    np.testing.assert_array_equal(single.context, masks[0].context)


@pytest.mark.parametrize(
    ("config", "said", "advice"),
    [
        (TubeConfig(ratio=0.95), "leaves no context of 12 places of a frame", 0.9166),
        (RandomConfig(ratio=0.98), "leaves no context of 24 tokens of a clip", 0.9583),
        (CausalConfig(ratio=0.98), "leaves no context of 24 tokens of a clip", 0.9583),
    ],
)
def test_ratios_that_keep_nothing_are_refused(
    config: RatioConfig, said: str, advice: float
) -> None:
    grid = (2, 3, 4)
    with pytest.raises(ConfigError, match=said) as caught:
        resolve_masks(config, grid, flag="teacher.masks")
    (problem,) = caught.value.problems
    assert problem.startswith(f"teacher.masks.ratio is {config.ratio}, which")
    assert f"--teacher.masks.ratio {advice} or less" in problem
    followed = type(config)(ratio=advice)
    assert resolve_masks(followed, grid) is followed
    assert build_mask_sampler(followed, grid, 0).counts[0][0] >= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_one_item_cannot_be_both_seen_and_predicted(family: type[RatioConfig]) -> None:
    grid, what = ((3, 1, 1), "places of a frame") if family is TubeConfig else ((1, 1, 1), "tokens")
    with pytest.raises(ConfigError) as caught:
        resolve_masks(family(ratio=0.01), grid, flag="teacher.masks")
    (problem,) = caught.value.problems
    assert problem.startswith(f"teacher.masks: {family().name} masks need at least 2 {what}")
    assert problem.endswith("take a larger --clip.size or a smaller --teacher.encoder.tubelet")
    assert "--teacher.masks" not in problem
    larger = (3, 1, 2) if family is TubeConfig else (1, 1, 2)
    assert resolve_masks(family(ratio=0.5), larger) == family(ratio=0.5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, float("nan")])
def test_a_ratio_hides_something_and_not_everything(
    family: type[RatioConfig], ratio: float
) -> None:
    with pytest.raises(ConfigError) as caught:
        family(ratio=ratio, num_masks=0)
    ratio_problem, num_problem = caught.value.problems
    assert ratio_problem.startswith(f"masks.ratio is {ratio}; it must be above 0")
    assert num_problem == "masks.num-masks is 0; it must be at least 1"


@pytest.mark.parametrize(
    ("family", "first"),
    [
        (TubeConfig, [20, 21, 23, 33, 62, 63]),
        (RandomConfig, [10, 13, 33, 49, 64, 77]),
        (CausalConfig, [0, 1, 3, 5, 7, 8]),
    ],
)
def test_the_first_mask_of_a_run_stays_what_it_is(
    family: type[RatioConfig], first: list[int]
) -> None:
    """Pinned: another key or another order of draws changes every run that can be resumed."""
    (mask,) = build_mask_sampler(family(), (8, 7, 6), 0)(0, 0)
    assert mask.context[:6].tolist() == first
