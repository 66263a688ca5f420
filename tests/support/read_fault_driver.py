"""The fault driver, while reading in the worker processes goes wrong, once at each chosen sample.

usage: VSALT_READ_FAULTS=... python read_fault_driver.py FAULT MARKER PLACE COUNT WORDS...

VSALT_READ_FAULTS is a JSON object: `folder` remembers what has happened, `hard_limit_s` is when a
worker is replaced, and `faults` maps "step,position,attempt" to
    hang   the worker never comes back
    crash  the worker aborts
    slow   the video gives up by itself, as after --data.limits.timeout-s
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fault_driver


def fail_once(folder: Path, place: str, fault: str) -> None:
    try:
        (folder / place).touch(exist_ok=False)
    except FileExistsError:
        return
    if fault == "hang":
        time.sleep(1000)
    elif fault == "crash":
        os.abort()
    else:
        from vsalt.errors import DecodeTimeoutError

        raise DecodeTimeoutError(f"{place} took too long")


def wrap_views(faults: dict[str, str], folder: Path) -> None:
    from vsalt.data.dataset import ClipDataset, HoldoutDataset

    def before(keys: Sequence[Any], attempt: int, *_: object) -> None:
        for key in keys:
            name = f"{key.step},{key.position},{attempt}"
            if name in faults:
                fail_once(folder, name, faults[name])

    for owner in (ClipDataset, HoldoutDataset):
        fault_driver.wrap(owner, "_views", before)


if __name__ in ("__main__", "__mp_main__"):
    SETTINGS = json.loads(os.environ["VSALT_READ_FAULTS"])

if __name__ == "__mp_main__":
    wrap_views(SETTINGS["faults"], Path(SETTINGS["folder"]))

if __name__ == "__main__":
    from vsalt.data import workers

    workers.hard_limit_s = lambda limits: SETTINGS["hard_limit_s"]
    raise SystemExit(fault_driver.main())
