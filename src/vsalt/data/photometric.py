"""Changes of a frame's colours, equal to those of Pillow's ImageOps and ImageEnhance.

All of them keep 8 bits and round as Pillow does (mostly: towards zero). Statistics, such as the
histogram that is equalised, are those of the one frame.
"""

import numpy as np
from jaxtyping import Int64, UInt8

# Pillow's weights of red, green and blue in grey (ITU-R 601-2), in units of 2^-16.
_LUMA = (19595, 38470, 7471)
# A pixel below this is brightened by `solarize_add`.
_SOLARIZE_ADD_BELOW = 128


def autocontrast(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Stretch each channel linearly so that its least value becomes 0 and its greatest 255."""
    return np.stack([_stretched(frame[..., channel]) for channel in range(3)], axis=-1)


def _stretched(channel: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    low, high = int(channel.min()), int(channel.max())
    if low == high:
        return channel
    scale = 255 / (high - low)
    table = np.clip(np.arange(256) * scale - low * scale, 0, 255)
    return _looked_up(channel, table)


def equalize(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Give each channel a histogram that is as even as a function of the value allows.

    With n(v) pixels of value v, N pixels in all and m the greatest value that occurs, a value v
    becomes (s // 2 + sum of n below v) // s, where s = (N − n(m)) // 255; for s = 0 it stays.
    """
    return np.stack([_equalized(frame[..., channel]) for channel in range(3)], axis=-1)


def _equalized(channel: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    counts = np.bincount(channel.ravel(), minlength=256)
    step = int(channel.size - counts[channel.max()]) // 255
    if step == 0:
        return channel
    below: Int64[np.ndarray, "256"] = np.cumsum(counts) - counts
    return _looked_up(channel, np.minimum((step // 2 + below) // step, 255))


def invert(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return 255 − v for every value v."""
    return 255 - frame


def posterize(frame: UInt8[np.ndarray, "H W 3"], bits: int) -> UInt8[np.ndarray, "H W 3"]:
    """Keep the upper `bits` bits, 0 to 8, of every value."""
    return frame & np.uint8((0xFF00 >> bits) & 0xFF)


def solarize(frame: UInt8[np.ndarray, "H W 3"], threshold: int) -> UInt8[np.ndarray, "H W 3"]:
    """Invert the values from `threshold` on."""
    return np.where(frame < threshold, frame, 255 - frame)


def solarize_add(frame: UInt8[np.ndarray, "H W 3"], added: int) -> UInt8[np.ndarray, "H W 3"]:
    """Add `added` to the values below 128."""
    values = np.arange(256)
    table = np.where(values < _SOLARIZE_ADD_BELOW, np.minimum(values + added, 255), values)
    return _looked_up(frame, table)


def colour(frame: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Move every pixel from its grey (factor 0) through itself (1) to stronger colour."""
    return _blend(grey(frame)[..., None], frame, factor)


def contrast(frame: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Move every value from the frame's mean grey (factor 0) through itself (1) and beyond."""
    mean = np.uint8(grey(frame).mean() + 0.5)
    return _blend(mean, frame, factor)


def brightness(frame: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Multiply every value by `factor`."""
    return _blend(np.uint8(0), frame, factor)


def sharpness(frame: UInt8[np.ndarray, "H W 3"], factor: float) -> UInt8[np.ndarray, "H W 3"]:
    """Move every pixel from its smoothed value (factor 0) through itself (1) to a sharper one."""
    return _blend(_smoothed(frame), frame, factor)


def grey(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Return 0.299 R + 0.587 G + 0.114 B, rounded."""
    red, green, blue = (frame[..., channel].astype(np.int32) for channel in range(3))
    total = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return ((total + 0x8000) >> 16).astype(np.uint8)


def _smoothed(frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Return the mean of 3 x 3 pixels with weight 5 in the middle; the outermost ones stay."""
    wide = frame.astype(np.int16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * wide[1:-1, 1:-1]
    smoothed = frame.copy()
    smoothed[1:-1, 1:-1] = (2 * total + 13) // 26
    return smoothed


def _looked_up(values: UInt8[np.ndarray, "..."], table: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Return the table's entry, cut towards zero, for every value."""
    found: np.ndarray = table.astype(np.uint8)[values]
    return found


def _blend(
    start: np.ndarray | np.uint8, end: UInt8[np.ndarray, "H W 3"], factor: float
) -> UInt8[np.ndarray, "H W 3"]:
    """Return start + factor * (end − start), cut to 0 … 255 and towards zero."""
    origin = np.asarray(start, dtype=np.float32)
    mixed = origin + np.float32(factor) * (end.astype(np.float32) - origin)
    return np.clip(mixed, 0, 255).astype(np.uint8)
