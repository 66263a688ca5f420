"""How far a budget is from what was measured, and the split that table 16 found best."""

from itertools import pairwise

import pytest

from vsalt.compute.findings import FINDINGS, teacher_steps


@pytest.mark.parametrize(
    ("flops", "words"),
    [
        (1e12, "10^9 times below the least measured (4.8e+20 FLOPs by 6ND)"),
        (4.79e18, "100 times below the least measured (4.8e+20 FLOPs by 6ND)"),
        (2e20, "2.4 times below the least measured (4.8e+20 FLOPs by 6ND)"),
        (4.65e20, "1.03 times below the least measured (4.8e+20 FLOPs by 6ND)"),
        (4.79e20, "within what was measured"),
        (2.617e21, "within what was measured"),
        (2.617e22, "10 times above the most measured (2.6e+21 FLOPs by 6ND)"),
    ],
)
def test_words_about_a_distance(flops: float, words: str) -> None:
    assert FINDINGS["budget"].distance(flops) == words


@pytest.mark.parametrize(("total", "best"), [(120, 40), (160, 40), (240, 40), (60, 20), (480, 80)])
def test_the_best_split_of_table_16(total: int, best: int) -> None:
    """At 120, 160 and 240 thousand steps a 40k teacher; the shares of both ends beyond them."""
    assert teacher_steps(total * 1000, 3072) == best * 1000
    # In clips: with batches of half the size it takes twice the steps.
    assert teacher_steps(total * 2000, 1536) == best * 2000


def test_every_stage_gets_a_step_and_more_steps_take_none_away() -> None:
    splits = [teacher_steps(steps, 8) for steps in range(2, 400)]
    assert all(1 <= first < steps for steps, first in enumerate(splits, start=2))
    assert all(later - first in (0, 1) for first, later in pairwise(splits))
