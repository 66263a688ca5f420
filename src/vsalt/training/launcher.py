"""Ends the processes of a run with the torchrun that has started them.

A torchrun that is told to stop stops its processes. One that is killed leaves them running: they
would train on, unseen, and hold the run folder against `vsalt resume`.
"""

import ctypes
import os
import signal
from collections.abc import Mapping

# Of linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def follow_launcher(environment: Mapping[str, str]) -> None:
    """Let this process get SIGTERM when the torchrun that has started it dies.

    That is what torchrun sends itself: the run finishes its step, saves and ends. Linux only.

    Args:
        environment: the process's; without torchrun's marks nothing is done, as a process may well
            outlive what has started it.
    """
    if "TORCHELASTIC_RUN_ID" not in environment:
        return
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    launcher = os.getppid()
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != launcher:
        # It has died between these lines.
        os.kill(os.getpid(), signal.SIGTERM)
