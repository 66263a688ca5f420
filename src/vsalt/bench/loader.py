"""How many clips per second the loader delivers, and how long a step would wait for them.

The loader is a run's own (`StageData`): decode, crop, flip, resize, masks and the way into this
process. Start-up is told apart, and what was read ahead by then does not count. Frames are not
cached unless that is asked for: with a cache every clip but the first of its file is a copy.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vsalt.bench.machine import Clock, describe_machine
from vsalt.config import PretrainConfig, repeat_problems
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import CacheKind
from vsalt.data.loader import ClipLoader, MicroBatch
from vsalt.data.synthetic import synthesise
from vsalt.errors import ConfigError, report_problems
from vsalt.training.data import StageData

SYNTHETIC_CLIPS = 64
SYNTHETIC_FPS = 12


def make_videos(folder: Path, config: PretrainConfig) -> Path:
    """Make synthetic videos for a configuration's clips, at least as large as they are.

    Args:
        folder: new or empty.
        config: whose clips are cut out of them.

    Returns:
        The manifest.
    """
    clip = config.clip
    step = clip.frame_step if clip.fps is None else max(1, round(SYNTHETIC_FPS / clip.fps))
    return synthesise(
        folder,
        num_clips=SYNTHETIC_CLIPS,
        # Encoders want an even number.
        size=2 * -(-max(clip.size) // 2),
        num_frames=max(24, clip.num_frames * step),
        fps=SYNTHETIC_FPS,
    )


def measure_loader(
    config: PretrainConfig,
    sources: Sequence[str],
    *,
    workers: Sequence[int],
    batches: int = 20,
    step_s: float | None = None,
    repeats: int = 1,
    cache: CacheKind = "none",
    processor_time: bool = False,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Measure the loader with several numbers of workers, one after the other.

    Args:
        config: resolved, as `bench_data` gives it; a batch is one micro-batch.
        sources: as --data takes them.
        workers: numbers of worker processes; 0 reads in this process.
        batches: that are timed.
        step_s: seconds that a step takes; they are slept between batches, as a GPU would leave the
            cores alone. None: the data wait is not measured.
        repeats: positions of a batch that share a decoded clip, as --data.repeats.
        cache: where decoded frames are kept, as --data.cache.
        processor_time: count the seconds that processors have worked for this process, and not
            those of `clock`: the rate of a core, on a machine that others use, too.
        clock: seconds.
        sleep: waits for so many seconds.

    Raises:
        ConfigError: if a number is out of range, or processor time is asked for of workers.
        DataError: if the sources cannot be used.
    """
    _check(workers, batches, step_s, processor_time)
    if processor_time:
        clock = time.process_time
    data = replace(config.data, sources=tuple(sources), holdout=0.0, repeats=repeats, cache=cache)
    report_problems(repeat_problems(config.stage, repeats))
    config = replace(config, data=data)
    catalogue = Catalogue.load(config.data, seed=config.seed)
    rows = []
    for number in workers:
        own = _with_workers(config, number, batches)
        with StageData(own, catalogue, pin_memory=False).batches(0, verdicts={}) as loader:
            rows.append(_measure(loader, own, batches, step_s, clock, sleep))
    return {
        "kind": "loader",
        "machine": describe_machine("cpu"),
        "settings": {
            "sources": list(sources),
            "rows": catalogue.num_train,
            "clip": [config.clip.num_frames, *config.clip.size],
            "frame_step": config.clip.frame_step,
            "clips": config.stage.loop.batch_size,
            "batches": batches,
            "prefetch": config.data.prefetch,
            "cache": config.data.cache,
            "repeats": repeats,
            "step_s": step_s,
            "clock": "processor" if processor_time else "wall",
        },
        "rows": rows,
    }


def _with_workers(config: PretrainConfig, workers: int, batches: int) -> PretrainConfig:
    """Return the configuration with as many steps as will be asked for."""
    data = replace(config.data, workers=workers)
    steps = 1 + data.prefetch * workers + 2 * batches
    loop = replace(config.stage.loop, steps=steps, stop_at=None)
    return replace(config, data=data, stage=replace(config.stage, loop=loop))


def _check(
    workers: Sequence[int], batches: int, step_s: float | None, processor_time: bool
) -> None:
    problems = [
        f"--workers has {number}; every number must be at least 0"
        for number in workers
        if number < 0
    ]
    if not workers:
        problems.append("--workers has no number; give one or more, such as --workers 0 2")
    if batches < 1:
        problems.append(f"--batches is {batches}; it must be at least 1")
    if step_s is not None and not 0 < step_s < float("inf"):
        problems.append(f"--step-s is {step_s}; it must be above 0, and finite")
    if processor_time and (any(workers) or step_s is not None):
        problems.append(
            "--processor-time counts what this process does: take --workers 0, without --step-s"
        )
    if problems:
        raise ConfigError(problems)


def _measure(
    loader: ClipLoader,
    config: PretrainConfig,
    batches: int,
    step_s: float | None,
    clock: Clock,
    sleep: Callable[[float], None],
) -> dict[str, Any]:
    stream = iter(loader)
    begin = clock()
    bad = _take(stream, 1)
    first_s = clock() - begin
    bad += _take(stream, config.data.prefetch * config.data.workers)
    begin = clock()
    bad += _take(stream, batches)
    seconds = clock() - begin
    row: dict[str, Any] = {
        "workers": config.data.workers,
        "clips_per_s": batches * config.stage.loop.batch_size / seconds,
        "first_batch_s": first_s,
        "data_wait": None,
        "bad_files": bad,
    }
    if step_s is not None:
        waited, begin = loader.wait_s, clock()
        for _ in range(batches):
            row["bad_files"] += _take(stream, 1)
            sleep(step_s)
        row["data_wait"] = (loader.wait_s - waited) / (clock() - begin)
    return row


def _take(stream: Iterator[MicroBatch], count: int) -> int:
    """Take batches, and return how many files of theirs could not be read."""
    return sum(len(next(stream).batch.bad_files) for _ in range(count))
