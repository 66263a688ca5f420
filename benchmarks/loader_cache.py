"""What cached frames gain: clips per second over the first three passes, for every cache."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loader import MICRO_BATCH, REAL, Case, source_of, stage_data

from vsalt.data.cache_plan import plan_cache
from vsalt.training.data import StageData

PASSES = 3


def measure(videos: Path) -> Iterator[dict[str, Any]]:
    """Measure made videos, and real ones where there are some; in turn for every cache."""
    cases = [Case("128-unprepared", 112, 4), Case("256-unprepared", 224, 4)]
    if os.environ.get("VSALT_TEST_DATA"):
        cases.append(Case(REAL, 112, 1))
    for case in cases:
        for cache in ("none", "ram", "disk"):
            row = _measure_case(case, videos, cache)
            print(json.dumps(row))
            yield row


def _measure_case(case: Case, videos: Path, cache: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = stage_data(case, source_of(case, videos), cache=cache, cache_dir=folder)
        plan = plan_cache(data.catalogue.rows, data.config.data, seed=0)
        rates = _rates_of_passes(data)
    return {
        "case": str(case),
        "cache": cache,
        "megabytes": round(plan.num_bytes / 1e6) if plan else 0,
        "clips": len(data.catalogue.rows),
        "clips_per_s": [round(rate, 1) for rate in rates],
    }


def _rates_of_passes(data: StageData) -> list[float]:
    """Return the rate of each pass over all rows; start-up does not count.

    A pass is as many micro-batches as hold every row at least once, on a small set several times.
    """
    num_batches = max(12, -(-data.catalogue.num_train // MICRO_BATCH))
    rates = []
    with data.batches(0, verdicts={}) as loader:
        batches = iter(loader)
        # The first batch, which waits for the processes, is part of no pass.
        next(batches)
        for _ in range(PASSES):
            begin = time.perf_counter()
            for _ in range(num_batches):
                next(batches)
            rates.append(num_batches * MICRO_BATCH / (time.perf_counter() - begin))
    return rates
