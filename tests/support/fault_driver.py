"""Run the `vsalt` command, and let something go wrong at one exact place.

usage: python fault_driver.py FAULT MARKER PLACE COUNT WORDS...

The COUNT-th time PLACE is reached (a step, a rename, catalogue: the rows are about to be read, or
/NAME: a file that gets this name whole), MARKER is written to disk and FAULT happens:
    kill    this process kills itself with SIGKILL
    fill    MARKER's disk is filled to the last byte by a file beside it
    term    this process gets SIGTERM;  int: SIGINT;  hup: SIGHUP
With FAULT_RANK in the environment it happens in that process of several, and not again where
MARKER is there already.
Nothing in vsalt knows of this: the functions that it calls are wrapped from outside.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SIGNALS = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "hup": signal.SIGHUP,
}


def main() -> int:
    fault, marker, place, count = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    reached = 0
    rank = os.environ.get("FAULT_RANK")
    spared = rank is not None and (rank != os.environ.get("RANK") or marker.exists())

    def reach(**facts: Any) -> None:
        nonlocal reached
        reached += 1
        if reached == count and not spared:
            with open(marker, "w") as file:
                json.dump(facts, file)
                file.flush()
                os.fsync(file.fileno())
            if fault == "fill":
                fill(marker.with_name("filler"))
            else:
                os.kill(os.getpid(), SIGNALS[fault])

    def named(name: str, new: Any) -> None:
        if str(new).endswith(name) or (name == "step-" and Path(new).name.startswith(name)):
            reach(new=str(new))

    if place == "step":
        wrap(torch.optim.AdamW, "step", lambda *_, **__: reach(place="optimiser step"))
    elif place == "rename":
        wrap(os, "rename", lambda old, new: named("step-", new))
    elif place == "latest":
        wrap(os, "replace", lambda old, new: named("/latest", new))
    elif place == "hand-over":
        wrap(os, "replace", lambda old, new: named("student/config.json", new))
    elif place == "catalogue":
        from vsalt.data.catalogue import Catalogue

        wrap(Catalogue, "load", lambda *_, **__: reach(place="catalogue"))
    elif place.startswith("/"):
        wrap(os, "replace", lambda old, new: named(place, new))
    else:
        raise ValueError(place)
    from vsalt.cli.main import main as vsalt

    return vsalt(sys.argv[5:])


def wrap(owner: Any, name: str, before: Callable[..., object]) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        before(*(args[1:] if isinstance(owner, type) else args), **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


if __name__ == "__main__":
    raise SystemExit(main())
