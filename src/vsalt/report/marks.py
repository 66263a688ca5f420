"""Marks on frames that do not rely on colour alone: hatching, and a board for what is not there.

Shapes: S frames of h x w pixels.
"""

import numpy as np
from jaxtyping import Bool, UInt8

_WASH = np.array([230, 159, 0])
"""Orange of the palette for colour-blind readers of Okabe and Ito."""
_STRIPE = np.array([0, 0, 0])
_WASH_SHARE = 0.5
_PERIOD, _WIDTH = 8, 2
_SQUARE = 4
_BOARD = (112, 144)
_LUMA = np.array([0.299, 0.587, 0.114])
"""Brightness of red, green and blue by ITU-R BT.601."""


def hatch(
    frames: UInt8[np.ndarray, "S h w 3"], where: Bool[np.ndarray, "S h w"]
) -> UInt8[np.ndarray, "S h w 3"]:
    """Return frames of which a part is grey below an orange veil with dark stripes."""
    rows, columns = np.indices(frames.shape[1:3])
    stripes = np.less((rows + columns) % _PERIOD, _WIDTH)
    colour = np.where(stripes[..., None], _STRIPE, _WASH)
    grey = (frames @ _LUMA)[..., None]
    veiled = np.rint((1 - _WASH_SHARE) * grey + _WASH_SHARE * colour).astype(np.uint8)
    return np.where(where[..., None], veiled, frames)


def blank(
    frames: UInt8[np.ndarray, "S h w 3"], where: Bool[np.ndarray, "S h w"]
) -> UInt8[np.ndarray, "S h w 3"]:
    """Return frames with a part replaced by a grey chequerboard."""
    rows, columns = np.indices(frames.shape[1:3]) // _SQUARE
    board = np.array(_BOARD, np.uint8)[(rows + columns) % 2]
    return np.where(where[..., None], board[..., None], frames)
