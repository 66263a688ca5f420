"""Other domains: the page's numbers are the committed ones, and its padding does what it says."""

import json
import math
from typing import Any

import numpy as np
import pytest

from support.pages import ROOT
from vsalt.data.transforms import centre_view

PAGE = (ROOT / "docs/how-to/other-domains.md").read_text(encoding="utf-8")
FOUND = json.loads((ROOT / "benchmarks/results/lung_ultrasound.json").read_text(encoding="utf-8"))
ARMS = {
    "student": "salt",
    "random init": "random-init",
    "raw pixels": "raw_pixels",
    "frame differences": "frame_difference",
}
SUBJECTS = ("student", "teacher", "random init", "raw pixels", "frame differences")
LABELS = ("healthy", "bacterial_pneumonia", "covid")


def interval(one: dict[str, float], factor: float, digits: int, value: str = "value") -> str:
    middle, low, high = (f"{factor * one[part]:.{digits}f}" for part in (value, "low", "high"))
    return f"{middle} [{low}, {high}]"


@pytest.mark.parametrize("title", ARMS)
def test_rows_of_the_one_hospital(title: str) -> None:
    hospital, arm = FOUND["one hospital"], ARMS[title]
    cells = [interval(hospital["accuracies"][arm], 100, 1), interval(hospital["auc"][arm], 1, 2)]
    row = f"| {title} | {' | '.join(cells)} |"
    assert row in PAGE, f"write into docs/how-to/other-domains.md:\n{row}"


@pytest.mark.parametrize("title", SUBJECTS)
def test_rows_of_labels_that_hang_together_with_the_hospital(title: str) -> None:
    found = [probe["accuracies"][title] for probe in FOUND["probes"].values()]
    cells = [interval(one, 100, 1, value="accuracy") for one in found]
    row = f"| {title} | {' | '.join(cells)} |"
    assert row in PAGE, f"write into docs/how-to/other-domains.md:\n{row}"


@pytest.mark.parametrize("title", ["student", "random init", "raw pixels"])
def test_areas_of_the_encoder_that_was_trained_elsewhere(title: str) -> None:
    area = interval(FOUND["auc"][title], 1, 2)
    assert area in " ".join(PAGE.split()), f"write into docs/how-to/other-domains.md: {area}"


def test_the_area_of_knowing_only_the_shares() -> None:
    assert f"over these five folds is {FOUND['auc of shares']:.2f}" in " ".join(PAGE.split())


def test_what_knowing_the_source_alone_gives() -> None:
    for source, counted in FOUND["counts"].items():
        cells = " | ".join(str(counted.get(label, 0)) for label in LABELS)
        assert f"| {source} | {cells} |" in PAGE
    right = sum(max(counted.values()) for counted in FOUND["counts"].values())
    rows = sum(sum(counted.values()) for counted in FOUND["counts"].values())
    assert f"{right} of {rows} clips ({100 * right / rows:.1f} %)" in PAGE


def test_the_results_hold_no_names() -> None:
    def texts(tree: Any) -> list[str]:
        if isinstance(tree, dict):
            return [*tree, *(text for value in tree.values() for text in texts(value))]
        if isinstance(tree, list):
            return [text for value in tree for text in texts(value)]
        return [tree] if isinstance(tree, str) else []

    assert not [text for text in texts(FOUND) if ".mp4" in text or "/" in text[:1]]


@pytest.mark.parametrize(
    ("shape", "clip"),
    [((240, 320), (48, 64)), ((480, 640), (96, 128)), ((128, 128), (112, 112))],
)
def test_a_padded_picture_is_seen_with_its_border(
    shape: tuple[int, int], clip: tuple[int, int]
) -> None:
    """The page's filter, in numpy: a border of a 25th is in the view, else it is not."""
    assert "pad=ceil(iw*4/7)*2:ceil(ih*4/7)*2:(ow-iw)/2:(oh-ih)/2" in PAGE
    height, width = shape
    framed = np.full((1, height, width, 3), 255, dtype=np.uint8)
    framed[:, height // 25 : -(height // 25), width // 25 : -(width // 25)] = 0
    assert edges(framed, clip) == [0, 0, 0, 0]
    more = [math.ceil(side * 4 / 7) * 2 - side for side in shape]
    sides = [(extra // 2, extra - extra // 2) for extra in more]
    padded = np.pad(framed, ((0, 0), *sides, (0, 0)))
    assert min(edges(padded, clip)) > 120


def edges(frames: np.ndarray, clip: tuple[int, int]) -> list[int]:
    """Return the brightest mean along a line, within three pixels of each side of the view."""
    view = centre_view(frames, size=clip)[0, 0].float()
    down, across = view[:, 8:-8].mean(1), view[8:-8].mean(0)
    return [int(part.max()) for part in (down[:3], down[-3:], across[:3], across[-3:])]
