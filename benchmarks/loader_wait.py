"""Whether the data wait that a run logs is the one that a profile sees.

A thread looks at the stack of the main thread every few milliseconds while a run trains. The share
of looks that find it inside of the loader, over the steps that the log covers, is compared with
the data-wait share in timings.jsonl. The two have nothing in common: no clock, no code.
"""

import contextlib
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from loader import Case, source_of

from vsalt.data import loader as loader_module
from vsalt.presets import stage_preset
from vsalt.training import stage as stage_module
from vsalt.training.start import start_stage

STEPS = 30
FIRST = 5
"""Steps before the first look: processes start, memory is taken."""
EVERY_S = 0.002


def measure(videos: Path) -> Iterator[dict[str, Any]]:
    """Train a case that waits for data, in two ways, and one that does not."""
    large = source_of(Case("256-unprepared", 224, 4), videos)
    small = source_of(Case("128-prepared", 112, 4), videos)
    for name, source, workers, batch in (
        ("large clips, no workers", large, 0, 4),
        ("large clips, one worker", large, 1, 4),
        ("small clips, one worker", small, 1, 16),
    ):
        row = {"case": name, **_measure_run(source, workers, batch)}
        print(json.dumps(row))
        yield row


def _measure_run(source: Path, workers: int, batch_size: int) -> dict[str, Any]:
    config = stage_preset("tiny-cpu", "pixel")
    frame_step = 1 if workers and batch_size > 4 else 4
    config = replace(
        config,
        clip=replace(config.clip, frame_step=frame_step),
        data=replace(config.data, sources=(str(source),), workers=workers, holdout=0.0),
        stage=replace(
            config.stage,
            loop=replace(
                config.stage.loop, steps=STEPS, batch_size=batch_size, log_every=1, save_every=STEPS
            ),
        ),
    )
    profile = Profile()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        with profile, contextlib.redirect_stdout(io.StringIO()):
            start_stage(run, config, teacher=None)
        lines = (run / "timings.jsonl").read_text(encoding="utf-8").splitlines()
    return _compare([json.loads(line) for line in lines], profile)


def _compare(timings: list[dict[str, Any]], profile: "Profile") -> dict[str, Any]:
    """Return both shares over the steps after `FIRST` and up to the last log."""
    times = [0.0, *(timing["elapsed_s"] for timing in timings)]
    logged = sum(
        timing["data_wait_share"] * (times[index + 1] - times[index])
        for index, timing in enumerate(timings)
        if timing["step"] > FIRST
    )
    spans = times[-1] - times[FIRST]
    looks = profile.looks_between(times[FIRST], times[-1])
    found = sum(looks) / len(looks)
    return {
        "logged_share": round(logged / spans, 4),
        "profiled_share": round(found, 4),
        "difference": round(logged / spans - found, 4),
        "looks": len(looks),
        "step_s": round(spans / (STEPS - FIRST), 3),
    }


class Profile:
    """A context manager whose thread looks at the main thread's stack while it trains."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, bool]] = []
        self._over = threading.Event()
        self._main = threading.get_ident()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Profile":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def looks_between(self, first_s: float, last_s: float) -> list[bool]:
        """Return the looks in a span of seconds, counted from the trainer's start."""
        begin = self._looks[0][0]
        return [found for now, found in self._looks if first_s <= now - begin <= last_s]

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            stack = list(_stack(sys._current_frames()[self._main]))
            if self._looks or stage_module._train.__code__ in stack:
                inside = any(code.co_filename == loader_module.__file__ for code in stack)
                self._looks.append((time.perf_counter(), inside))


def _stack(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


if __name__ == "__main__":
    sys.exit("run `python benchmarks/loader.py --wait`")
