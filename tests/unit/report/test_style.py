"""The colours of the page have the contrast that WCAG 2.2 AA asks for, light and dark."""

import re

import pytest

from vsalt.report.line_chart import NUM_LOOKS
from vsalt.report.write import style

TEXT, GRAPHICS = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 and 1.4.11."""
TEXTS = ("ink", "muted", "link", "limit", *(f"curve-{look}" for look in range(NUM_LOOKS)))
SHAPES = ("axis", "bar", "bar-beside")


def palettes() -> dict[str, dict[str, str]]:
    light, dark = style().split("@media (prefers-color-scheme: dark)")
    return {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", css))
        for name, css in (("light", light), ("dark", dark))
    }


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it, from sRGB."""
    shares = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_texts_and_shapes_have_enough_contrast(scheme: str, ground: str) -> None:
    colours = palettes()[scheme]
    for name in TEXTS:
        assert contrast(colours[name], colours[ground]) >= TEXT, name
    for name in SHAPES:
        assert contrast(colours[name], colours[ground]) >= GRAPHICS, name
    # Whiskers lie on bars.
    if ground == "page":
        for name in ("bar", "bar-beside"):
            assert contrast(colours["ink"], colours[name]) >= 1.5, name


def test_both_schemes_set_the_same_colours() -> None:
    light, dark = palettes().values()
    assert light.keys() == dark.keys()
    assert all(name in light for name in (*TEXTS, *SHAPES, "page", "panel", "rule"))


def test_the_style_loads_nothing() -> None:
    assert "url(" not in style()
    assert "@import" not in style()
    assert "@font-face" not in style()
