"""Which clip comes when: counts against exact arithmetic, passes, independence of the caller."""

import math
import pickle
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsalt.data.order import Order, OrderSource


def sources_of(sizes, shares=None):
    starts = np.cumsum([0, *sizes])
    return [
        OrderSource(
            rows=np.arange(starts[i], starts[i + 1]),
            share=Fraction(shares[i] if shares else sizes[i]),
        )
        for i in range(len(sizes))
    ]


def rows_of(order, num_slots, batch_size):
    return [
        order.row(step=slot // batch_size, position=slot % batch_size, batch_size=batch_size)
        for slot in range(num_slots)
    ]


sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@given(sizes=sizes, seed=st.integers(0, 2**31), batch_size=st.integers(1, 17))
@settings(max_examples=60)
def test_by_default_every_clip_comes_once_per_pass(sizes, seed, batch_size):
    order = Order(seed=seed, sources=sources_of(sizes))
    total = sum(sizes)
    rows = rows_of(order, 3 * total, batch_size)
    for turn in range(3):
        assert sorted(rows[turn * total : (turn + 1) * total]) == list(range(total))


@given(
    shares=st.lists(
        st.fractions(min_value=Fraction(1, 20), max_value=50, max_denominator=20),
        min_size=1,
        max_size=7,
    ),
    start=st.integers(0, 10**9),
    length=st.integers(1, 300),
)
@settings(max_examples=100)
def test_any_stretch_has_its_shares(shares, start, length):
    order = Order(seed=0, sources=sources_of([3] * len(shares), shares))
    counts = Counter(
        order.locate(step=slot, position=0, batch_size=1)[0]
        for slot in range(start, start + length)
    )
    bound = max(math.ceil(math.log2(len(shares))), Fraction(1, 10**9))
    for source, share in enumerate(shares):
        assert abs(counts[source] - share / sum(shares) * length) < bound


@given(shares=st.lists(st.integers(1, 30), min_size=1, max_size=6))
@settings(max_examples=50)
def test_counts_are_those_of_counting(shares):
    order = Order(seed=0, sources=sources_of([2] * len(shares), shares))
    seen: Counter[int] = Counter()
    for slot in range(2 * sum(shares)):
        source, index = order.locate(step=slot, position=0, batch_size=1)
        assert index == seen[source]
        seen[source] += 1
    assert [seen[i] for i in range(len(shares))] == [2 * share for share in shares]


def test_rows_do_not_depend_on_the_order_of_the_questions():
    sources = sources_of([7, 11, 4], [1, 2, 3])
    expected = rows_of(Order(seed=5, sources=sources), 400, 6)
    other = pickle.loads(pickle.dumps(Order(seed=5, sources=sources)))
    for slot in np.random.default_rng(0).permutation(400).tolist():
        assert other.row(step=slot // 6, position=slot % 6, batch_size=6) == expected[slot]


def test_the_batch_size_only_cuts_the_sequence():
    order = Order(seed=5, sources=sources_of([7, 11], [1, 2]))
    assert rows_of(order, 120, 4) == rows_of(order, 120, 24)


def test_seeds_and_passes_differ():
    first = rows_of(Order(seed=0, sources=sources_of([50])), 100, 10)
    second = rows_of(Order(seed=1, sources=sources_of([50])), 100, 10)
    assert first != second
    assert first[:50] != first[50:]


def test_weights_give_their_frequencies():
    weights = np.array([0.0, 1.0, 2.0, 5.0, 0.0])
    source = OrderSource(rows=np.arange(10, 15), share=Fraction(1), weights=weights)
    counts = Counter(rows_of(Order(seed=0, sources=[source]), 8000, 8))
    assert set(counts) == {11, 12, 13}
    for row, weight in ((11, 1), (12, 2), (13, 5)):
        expected = 8000 * weight / 8
        # Five standard deviations of the binomial distribution.
        assert abs(counts[row] - expected) < 5 * math.sqrt(expected * (1 - weight / 8))


def test_replacements_are_uniform_within_the_source_and_fixed():
    order = Order(seed=0, sources=sources_of([20, 30], [1, 1]))
    for slot in range(40):
        step, position = divmod(slot, 8)
        low, high = ((0, 20), (20, 50))[order.locate(step=step, position=position, batch_size=8)[0]]
        drawn = [
            order.row(step=step, position=position, batch_size=8, attempt=attempt)
            for attempt in range(1, 200)
        ]
        assert all(low <= row < high for row in drawn)
        assert len(set(drawn)) >= 0.9 * (high - low)
        again = Order(seed=0, sources=sources_of([20, 30], [1, 1]))
        assert again.row(step=step, position=position, batch_size=8, attempt=7) == drawn[6]


def test_without_images_rows_are_what_they_were_before_there_were_any():
    """Numbers of the code that knew videos only; a run that was begun with it must go on alike."""
    sources = sources_of([7, 11, 4], [1, 2, 3])
    sources[2] = replace(sources[2], weights=np.array([1.0, 2.0, 3.0, 0.0]))
    order = Order(seed=5, sources=sources)
    first = [20, 19, 9, 19, 14, 5, 20, 20, 15, 20, 11, 3, 20, 20, 10, 20, 12, 2, 18, 20, 13, 20]
    assert rows_of(order, 22, 6) == first
    images = Order(seed=5, sources=[replace(source, shape="image") for source in sources])
    assert rows_of(images, 22, 6) == first
    replacements = [
        order.row(step=slot // 6, position=slot % 6, batch_size=6, attempt=2) for slot in range(12)
    ]
    assert replacements == [20, 20, 12, 20, 9, 6, 18, 20, 11, 19, 11, 0]


@given(
    video_shares=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    image_shares=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    batch_size=st.integers(1, 9),
)
@settings(max_examples=40)
def test_steps_of_a_shape_are_a_run_of_its_sources_alone(video_shares, image_shares, batch_size):
    shapes = ["video"] * len(video_shares) + ["image"] * len(image_shares)
    sources = [
        replace(source, shape=shape)
        for source, shape in zip(
            sources_of([5] * len(shapes), [*video_shares, *image_shares]), shapes, strict=True
        )
    ]
    mixed = Order(seed=2, sources=sources)
    alone = {"video": Order(seed=2, sources=sources[: len(video_shares)])}
    alone["image"] = Order(seed=2, sources=sources[len(video_shares) :])
    done = {"video": 0, "image": 0}
    for step in range(30):
        shape = mixed.shapes.at(step)
        first = 0 if shape == "video" else len(video_shares)
        for position in range(batch_size):
            place = {"position": position, "batch_size": batch_size}
            source, index = alone[shape].locate(step=done[shape], **place)
            assert mixed.locate(step=step, **place) == (first + source, index)
            if shape == "video":
                row = alone[shape].row(step=done[shape], **place)
                assert mixed.row(step=step, **place) == row
        done[shape] += 1
    assert done["image"] == 30 * sum(image_shares) // sum(image_shares + video_shares)


def test_impossible_sources():
    with pytest.raises(ValueError, match="share above 0"):
        Order(seed=0, sources=[])
    with pytest.raises(ValueError, match="share above 0"):
        Order(seed=0, sources=sources_of([3, 2], [1, 0]))
    source = OrderSource(rows=np.arange(2), share=Fraction(1), weights=np.zeros(2))
    with pytest.raises(ValueError, match="weights"):
        Order(seed=0, sources=[source])
