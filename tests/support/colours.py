"""Colours of a page's two schemes, and their contrast as WCAG 2.2 defines it."""

import re


def palettes(style_sheet: str) -> dict[str, dict[str, str]]:
    """Return the custom colours of a style sheet by name, light and dark."""
    light, dark = style_sheet.split("@media (prefers-color-scheme: dark)")
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
    """Return the ratio of two luminances, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
