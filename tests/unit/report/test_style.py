"""The colours of the page have the contrast that WCAG 2.2 AA asks for, light and dark."""

import pytest

from support.colours import contrast, palettes
from vsalt.report.line_chart import NUM_LOOKS
from vsalt.report.write import style

TEXT, GRAPHICS = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 and 1.4.11."""
TEXTS = ("ink", "muted", "link", "limit", *(f"curve-{look}" for look in range(NUM_LOOKS)))
SHAPES = ("axis", "bar", "bar-beside")


def test_the_formula_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "panel"])
def test_texts_and_shapes_have_enough_contrast(scheme: str, ground: str) -> None:
    colours = palettes(style())[scheme]
    for name in TEXTS:
        assert contrast(colours[name], colours[ground]) >= TEXT, name
    for name in SHAPES:
        assert contrast(colours[name], colours[ground]) >= GRAPHICS, name
    # Whiskers lie on bars.
    if ground == "page":
        for name in ("bar", "bar-beside"):
            assert contrast(colours["ink"], colours[name]) >= 1.5, name


def test_both_schemes_set_the_same_colours() -> None:
    light, dark = palettes(style()).values()
    assert light.keys() == dark.keys()
    assert all(name in light for name in (*TEXTS, *SHAPES, "page", "panel", "rule"))


def test_the_style_loads_nothing() -> None:
    assert "url(" not in style()
    assert "@import" not in style()
    assert "@font-face" not in style()
