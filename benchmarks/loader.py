"""How much of bare decoding speed is left in vsalt's loader, side by side in one run.

usage: python benchmarks/loader.py [--rounds 7] [--json FILE] [--cases NAME ...] [--cache] [--wait]

*bare* opens the same files, seeks, decodes the same frames of the same clips and converts them
whole to rgb24, nothing else. *loader* is vsalt's own, with crop, flip, resize, masks and the way
of the batches into the main process. Both have the same number of processes, which take turns.
Measured is the steady state: processes run already and start-up is told apart; batches that the
loader has read ahead while others had their turn are taken first and not counted. On a machine
that others use too, `cpu_ratio_to_bare` is the one to look at: the same by processor time of the
processes that decode, and of the main process, which receives.

torchcodec and decord are beside them where they can be imported; they return whole frames too.
With VSALT_TEST_DATA, real videos are one more case. --cache measures cached frames over three
passes, --wait the logged data-wait share against a profile; both instead of the table.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from decode_loops import (
    LOOPS,
    LoopProcesses,
    Sample,
    Spent,
    read_bare,
    why_not,
)
from videos import Encoding, make_videos

from vsalt.bench.machine import cpu_name
from vsalt.config import PretrainConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.crop_box import CropBox
from vsalt.data.decode import ChooseBox, Video
from vsalt.data.sampling import clip_times, stretch
from vsalt.data.transforms import draw_crop, write_view
from vsalt.data.types import SampleKey
from vsalt.data.video_info import probe
from vsalt.presets import stage_preset
from vsalt.randomness import keyed_generator
from vsalt.training.build import resolve
from vsalt.training.data import StageData

WORKERS = 2
MICRO_BATCH = 8
PREFETCH = 2
NUM_FILES = 16
NUM_FRAMES = 300
SEED = 0
ENCODINGS = (
    Encoding("256-unprepared", 256, 340, gop=250, b_frames=3),
    Encoding("256-prepared", 256, 340, gop=8, b_frames=0),
    Encoding("128-unprepared", 128, 170, gop=250, b_frames=3),
    Encoding("128-prepared", 128, 170, gop=8, b_frames=0),
)
REAL = "jhmdb"


class Case(NamedTuple):
    """What is read, and how."""

    files: str
    size: int
    frame_step: int

    def __str__(self) -> str:
        return f"{self.files}-to-{self.size}-step-{self.frame_step}"


def all_cases() -> list[Case]:
    sizes = {"256-unprepared": 224, "256-prepared": 224, "128-unprepared": 128, "128-prepared": 128}
    cases = [Case(name, size, step) for name, size in sizes.items() for step in (4, 1)]
    cases += [Case("128-unprepared", 112, 4), Case("128-prepared", 112, 4)]
    if os.environ.get("VSALT_TEST_DATA"):
        cases += [Case(REAL, 224, 1), Case(REAL, 112, 1)]
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=12, help="micro-batches of a turn")
    parser.add_argument("--cases", nargs="+", help="only cases whose names contain one of these")
    parser.add_argument("--videos", type=Path, help="keep the made videos here")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--cache", action="store_true", help="cached frames instead")
    parser.add_argument("--wait", action="store_true", help="the logged data wait instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"machine": machine()}
    print(json.dumps(result["machine"]))
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or Path(folder)
        if args.wait or args.cache:
            import loader_cache
            import loader_wait

            measure = loader_wait.measure if args.wait else loader_cache.measure
            result["rows"] = list(measure(videos))
        else:
            result["rows"] = list(table(videos, args))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "workers": WORKERS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "av": av.__version__,
        "numpy": np.__version__,
    }


def table(videos: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure all cases, printing each."""
    loops = []
    for name in LOOPS:
        reason = why_not(name)
        loops += [] if reason else [name]
        print(f"{name}: {reason or 'measured'}")
    processes = LoopProcesses(loops, WORKERS)
    print(f"{WORKERS} processes for the loops, with their libraries: {processes.start_s:.1f} s")
    try:
        for case in all_cases():
            if not args.cases or any(part in str(case) for part in args.cases):
                row = measure_case(case, videos, loops, processes, args)
                print(json.dumps(row))
                yield row
    finally:
        processes.close()


