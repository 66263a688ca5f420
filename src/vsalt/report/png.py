"""Pixels to a PNG file in memory; FFmpeg writes it, so that nothing else is needed."""

from fractions import Fraction

import numpy as np
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext
from jaxtyping import UInt8


def encode_png(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    r"""Return an RGB image as a PNG file, without loss.

    Example:
        >>> encode_png(np.zeros((2, 3, 3), np.uint8))[:4]
        b'\x89PNG'
    """
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1)
    codec = VideoCodecContext.create("png", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = "rgb24"
    codec.time_base = Fraction(1)
    codec.thread_count = 1
    codec.options = {"compression_level": "6", "pred": "mixed"}
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
