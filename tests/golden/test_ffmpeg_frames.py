"""Every file of decode_tests decodes as with the ffmpeg command, or is refused with the reason.

Source: ffmpeg 5.1.9 (Debian), by make_ffmpeg_frames.py beside this file.
"""

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from golden.make_ffmpeg_frames import mean_colours
from vsalt.data.decode import Video
from vsalt.errors import DecodeError

GOLDEN = json.loads(Path(__file__).with_name("ffmpeg_frames.json").read_text())["files"]
DAMAGED = "decord_corrupted.mp4"


def plane_bytes(frame: VideoFrame) -> bytes:
    """The samples of a frame as they are stored, without the padding of rows."""
    parts = []
    for number, plane in enumerate(frame.planes):
        samples = [c for c in frame.format.components if c.plane == number]
        row = plane.width * sum(-(-c.bits // 8) for c in samples)
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        parts.append(rows[:, :row].tobytes())
    return b"".join(parts)


def test_every_file_is_there(test_data):
    files = {path.name for path in (test_data / "decode_tests").iterdir()} - {"README.md"}
    assert files == set(GOLDEN)
    assert len(files) == 21


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_frames_equal_those_of_ffmpeg(test_data, name):
    golden = GOLDEN[name]
    wanted = golden["first_md5"]
    with Video(test_data / "decode_tests" / name) as video:
        # One frame of the damaged file is lost, which its header cannot know.
        assert video.info.num_frames == golden["num_frames"] + (name == DAMAGED)
        stored = itertools.islice(video._frames_from(0.0), len(wanted))
        found = [hashlib.md5(plane_bytes(frame)).hexdigest() for _, frame in stored]
        assert found == wanted
        first = video.read([0.0])[0]
    assert list(first.shape[:2]) == golden["upright_size"]
    # Two versions of the conversion to RGB round differently. For 10 bits they also smooth the
    # colours that four pixels share by different filters, and clip saturated ones.
    tolerance = 9.0 if "10bits" in name else 1.0
    expected = np.array(golden["first_mean_colours"])
    np.testing.assert_allclose(mean_colours(first), expected, atol=tolerance)


def test_damage_is_an_error_where_it_is_needed(test_data):
    """Our rule: what the decoder reports or flags as damaged is not used, nor is what follows.

    ffmpeg drops frame 27 of the file and goes on. To hand out what comes after it would need to
    know which of those frames are good; before it, all frames are as good as in any other file.
    """
    with Video(test_data / "decode_tests" / DAMAGED) as video:
        for index in (0, 13, 26):
            assert video.read([(index + 0.5) / video.info.fps]).shape == (1, 720, 1280, 3)
        for index in (27, 28, 38, 49):
            with pytest.raises(DecodeError, match="Invalid data"):
                video.read([(index + 0.5) / video.info.fps])
        video.read([0.05])
