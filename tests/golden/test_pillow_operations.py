"""The operations of RandAugment against Pillow's own results.

Source: Pillow 13.0.0 on `picture()`, by ImageOps, ImageEnhance, Image.rotate and Image.transform
(affine, bicubic, fill 128), as V-JEPA 2's augmentation calls them. Per line: operation, argument,
sum of all values, values at `PLACES`.
"""

import numpy as np
import pytest

from vsalt.data.randaugment import Operation, apply_operation

PLACES = [(0, 0, 0), (3, 50, 1), (11, 7, 2), (20, 28, 0), (27, 41, 1), (33, 15, 2), (39, 55, 0)]
PHOTOMETRIC = [
    ("autocontrast", 0.0, 843934, [0, 69, 222, 118, 250, 38, 12]),
    ("equalize", 0.0, 926552, [0, 76, 245, 134, 255, 40, 14]),
    ("invert", 0.0, 1029539, [215, 181, 106, 157, 92, 196, 209]),
    ("posterize", 2.0, 472960, [0, 64, 128, 64, 128, 0, 0]),
    ("solarize", 77.0, 750902, [40, 74, 106, 157, 92, 59, 46]),
    ("solarize_add", 77.0, 1048194, [117, 151, 149, 175, 163, 136, 123]),
    ("colour", 1.63, 682925, [21, 54, 175, 89, 176, 15, 27]),
    ("colour", 0.37, 678649, [58, 93, 122, 106, 149, 102, 64]),
    ("contrast", 1.63, 684100, [1, 56, 179, 96, 202, 32, 11]),
    ("contrast", 0.37, 677345, [78, 91, 118, 99, 123, 85, 80]),
    ("brightness", 1.63, 1108840, [65, 120, 242, 159, 255, 96, 74]),
    ("brightness", 0.37, 249800, [14, 27, 55, 36, 60, 21, 17]),
    ("sharpness", 1.63, 681446, [40, 60, 171, 96, 185, 39, 46]),
    ("sharpness", 0.37, 680520, [40, 87, 126, 99, 140, 78, 46]),
]
GEOMETRIC = [
    ("rotate", 21.0, 705255, [128, 137, 97, 92, 110, 83, 128]),
    ("rotate", -21.0, 705946, [128, 128, 72, 108, 82, 104, 128]),
    ("shear_x", 0.21, 694416, [40, 122, 129, 129, 102, 53, 128]),
    ("shear_x", -0.21, 694539, [39, 132, 119, 119, 137, 98, 53]),
    ("shear_y", 0.21, 707182, [41, 138, 65, 128, 124, 126, 128]),
    ("shear_y", -0.21, 706589, [38, 128, 93, 69, 76, 134, 50]),
    ("translate_x", 0.315, 739499, [79, 128, 69, 63, 128, 124, 128]),
    ("translate_x", -0.315, 739939, [128, 96, 128, 103, 136, 128, 101]),
    ("translate_y", 0.315, 739756, [164, 99, 98, 147, 128, 128, 128]),
    ("translate_y", -0.315, 739006, [128, 128, 128, 48, 94, 103, 114]),
]


def picture() -> np.ndarray:
    y, x, c = np.meshgrid(np.arange(40), np.arange(56), np.arange(3), indexing="ij")
    return ((37 * y + 11 * x * x + 71 * c + 5 * x * y) % 251 // 2 + 40).astype(np.uint8)


@pytest.mark.parametrize(("name", "argument", "total", "values"), PHOTOMETRIC)
def test_photometric_operations_are_pillows(name, argument, total, values):
    found = apply_operation(picture()[None], Operation(name, argument))[0]
    assert [int(found[place]) for place in PLACES] == values
    assert int(found.sum()) == total


@pytest.mark.parametrize(("name", "argument", "total", "values"), GEOMETRIC)
def test_geometric_operations_are_pillows_to_a_grey_level(name, argument, total, values):
    found = apply_operation(picture()[None], Operation(name, argument))[0]
    np.testing.assert_allclose([int(found[place]) for place in PLACES], values, atol=1)
    # Of the 6720 values at most a few are rounded differently.
    assert abs(int(found.sum()) - total) <= 20
