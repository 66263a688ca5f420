"""Videos for benchmarks: a moving texture with sensor-like noise, encoded as H.264."""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

FPS = 25


class Encoding(NamedTuple):
    """How a set of files is encoded.

    Attributes:
        name: of the folder.
        height: in pixels.
        width: in pixels.
        gop: frames from one key frame to the next.
        b_frames: frames in a row that are predicted from both sides.
    """

    name: str
    height: int
    width: int
    gop: int
    b_frames: int


def make_videos(folder: Path, encoding: Encoding, *, count: int, num_frames: int) -> list[Path]:
    """Write the videos that are not there yet; the same pictures for every encoding of a size."""
    folder = folder / encoding.name
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.mp4" for index in range(count)]
    for index, path in enumerate(paths):
        if not path.exists():
            partial = path.with_suffix(".partial")
            _write(partial, encoding, seed=index, num_frames=num_frames)
            partial.rename(path)
    return paths


def _write(path: Path, encoding: Encoding, *, seed: int, num_frames: int) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = encoding.width, encoding.height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = encoding.gop
        stream.options = {
            "crf": "23",
            "preset": "medium",
            "bf": str(encoding.b_frames),
            # Key frames at their places only, so that the files of a set cost the same.
            "sc_threshold": "0",
        }
        for picture in _pictures(encoding.height, encoding.width, seed, num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _pictures(height: int, width: int, seed: int, num_frames: int):
    """Yield a window that wanders over a large texture, with another one moving in front."""
    rng = np.random.default_rng(seed)
    texture = _texture(rng, height * 2, width * 2)
    front = _texture(rng, height, width)
    side = height // 3
    for index in range(num_frames):
        phase = 2 * np.pi * index / num_frames
        top = int(height * (0.5 + 0.45 * np.sin(phase)))
        left = int(width * (0.5 + 0.45 * np.sin(2 * phase + seed)))
        picture = texture[top : top + height, left : left + width].copy()
        y, x = (3 * index) % (height - side), (2 * index) % (width - side)
        picture[y : y + side, x : x + side] = front[y : y + side, x : x + side]
        picture += rng.normal(0, 2, picture.shape).astype(np.float32)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return noise with large and small structure, as pictures have, in 0 … 255."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    for cell in (64, 16, 4, 2):
        coarse = rng.normal(size=(height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        fine = coarse.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
        total += fine * (cell**0.5)
    total -= total.min()
    return total * (255 / total.max())
