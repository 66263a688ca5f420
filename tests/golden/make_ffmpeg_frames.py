"""Writes ffmpeg_frames.json: what the ffmpeg command decodes from the files of decode_tests.

Run by hand, where ffmpeg is installed, when files are added:

    python tests/golden/make_ffmpeg_frames.py $VSALT_TEST_DATA/decode_tests

For every file: how many frames ffmpeg decodes, the MD5 sums of the first ones in the pixel format
they are stored in (so that no conversion of colours is compared), and mean colours of 8 x 8 parts
of the first frame, upright.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

NUM_FRAMES = 6
PARTS = 8
OUT = Path(__file__).with_name("ffmpeg_frames.json")


def mean_colours(picture: np.ndarray) -> np.ndarray:
    """Means of PARTS x PARTS parts, as equal as can be, of a picture (H, W, 3)."""
    bands = np.array_split(picture.astype(np.float64), PARTS, axis=0)
    return np.array(
        [[part.mean(axis=(0, 1)) for part in np.array_split(band, PARTS, axis=1)] for band in bands]
    )


def describe(path: Path) -> dict[str, object]:
    """Run ffmpeg on one file."""
    sums = [line.split(",") for line in frame_sums(path) if not line.startswith("#")]
    height, width = upright_size(path)
    pixels = ffmpeg(path, "-frames:v", "1", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    return {
        "num_frames": len(sums),
        "first_md5": [fields[-1].strip() for fields in sums[:NUM_FRAMES]],
        "upright_size": [height, width],
        "first_mean_colours": mean_colours(picture).round(1).tolist(),
    }


def frame_sums(path: Path) -> list[str]:
    out = ffmpeg(path, "-fps_mode", "passthrough", "-f", "framemd5", "-", before=["-noautorotate"])
    return out.decode().splitlines()


def upright_size(path: Path) -> tuple[int, int]:
    """Read the size from the header of a picture in PPM's format."""
    head = ffmpeg(path, "-frames:v", "1", "-c:v", "ppm", "-f", "image2pipe", "-")[:32].split()
    return int(head[2]), int(head[1])


def ffmpeg(path: Path, *options: str, before: list[str] | None = None) -> bytes:
    command = ["ffmpeg", "-v", "quiet", *(before or []), "-i", str(path), "-an", "-sn", *options]
    # Damaged files end with an error after the frames that are good.
    return subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout


def main(folder: Path) -> None:
    version = subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE, check=True).stdout
    files = sorted(path for path in folder.iterdir() if path.suffix != ".md")
    record = {
        "source": " ".join(version.decode().split()[:3]),
        "files": {path.name: describe(path) for path in files},
    }
    OUT.write_text(json.dumps(record, indent=None).replace('}, "', '},\n"') + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
