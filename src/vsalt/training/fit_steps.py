"""Which numbers of steps a budget pays: whole numbers, exact costs."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

from vsalt.training.lengths import scaled

Amount: TypeAlias = int | Fraction
Cost: TypeAlias = Callable[[int], Amount]
"""What the first n steps of a stage cost; it never falls as n grows."""


def largest(cost: Cost, limit: Amount, start: int = 0) -> int:
    """Return the largest n with `cost(n) <= limit`, given that `start` is one such n.

    Every step costs something, so doubling finds an n that is too large.
    """
    step = 1
    while cost(start + step) <= limit:
        step *= 2
    low, high = start, start + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= limit else (low, middle)
    return low


def fit_ratio(costs: Sequence[Cost], lengths: Sequence[int], budget: Amount) -> list[int] | None:
    """Return numbers of steps in the ratio of `lengths`, rounded, that cost as much as is allowed.

    The last stage's number is the largest with which all together fit, the others follow; then
    stages get single steps, the last stage first, for as long as one fits. Stages of length 0
    stay so, all others get at least one step.

    Returns:
        The numbers, or None if one step of each stage is too much.
    """
    trained = [index for index, length in enumerate(lengths) if length]
    if not trained:
        return None
    last = trained[-1]

    def at(number: int) -> list[int]:
        return [
            scaled(length, Fraction(number, lengths[last])) if length else 0 for length in lengths
        ]

    if _total(costs, at(1)) > budget:
        # The ratio asks for more than one step of an earlier stage; equal ones may yet fit.
        return fill_up(costs, [int(length > 0) for length in lengths], budget)
    number = largest(lambda count: _total(costs, at(count)), budget, start=1)
    return fill_up(costs, at(number), budget)


def fit_shares(costs: Sequence[Cost], shares: Sequence[Fraction], budget: Amount) -> list[int]:
    """Return for each stage the largest number of steps that its share of the budget pays."""
    whole = sum(shares)
    return [
        largest(cost, budget * share / whole) if share else 0
        for cost, share in zip(costs, shares, strict=True)
    ]


def fill_up(costs: Sequence[Cost], steps: Sequence[int], budget: Amount) -> list[int] | None:
    """Give stages, the last one first, the steps that still fit; None if these already do not."""
    result = list(steps)
    if _total(costs, result) > budget:
        return None
    for index in reversed(range(len(result))):
        if result[index]:
            left = budget - _total(costs, result) + costs[index](result[index])
            result[index] = largest(costs[index], left, start=result[index])
    return result


def _total(costs: Sequence[Cost], steps: Sequence[int]) -> Amount:
    return sum(cost(number) for cost, number in zip(costs, steps, strict=True))
