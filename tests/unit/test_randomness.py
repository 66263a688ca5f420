"""Keyed random numbers: pinned values, independence of keys, fair permutations."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from vsalt.randomness import keyed_generator, keyed_int, keyed_permutation


def test_integers_are_blake2b_of_the_key() -> None:
    digest = hashlib.blake2b(b"('mask', 3, 0, 1.5)", digest_size=8).digest()
    assert keyed_int("mask", 3, 0, 1.5) == int.from_bytes(digest, "little")
    digest = hashlib.blake2b(b"('mask',)", digest_size=16).digest()
    assert keyed_int("mask", bits=128) == int.from_bytes(digest, "little")


def test_pinned_draws() -> None:
    """Computed once: another hash, key layout or generator changes every run."""
    assert keyed_int("a", 1) == 12444202034427101082
    assert keyed_generator("a", 1).integers(0, 1000, 5).tolist() == [625, 846, 893, 96, 136]
    expected = [0.8469466226235339, 0.09664793985278342, 0.31635222750160086]
    assert keyed_generator("a", 1).uniform(size=3).tolist() == expected
    assert keyed_permutation(8, "a", 1).tolist() == [7, 4, 1, 3, 2, 5, 6, 0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", 1), ("a1",)),
        (("a", 1), ("a", "1")),
        (("a", 1), ("a", 1.0)),
        (("a", "b"), ("ab",)),
        (("a", "b"), ("a", "b", "")),
        (("a', 'b",), ("a", "b")),
        ((1, 23), (12, 3)),
        ((0,), (-0.0,)),
        ((), ("",)),
    ],
)
def test_different_keys_give_different_numbers(one: tuple, other: tuple) -> None:
    assert keyed_int(*one) != keyed_int(*other)
    first, second = keyed_generator(*one).random(4), keyed_generator(*other).random(4)
    assert (first != second).all()


def test_one_key_gives_the_same_numbers_in_any_order() -> None:
    keys = [(name, i) for name in ("a", "b") for i in range(20)]
    forward = {key: keyed_generator(*key).random() for key in keys}
    backward = {key: keyed_generator(*key).random() for key in reversed(keys)}
    assert forward == backward
    assert len(set(forward.values())) == len(keys)


def test_numbers_over_consecutive_keys_are_uniform_and_uncorrelated() -> None:
    draws = np.array([keyed_generator("step", i).random(2) for i in range(2000)])
    counts, _ = np.histogram(draws[:, 0], bins=20, range=(0, 1))
    # Chi-square with 19 degrees of freedom exceeds 43.8 once in 1000.
    assert ((counts - 100) ** 2 / 100).sum() < 43.8
    for a, b in ((draws[:-1, 0], draws[1:, 0]), (draws[:, 0], draws[:, 1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(2000)


def test_permutations_are_permutations() -> None:
    for size in (0, 1, 2, 17, 1000):
        order = keyed_permutation(size, "order", size)
        assert order.dtype == np.int64
        assert sorted(order.tolist()) == list(range(size))
    assert keyed_permutation(50, "a").tolist() == keyed_permutation(50, "a").tolist()
    assert keyed_permutation(50, "a").tolist() != keyed_permutation(50, "b").tolist()


def test_permutations_are_equally_likely() -> None:
    counts = Counter(tuple(keyed_permutation(4, "order", i).tolist()) for i in range(4800))
    assert set(counts) == set(itertools.permutations(range(4)))
    # 24 permutations; chi-square with 23 degrees of freedom exceeds 49.7 once in 1000.
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 49.7


def test_permutations_sort_raw_words() -> None:
    """Philox's raw words are the part of numpy's streams that is promised to stay."""
    words = np.random.Philox(key=keyed_int("order", bits=128)).random_raw(100)
    expected = [int(i) for _, i in sorted((word, i) for i, word in enumerate(words))]
    assert keyed_permutation(100, "order").tolist() == expected
