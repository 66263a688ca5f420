"""The demo's folder: which demo it holds, and the seconds spent on it in all sittings.

DIR/demo.json is written before anything else and says with which settings the demo was begun. The
same command may go on in the folder; anybody else may not.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.errors import RunFolderError, VsaltError

BEGUN = "demo.json"
SUMMARY = "summary.json"
EVERY_S = 5.0
"""Seconds between two notes of the time spent: what a sitting that is killed may lose of it."""
_OWN = (".lock", durable.temporary_name(Path(BEGUN)).name)


def check_demo_folder(out: Path, settings: Mapping[str, Any]) -> bool:
    """Refuse a folder in which this demo can neither begin nor go on.

    Args:
        out: the folder; need not exist.
        settings: of the demo, as plain values.

    Returns:
        Whether the demo was begun there.

    Raises:
        RunFolderError: if something else is there: a file, other things, a demo of other settings
            (the differences are listed) or a demo that is done.
    """
    text = f"{out} is not an empty folder; choose another --out, or remove it"
    if out.exists() and not out.is_dir():
        raise RunFolderError(text)
    if not (out / BEGUN).exists():
        if out.exists() and any(entry.name not in _OWN for entry in out.iterdir()):
            raise RunFolderError(text)
        return False
    there = _flat(durable.read_json(out / BEGUN).get("settings"))
    now = _flat(settings)
    lines = [
        f"  {name}: {there.get(name)} there, {now.get(name)} now"
        for name in sorted(there.keys() | now.keys())
        if there.get(name) != now.get(name)
    ]
    if lines:
        told = "\n".join(lines)
        raise RunFolderError(f"{text}. It holds a demo begun with other settings:\n{told}")
    if (out / SUMMARY).exists():
        raise RunFolderError(f"{text}. It holds this demo, and that is done: {out / SUMMARY}")
    return True


@contextmanager
def hold_demo(out: Path, settings: Mapping[str, Any]) -> Iterator[Callable[[], float]]:
    """Be the only process that works on a demo, and keep count of the time in `demo.json`.

    Yields:
        A function that returns the seconds spent so far, all sittings together.

    Raises:
        RunFolderError: as `check_demo_folder`, or if another process works on it.
    """
    durable.create_folder(out)
    with durable.hold(out):
        begun = check_demo_folder(out, settings)
        before = float(durable.read_json(out / BEGUN)["seconds"]) if begun else 0.0
        begin = time.monotonic()

        def seconds() -> float:
            return before + time.monotonic() - begin

        def note() -> None:
            record = {"settings": settings, "seconds": round(seconds(), 1)}
            durable.write_json(out / BEGUN, record)

        note()
        with _repeated(note):
            yield seconds


@contextmanager
def _repeated(note: Callable[[], None]) -> Iterator[None]:
    """Call a function every `EVERY_S` in this block and at its end, also if the block fails."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(EVERY_S):
            attempt()

    def attempt() -> None:
        # A full disk is told by what the demo itself writes.
        with contextlib.suppress(VsaltError, OSError):
            note()

    thread = threading.Thread(target=repeat, name="demo-seconds", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        attempt()


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested plain values by dotted name, as JSON has them."""
    if not isinstance(values, Mapping):
        return {prefix: json.loads(json.dumps(values))}
    return {
        name: leaf
        for key, value in values.items()
        for name, leaf in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }
