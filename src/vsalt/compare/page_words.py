"""What the page says in sentences: what a data set is, and what was found on it."""

from collections.abc import Sequence

from vsalt.compare.analysis import Accuracy, Difference
from vsalt.compare.results import Results
from vsalt.evaluation.tables import FEW_GROUPS, TOO_FEW_GROUPS
from vsalt.report.numbers import flops, percent, plural

FLOOR_NAMES = {"raw_pixels": "raw pixels", "frame_difference": "frame differences"}
LEAST_USED = 0.98
"""Share of a budget below which it is told how much an arm has used."""
FEW_SEEDS = {
    1: " One seed: how much seeds differ is not in them.",
    2: " Two seeds can agree by chance: where seeds differ more than groups do, an interval holds "
    "the truth in only about 84 % of cases.",
}
"""What intervals do not promise; measured by simulation (tests/unit/compare/test_bootstrap.py)."""
UNCLEAR = "no clear difference"


def arm_name(arm: str) -> str:
    """Return what an arm is called on the page."""
    return FLOOR_NAMES.get(arm, arm)


def about(results: Results, data: str) -> str:
    """Return what a data set is, and how its accuracies came about."""
    seeds = plural(len(results.spec.seeds), "seed")
    trained = results.spec.data_set(data).trained_on
    own = results.sets[data]
    parts = [
        f"{_about_rows(results, data)}, {seeds}; {results.spec.probe.kind} probe; chance "
        f"{percent(results.analysis.chance[data])}.",
        f" Of {own.num_shared} of them the group is trained on, too." if own.num_shared else "",
        f" {own.left_out}." if own.unused else "",
        " Lines and brackets: 95 % intervals by a bootstrap over groups and seeds.",
        FEW_SEEDS.get(len(results.spec.seeds), ""),
        _about_groups(int(results.analysis.groups[data].max()) + 1),
        "" if trained is None else f" Encoders were trained on {trained}.",
    ]
    return "".join(parts)


def _about_rows(results: Results, data: str) -> str:
    groups, own = results.analysis.groups[data], results.sets[data]
    clips = plural(len(groups), "test clip")
    if own.num_groups is not None:
        return f"{clips} in {plural(int(groups.max()) + 1, 'group')}"
    return f"{clips}, no groups given: each counts as independent"


def _about_groups(num_groups: int) -> str:
    """Say what few groups make of an interval, by the rule of `vsalt probe fit`."""
    if num_groups < TOO_FEW_GROUPS:
        return f" {plural(num_groups, 'group')}: too few for intervals, so dashes stand there."
    if num_groups < FEW_GROUPS:
        return f" {num_groups} groups only: intervals are rough, too narrow rather than too wide."
    return ""


def verdict(results: Results, data: str, student: str | None) -> str:
    """Return what was found at the largest budget that has results; empty without any.

    Args:
        results: of the comparison.
        data: name of the data set.
        student: size of the encoders.
    """
    found = [
        one
        for one in results.analysis.accuracies
        if one.point.data == data and one.point.student in (None, student)
    ]
    budgets = [one.point.budget for one in found if one.point.budget is not None]
    if not budgets:
        return ""
    trained = [one for one in found if one.point.budget == max(budgets)]
    best = max(trained, key=lambda one: one.estimate.value)
    differences = [
        one
        for one in results.analysis.differences
        if (one.data, one.student, one.budget) == (data, student, max(budgets))
        and one.arm == results.spec.reference
        and any(each.point.arm == one.against for each in trained)
    ]
    return (
        f"At {flops(max(budgets))} FLOPs {best.point.arm} has the highest accuracy, "
        f"{percent(best.estimate.value)}.{_clear(results.spec.reference, differences)}"
        f"{_beside_floors(trained, [one for one in found if one.point.budget is None])}"
    )


def _clear(reference: str, differences: Sequence[Difference]) -> str:
    """Say which arms the reference is clearly above or below."""
    kinds = {"is clearly above": 1, "is clearly below": -1, "shows no clear difference to": 0}
    parts = []
    for words, sign in kinds.items():
        names = [one.against for one in differences if side(one) == sign]
        if names:
            parts.append(f"{words} {', '.join(names)}")
    return f" {reference} {'; '.join(parts)}." if parts else ""


def side(difference: Difference) -> int:
    """Return 1 if all of an interval is above 0, -1 if all is below, else 0."""
    return int(difference.estimate.low > 0) - int(difference.estimate.high < 0)


def _beside_floors(trained: Sequence[Accuracy], floors: Sequence[Accuracy]) -> str:
    """Say which arms are no better than what needs no training."""
    if not floors:
        return ""
    best = max(floors, key=lambda one: one.estimate.value)
    below = [one.point.arm for one in trained if one.estimate.value <= best.estimate.value]
    if not below:
        return ""
    return (
        f" Not above {arm_name(best.point.arm)} ({percent(best.estimate.value)}), which needs no "
        f"training: {', '.join(below)}. Where arms are not above the floors, their differences say "
        "little about the methods; raise the budgets."
    )
