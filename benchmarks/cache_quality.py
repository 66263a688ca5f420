"""What fixed views of cached targets cost, on made-up videos whose motion the student can learn.

usage: python benchmarks/cache_quality.py WORK [--seeds 0 1] [--arms live int8-1 ...]
       [--clips N] [--at-once 2] [--out FILE]

For every seed the videos and the teacher of `vsalt demo` (preset `demo`, no crops), then students
of equal steps and the same seed: `live` runs the teacher on views that are drawn anew, FORMAT-V
reads a cache of V views of every clip. The demo draws neither crops nor flips, so that its clips
have next to one view each; here students have those of `vsalt pretrain` (an area of 0.3 to 1, flips
of one in two). --clips N keeps the first N videos to train on, which are then seen more often.
Each student gets the demo's linear probe for motion, on the same uncropped videos and labels.

CPU seconds are those of the training command and its worker, start and val_loss included; clips/s
and the wait for data are medians of timings.jsonl, and depend on what else the machine does.
What is done is kept in WORK and in --out, and the same command goes on where it stopped.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from demo_seeds import RESULTS, machine, write

from vsalt.cli.demo import hide_labels
from vsalt.presets.demo import SHORT

ARMS = ("live", "int8-1", "int8-2", "int8-4", "int8-8")
CROPS = ("--data.crop-scale", "0.3", "1", "--data.crop-ratio", "0.75", "1.35", "--data.flip", "0.5")
LOCK = Lock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--clips", type=int, help="videos to train students on; unset: all 3072")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "cache_quality.json")
    args = parser.parse_args()
    found: dict[str, Any] = {"teachers": {}, "students": {}}
    if args.out.exists():
        found = json.loads(args.out.read_text())
    for seed in args.seeds:
        videos = Videos(args.work.absolute() / str(seed), seed)
        videos.make(args.clips)
        if str(seed) not in found["teachers"]:
            found["teachers"][str(seed)] = teach(videos)
            write(args.out, found)

        def student(arm: str, videos: "Videos" = videos) -> None:
            key = f"seed {videos.seed}, {args.clips or 'all'} clips, {arm}"
            if key not in found["students"]:
                measured = learn(videos, arm, args.clips)
                with LOCK:
                    found["students"][key] = measured
                    write(args.out, found)

        with ThreadPoolExecutor(args.at_once) as pool:
            list(pool.map(student, args.arms))
    show(found)


@dataclass(frozen=True)
class Videos:
    """The demo's videos of a seed, and what is made of them."""

    folder: Path
    seed: int

    @property
    def labelled(self) -> Path:
        """Rows for the probes, of which 1,024 to train on have labels."""
        return self.folder / "labels.csv"

    @property
    def teacher(self) -> Path:
        """The teacher's run."""
        return self.folder / "teacher"

    def rows(self, clips: int | None) -> Path:
        """Rows to train on."""
        return self.folder / "videos" / ("labels.csv" if clips is None else f"first-{clips}.csv")

    def options(self, clips: int | None) -> list[str]:
        """Flags that a run and its cache share."""
        shared = ["--preset", "demo", "--data", str(self.rows(clips)), "--seed", str(self.seed)]
        return [*shared, "--device.threads", "1"]

    def make(self, clips: int | None) -> None:
        """Make what is not there yet."""
        if not self.rows(None).exists():
            shutil.rmtree(self.folder / "videos", ignore_errors=True)
            words = ["--num-clips", str(SHORT.num_clips), "--test-every", str(SHORT.test_every)]
            words += ["--size", str(SHORT.size), "--num-frames", str(SHORT.num_frames)]
            words += ["--fps", str(SHORT.fps), "--background-contrast", "0", "--colours", "grey"]
            words += ["--seed", str(self.seed)]
            call(["data", "synth", str(self.folder / "videos"), *words])
        hide_labels(self.rows(None), self.labelled, num_labels=SHORT.num_labels)
        if clips is not None:
            keep_first(self.rows(None), self.rows(clips), clips)