def measure_case(
    case: Case, videos: Path, loops: list[str], processes: LoopProcesses, args: argparse.Namespace
) -> dict[str, Any]:
    """Let the loops and the loader take turns over the same clips."""
    data = stage_data(case, source_of(case, videos))
    turns = LoaderTurns(data, args.batches)
    rates: dict[str, list[float]] = {name: [] for name in ["loader", *loops]}
    cpu_rates: dict[str, list[float]] = {name: [] for name in rates}
    turns.settle()
    for _ in range(args.rounds):
        keys = turns.next_keys()
        samples = [sample_of(data, key) for key in keys]
        names = list(rates)
        # Whoever comes after another finds the files in the page cache; all files are there from
        # the first round on, and the order still changes.
        random.Random(len(rates["loader"])).shuffle(names)
        for name in names:
            spent = turns.run() if name == "loader" else processes.run(name, samples)
            rates[name].append(len(keys) / spent.wall_s)
            cpu_rates[name].append(len(keys) / spent.cpu_s)
            if name == "loader":
                turns.settle()
    turns.close()
    ratios, cpu_ratios = ratios_of(rates), ratios_of(cpu_rates)
    return {
        "case": str(case),
        "clips_per_s": {name: round(median(values), 1) for name, values in rates.items()},
        "ratio_to_bare": {name: round(median(values), 3) for name, values in ratios.items()},
        "cpu_ratio_to_bare": {name: round(median(v), 3) for name, v in cpu_ratios.items()},
        "loader_ratio_range": [round(min(ratios["loader"]), 3), round(max(ratios["loader"]), 3)],
        "loader_first_batch_s": round(turns.start_s, 2),
        "ms_of_a_clip": parts_of_a_clip(data, samples, median(rates["loader"])),
    }


