"""Videos made for the tests, and a plain decoder to compare with."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


@dataclass(frozen=True)
class Decoded:
    """All frames of a file in display order, with their times from the first one."""

    times_s: list[float]
    frames: list[np.ndarray]

    def shown_at(self, time_s: float) -> np.ndarray:
        """The last frame that has begun; times within 1 µs count as begun."""
        begun = [i for i, start in enumerate(self.times_s) if start <= time_s + 1e-6]
        return self.frames[begun[-1] if begun else 0]


def _decode_all(path: Path) -> Decoded:
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.best("video")))
        first = frames[0].pts * frames[0].time_base
        return Decoded(
            times_s=[float(frame.pts * frame.time_base - first) for frame in frames],
            frames=[frame.to_ndarray(format="rgb24") for frame in frames],
        )


def _write_video(
    path: Path,
    *,
    num_frames: int = 40,
    fps: int = 10,
    pts: list[int] | None = None,
    height: int = 32,
    width: int = 48,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    seed: int = 0,
) -> Path:
    """Encode noise blocks, so that any two frames differ; `pts` are in milliseconds."""
    noise = np.random.default_rng(seed)
    options = {"g": str(gop), "bf": str(b_frames)}
    if codec == "libx264":
        options |= {"crf": "20", "sc_threshold": "0", "x264-params": "scenecut=0"}
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(num_frames):
            blocks = noise.integers(0, 256, size=(height // 8, width // 8, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(
                blocks.repeat(8, axis=0).repeat(8, axis=1), format="rgb24"
            )
            frame.pts = index if pts is None else pts[index]
            frame.time_base = Fraction(1, fps) if pts is None else Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """A function that encodes a small video."""
    return _write_video


@pytest.fixture(scope="session")
def decode_all() -> Callable[[Path], Decoded]:
    """A function that decodes a whole file frame by frame, without seeking."""
    return _decode_all