def keep_first(manifest: Path, out: Path, clips: int) -> None:
    """Write a manifest of the first rows to train on; they have every class equally often."""
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"][:clips]
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def teach(videos: Videos) -> dict[str, Any]:
    """Train the demo's teacher; probe it, and random weights."""
    train(["--method", "pixel", *videos.options(None)], videos.teacher)
    scores = probe(videos, videos.teacher, "--random-init")
    return {**last(videos.teacher), "motion": scores[0], "motion_random_init": scores[1]}


def learn(videos: Videos, arm: str, clips: int | None) -> dict[str, Any]:
    """Train and probe one student, after its cache."""
    name = f"{arm}-of-{clips or 'all'}"
    options = [*videos.options(clips), *CROPS]
    targets, cost = ["--teacher", str(videos.teacher)], {}
    if arm != "live":
        token_format, views = arm.split("-")
        cache = videos.folder / f"cache-{name}"
        words = [*options, *targets, "--data.views", views, "--format", token_format]
        cpu_s = call(["cache-targets", *words, "--out", str(cache)])
        made = json.loads((cache / "targets.json").read_text())
        size = sum(file.stat().st_size for file in cache.glob("*.bin"))
        cost = {"cache_cpu_s": cpu_s, "cache_bytes": size, "cache_flops": made["flops"]}
        targets = ["--targets", str(cache)]
    run = videos.folder / f"run-{name}"
    cpu_s = train(["--method", "salt", *options, *targets], run)
    timings = records(run / "timings.jsonl")
    return {
        **last(run),
        "motion": probe(videos, run)[0],
        "cpu_s": cpu_s,
        **{
            name: statistics.median(timing[name] for timing in timings)
            for name in ("clips_per_s", "data_wait_share")
        },
        **cost,
        "machine": machine(),
        "load_average": os.getloadavg()[2],
    }


def train(words: Sequence[str], run: Path) -> float | None:
    """Begin a run or go on with it; return the CPU seconds of one that was not interrupted."""
    if (run / "config.json").exists():
        call(["resume", str(run)])
        return None
    shutil.rmtree(run, ignore_errors=True)
    return call(["pretrain", *words, "--out", str(run)])


def probe(videos: Videos, run: Path, random_init: str = "--no-random-init") -> list[float]:
    """Return the accuracy of the linear probe for motion, and that of random weights."""
    out = run.with_name(f"probe-{run.name}")
    if not (out / "probe.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        words = ["--encoder", str(run), "--data", str(videos.labelled), "--out", str(out)]
        words += ["--label-column", "motion", "--seed", str(videos.seed), "--workers", "0"]
        call(["probe", "fit", *words, random_init])
    found = json.loads((out / "probe.json").read_text())
    return [encoder["metrics"]["accuracy"] for encoder in found["encoders"]]


def last(run: Path) -> dict[str, Any]:
    """Return steps, operations and the validation loss of a run's end."""
    record = records(run / "metrics.jsonl")[-1]
    return {name: record[name] for name in ("step", "flops_exact", "val_loss")}


def records(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def call(words: list[str]) -> float:
    """Run vsalt in a process of its own; return its CPU seconds, those of its workers included."""
    print("vsalt", " ".join(words), flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "vsalt", *words], stdout=subprocess.DEVNULL, stderr=None
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (words, process.returncode)
    return round(usage.ru_utime + usage.ru_stime, 1)


def show(found: dict[str, Any]) -> None:
    for seed, teacher in found["teachers"].items():
        print(f"seed {seed}: teacher {teacher['motion']:.1%}", end=", ")
        print(f"random weights {teacher['motion_random_init']:.1%}")
    for name, student in found["students"].items():
        print(f"{name}: {student['motion']:.1%}, val_loss {student['val_loss']:.4f}", end=", ")
        print(f"{student['cpu_s']} CPU s, data wait {student['data_wait_share']:.0%}")


if __name__ == "__main__":
    main()
