"""Picture files."""

from pathlib import Path
from typing import Any

import av
import numpy as np


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """Write RGB pixels, shape (H, W, 3), uint8, without loss."""
    with av.open(str(path), "w", format="image2") as container:
        stream: Any = container.add_stream("png", rate=1)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "rgb24"
        for frame in (av.VideoFrame.from_ndarray(pixels, format="rgb24"), None):
            for packet in stream.encode(frame):
                container.mux(packet)
    return path
