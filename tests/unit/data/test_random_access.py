"""Reading from the middle of a file gives what reading it from the beginning gives."""

import numpy as np
import pytest

from vsalt.data.decode import Video, read_frames


@pytest.mark.parametrize(
    "name",
    [
        # Lists key frames at 3.80 s and 7.25 s that decoding cannot begin at.
        "imageio_cockatoo.mp4",
        "torchcodec_h265_video.mp4",
        "torchcodec_av1_video.mkv",
        "decord_flipping_a_pancake.mkv",
    ],
)
def test_random_access_equals_reading_on(test_data, name):
    path = test_data / "decode_tests" / name
    with Video(path) as video:
        fps, last = video.info.fps, video.info.num_frames - 1
        numbers = np.unique([0, last // 5, last // 3, last // 2, 3 * last // 4, last])
        # From the first frame on: nothing is skipped.
        expected = video.read((numbers + 0.5) / fps)
    for number, picture in zip(numbers, expected, strict=True):
        np.testing.assert_array_equal(read_frames(path, [(number + 0.5) / fps])[0], picture)
