"""PNG files hold exactly the pixels that they are made of."""

import io

import numpy as np
import pytest
from PIL import Image

from vsalt.report.png import encode_png


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 17), (131, 257)])
def test_another_library_reads_the_same_pixels(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, size=(*size, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(image))) as read:
        assert (read.format, read.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(read), image)


def test_a_part_of_a_larger_array_is_written_as_it_is() -> None:
    whole = np.random.default_rng(1).integers(0, 256, size=(40, 50, 3), dtype=np.uint8)
    part = whole[3:30:2, ::-1]
    with Image.open(io.BytesIO(encode_png(part))) as read:
        np.testing.assert_array_equal(np.asarray(read), part)
