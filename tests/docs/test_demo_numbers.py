"""The demo's numbers on the pages are those of the committed runs, and show what they must."""

import json
from collections.abc import Iterator
from statistics import mean
from typing import Any

import pytest

from support.pages import ROOT, pages

RESULTS = ROOT / "benchmarks" / "results"
ROWS = {
    "raw pixels": "raw_pixels",
    "frame differences": "frame_difference",
    "random init": "random_init",
    "teacher": "teacher",
    "student": "student",
}
TASKS = ("motion", "appearance")


def summaries(name: str) -> list[dict[str, Any]]:
    found = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return [found["seeds"][seed]["summary"] for seed in ("0", "1", "2")]


def accuracies(name: str, encoder: str, task: str) -> list[float]:
    """Per cent, one of each seed."""
    return [100 * one["encoders"][encoder][task]["accuracy"] for one in summaries(name)]


def rows(*, with_ranges: bool) -> Iterator[str]:
    for title, encoder in ROWS.items():
        yield row(title, "demo_seeds.json", encoder, with_ranges=with_ranges)


def row(title: str, name: str, encoder: str, *, with_ranges: bool) -> str:
    cells = []
    for task in TASKS:
        found = accuracies(name, encoder, task)
        spread = f" [{min(found):.1f}, {max(found):.1f}]" if with_ranges else ""
        cells.append(f"{mean(found):.1f}{spread}")
    return f"| {title} | {' | '.join(cells)} |"


@pytest.mark.parametrize(
    ("page", "with_ranges"), [("numbers.md", True), ("tutorial/first-hour.md", False)]
)
def test_tables_hold_the_means_of_three_seeds(page: str, with_ranges: bool) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    missing = [row for row in rows(with_ranges=with_ranges) if row not in text]
    assert not missing, f"write into docs/{page}:\n" + "\n".join(missing)


def test_the_numbers_of_the_long_demo() -> None:
    text = (ROOT / "docs/numbers.md").read_text(encoding="utf-8")
    for encoder in ("teacher", "student"):
        found = row(f"{encoder}, `--long`", "demo_seeds_long.json", encoder, with_ranges=True)
        assert found in text, f"write into docs/numbers.md:\n{found}"
    minutes = f"{summaries('demo_seeds_long.json')[0]['seconds'] / 60:.0f} minutes"
    for page in ("docs/numbers.md", "docs/tutorial/first-hour.md", "src/vsalt/presets/demo.py"):
        assert minutes in (ROOT / page).read_text(encoding="utf-8"), f"{page} lacks {minutes}"


def test_pages_name_seed_0() -> None:
    teacher, student = (
        accuracies("demo_seeds.json", name, "motion") for name in ("teacher", "student")
    )
    assert student[0] == min(student)
    assert teacher[0] == min(teacher)
    for page in ("README.md", "docs/tutorial/first-hour.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"{student[0]:.1f}" in text
        assert f"{teacher[0]:.1f}" in text
    text = (ROOT / "docs/numbers.md").read_text(encoding="utf-8")
    for name, found in (("teacher", teacher), ("student", student)):
        assert f"| {name} | {' | '.join(f'{value:.1f}' for value in found)} |" in text


def test_the_readme_names_the_means_of_three_seeds() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for encoder in ROWS.values():
        value = f"{mean(accuracies('demo_seeds.json', encoder, 'motion')):.1f} %"
        assert value in text, f"README.md lacks {value} of {encoder}"


def test_pages_name_the_mean_time() -> None:
    minutes = f"{mean(one['seconds'] for one in summaries('demo_seeds.json')) / 60:.1f} minutes"
    for page in ("README.md", "docs/numbers.md", "docs/tutorial/first-hour.md"):
        assert minutes in (ROOT / page).read_text(encoding="utf-8"), f"{page} lacks {minutes}"


@pytest.mark.parametrize(("name", "gain"), [("demo_seeds.json", 10), ("demo_seeds_long.json", 15)])
def test_the_demo_shows_an_effect(name: str, gain: float) -> None:
    student, teacher, untrained = (
        mean(accuracies(name, encoder, "motion"))
        for encoder in ("student", "teacher", "random_init")
    )
    assert student >= untrained + gain
    assert student >= teacher - 3
    for summary in summaries(name):
        assert summary["chance"]["motion"] <= 1 / 8


def test_no_page_has_a_number_left_open() -> None:
    assert [str(page) for page in pages() if "@@" in page.read_text(encoding="utf-8")] == []