def ratios_of(rates: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return every round's ratio to bare decoding."""
    return {
        name: [own / bare for own, bare in zip(values, rates["bare"], strict=True)]
        for name, values in rates.items()
        if name != "bare"
    }


def source_of(case: Case, videos: Path) -> Path:
    """Return the folder of a case's files; they are made if they are not there."""
    if case.files == REAL:
        return Path(os.environ["VSALT_TEST_DATA"], REAL, "videos")
    encoding = next(encoding for encoding in ENCODINGS if encoding.name == case.files)
    return make_videos(videos, encoding, count=NUM_FILES, num_frames=NUM_FRAMES)[0].parent


def stage_data(case: Case, source: Path, **options: Any) -> StageData:
    """Return the data of a stage as the preset small-gpu has it, with the case's clips."""
    config: PretrainConfig = stage_preset("small-gpu", "pixel")
    clip = ClipConfig(size=(case.size, case.size), frame_step=case.frame_step)
    data = replace(
        config.data,
        sources=(str(source),),
        holdout=0.0,
        workers=WORKERS,
        prefetch=PREFETCH,
        **options,
    )
    loop = replace(
        config.stage.loop, batch_size=MICRO_BATCH, micro_batch_size=MICRO_BATCH, steps=100_000
    )
    stage = replace(config.stage, loop=loop)
    config = resolve(replace(config, clip=clip, data=data, stage=stage, seed=SEED))
    return StageData(config, Catalogue.load(config.data, seed=SEED), pin_memory=False)


class LoaderTurns:
    """A loader that is read for some micro-batches at a time.

    Attributes:
        start_s: seconds from asking for the first batch to having it.
    """

    def __init__(self, data: StageData, batches: int) -> None:
        self._loader = data.batches(0, verdicts={})
        others = multiprocessing.active_children()
        begin = time.perf_counter()
        self._batches = iter(self._loader)
        next(self._batches)
        self.start_s = time.perf_counter() - begin
        self._workers = [
            child.pid for child in multiprocessing.active_children() if child not in others
        ]
        assert len(self._workers) == WORKERS
        self._taken = 1
        self._count = batches
        self._batch_s = self.start_s

    def settle(self) -> None:
        """Wait until all that the workers may read ahead has been read."""
        time.sleep(0.2 + 1.5 * (PREFETCH + 1) * WORKERS * min(self._batch_s, 0.5))

    def next_keys(self) -> list[SampleKey]:
        """Return the keys of the clips of the next turn, one step per micro-batch."""
        first = self._taken + PREFETCH * WORKERS
        steps = range(first, first + self._count)
        return [SampleKey(step, position) for step in steps for position in range(MICRO_BATCH)]

    def run(self) -> Spent:
        """Return what is spent from one received micro-batch to the one `batches` later."""
        for _ in range(PREFETCH * WORKERS):
            next(self._batches)
        processes = [os.getpid(), *self._workers]
        begin = Spent.so_far(processes)
        for _ in range(self._count):
            micro_batch = next(self._batches)
        spent = Spent.so_far(processes).since(begin)
        assert not micro_batch.batch.bad_files
        self._taken += PREFETCH * WORKERS + self._count
        assert micro_batch.step == self._taken - 1
        self._batch_s = spent.wall_s / self._count
        return spent

    def close(self) -> None:
        self._loader.close()


def sample_of(data: StageData, key: SampleKey) -> Sample:
    """Return the file and the frames that the loader reads for a key."""
    config = data.config
    order = data.catalogue.order(config.seed)
    row = data.catalogue.rows[
        order.row(step=key.step, position=key.position, batch_size=MICRO_BATCH)
    ]
    info = probe(row.media)
    u = keyed_generator("view", config.seed, *key, 0).random()
    times = clip_times(config.clip, stretch(info), u=u)
    frames = np.floor(times * info.fps).astype(int)
    return Sample(row.path, tuple(frames.tolist()))


def parts_of_a_clip(data: StageData, samples: list[Sample], rate: float) -> dict[str, float]:
    """Return where the time of a clip goes in one process, in milliseconds, medians.

    `rest` is what a worker's time per clip in the loader has beyond these: sending, waiting.
    """
    config = data.config
    reformatter = VideoReformatter()
    masks = data.mask_sampler
    spent: dict[str, list[float]] = {}

    def timed(name: str, begin: float) -> None:
        spent.setdefault(name, []).append((time.perf_counter() - begin) * 1e3)

    view = torch.empty((3, config.clip.num_frames, *config.clip.size), dtype=torch.uint8)
    for index, sample in enumerate(samples[:48]):
        begin = time.perf_counter()
        read_bare(sample, reformatter)
        timed("(bare, all)", begin)
        generator = np.random.default_rng(index)
        begin = time.perf_counter()
        with Video(sample.path) as video:
            timed("open, info", begin)
            times = (np.array(sample.frames) + 0.5) / video.info.fps
            begin = time.perf_counter()
            video.read(times, lambda height, width: CropBox(0, 0, 2, 2))
            timed("seek, decode", begin)
        box = draw_box(generator, config.data)
        with Video(sample.path) as video:
            begin = time.perf_counter()
            region = video.read(times, box)
            timed("(seek, decode, convert)", begin)
        begin = time.perf_counter()
        write_view(region, view, flipped=bool(index % 2))
        timed("resize, flip", begin)
        begin = time.perf_counter()
        masks(index, 0)
        timed("masks", begin)
    usual = {name: median(values) for name, values in spent.items()}
    usual["convert crop"] = usual["(seek, decode, convert)"] - usual["seek, decode"]
    own = sum(value for name, value in usual.items() if not name.startswith("("))
    usual["rest"] = 1e3 * WORKERS / rate - own
    return {name: round(value, 2) for name, value in usual.items()}


def draw_box(generator: np.random.Generator, data: DataConfig) -> ChooseBox:
    """Return the choice of a random crop."""

    def choose(height: int, width: int) -> CropBox:
        return draw_crop(
            generator, height=height, width=width, scale=data.crop_scale, ratio=data.crop_ratio
        )

    return choose


if __name__ == "__main__":
    main()
