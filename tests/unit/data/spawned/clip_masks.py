"""Masks for loader tests, in a module that spawned workers can import."""

import os
import signal

import numpy as np

from vsalt.masking.types import Mask


def draw_masks(step, position, clip):
    """Two kinds that depend on the step, the position and the clip."""
    shift = (step * 7 + position * 3 + int(clip.sum())) % 50
    ids = np.roll(np.arange(50, dtype=np.int64), shift)
    return (
        Mask(context=np.sort(ids[:20]), targets=np.sort(ids[20:])),
        Mask(context=np.sort(ids[:5]), targets=np.sort(ids[5:15])),
    )


def defect_at_step_2(step, position, clip):
    if step == 2:
        raise ZeroDivisionError("a defect of ours")
    return draw_masks(step, position, clip)


def killed_at_step_2(step, position, clip):
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw_masks(step, position, clip)
