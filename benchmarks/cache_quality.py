"""What fixed views of cached targets cost, on made-up videos whose motion the student can learn.

usage: python benchmarks/cache_quality.py WORK [--seeds 0 1] [--arms live int8-1 ...]
       [--init-seed N] [--clips N] [--steps N] [--at-once 2] [--out FILE]

For every seed `vsalt demo`, whose videos and teacher are taken, then students of equal steps and
the same seed: `live` runs the teacher on views that are drawn anew, FORMAT-V reads a cache of V
views of every clip. The demo draws neither crops nor flips, so that its clips have next to one
view each; here students have those of `vsalt pretrain` (an area of 0.3 to 1, one in two flipped).
Of the first N videos to train on one in five is held out for val_loss. Each student gets the
demo's linear probe for motion, on the same test videos, not cropped, and with the same labels.
With --init-seed students begin with other weights, and all else is the same: how far apart these
are is what of a difference may be chance.

CPU seconds are those of the training command and its worker, start and val_loss included; clips/s
and the wait for data are medians of timings.jsonl, and depend on what else the machine does. So the
fair rate in clips/s is `side_by_side`: the steps that a student of a cache took for every step of
the live one while both ran (which `live` and `int8-1` do, begun at once).
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

import numpy as np
from demo_seeds import RESULTS, machine, write

from vsalt.durable import whole_file

ARMS = ("live", "int8-1", "int8-2", "int8-4", "int8-8")
CROPS = ("--data.crop-scale", "0.3", "1", "--data.crop-ratio", "0.75", "1.35", "--data.flip", "0.5")
LOCK = Lock()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--init-seed", type=int, help="of students; unset: the seed")
    parser.add_argument("--clips", type=int, default=640)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "cache_quality.json")
    args = parser.parse_args()
    found: dict[str, Any] = {"demos": {}, "students": {}}
    if args.out.exists():
        found = json.loads(args.out.read_text())
    for seed in args.seeds:
        study = Study(args.work.absolute(), seed, args.clips, args.steps, args.init_seed)
        found["demos"][str(seed)] = study.prepare()

        def student(arm: str, study: "Study" = study) -> None:
            key = f"seed {study.seed}, {study.clips} clips, {study.steps} steps, {study.name(arm)}"
            if key not in found["students"]:
                measured = learn(study, arm)
                with LOCK:
                    found["students"][key] = measured
                    write(args.out, found)

        with ThreadPoolExecutor(args.at_once) as pool:
            list(pool.map(student, args.arms))
        together = side_by_side(*(study.run(arm) for arm in ("live", "int8-1")))
        if together is not None:
            pairs = found.setdefault("side_by_side", {})
            # Students of other first weights are a pair of their own beside the first one.
            pairs[study.name(str(seed))] = together
            write(args.out, found)
    show(found)


@dataclass(frozen=True)
class Study:
    """Students of one seed that learn from the same clips."""

    work: Path
    seed: int
    clips: int
    steps: int
    init_seed: int | None

    @property
    def demo(self) -> Path:
        """The demo, with videos, labels and teacher."""
        return self.work / f"demo-{self.seed}"

    @property
    def folder(self) -> Path:
        """Where caches, students and probes go."""
        return self.work / f"seed-{self.seed}-{self.clips}-clips-{self.steps}-steps"

    @property
    def rows(self) -> Path:
        """The first videos to train on."""
        return self.demo / "videos" / f"first-{self.clips}.csv"

    def name(self, arm: str) -> str:
        """Name of a student."""
        return arm if self.init_seed is None else f"{arm} init {self.init_seed}"

    def run(self, arm: str) -> Path:
        """Run folder of a student."""
        return self.folder / self.name(arm).replace(" ", "-")

    @property
    def options(self) -> list[str]:
        """Flags that a run and its cache share."""
        shared = ["--preset", "demo", "--data", str(self.rows), "--seed", str(self.seed)]
        return [*shared, "--data.holdout", "0.2", *CROPS, "--device.threads", "1"]

    def prepare(self) -> dict[str, float]:
        """Run the demo if it is not done, and choose clips; return what its encoders reach."""
        summary = self.demo / "summary.json"
        if not summary.exists():
            call(["demo", "--out", str(self.demo), "--seed", str(self.seed)])
        keep_first(self.rows.with_name("labels.csv"), self.rows, self.clips)
        scores = json.loads(summary.read_text())["encoders"]
        return {name: score["motion"]["accuracy"] for name, score in scores.items()}


def keep_first(manifest: Path, out: Path, clips: int) -> None:
    """Write a manifest of the first rows to train on; they have every class equally often."""
    with manifest.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"][:clips]
    with whole_file(out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def learn(study: Study, arm: str) -> dict[str, Any]:
    """Train and probe one student, after its cache."""
    targets = ["--teacher", str(study.demo / "run" / "teacher")]
    cost: dict[str, Any] = {}
    if arm != "live":
        token_format, views = arm.split("-")
        cache = study.folder / f"cache-{arm}"
        words = [*study.options, *targets, "--data.views", views, "--format", token_format]
        if not complete(cache):
            cost["cache_cpu_s"] = call(["cache-targets", *words, "--out", str(cache)])
        cost["cache_flops"] = json.loads((cache / "targets.json").read_text())["flops"]
        cost["cache_bytes"] = sum(file.stat().st_size for file in cache.glob("*.bin"))
        targets = ["--targets", str(cache)]
    run = study.run(arm)
    words = ["--method", "salt", *study.options, *targets]
    words += ["--steps", str(study.steps), "--save-every", str(study.steps // 4)]
    if study.init_seed is not None:
        words += ["--init-seed", str(study.init_seed)]
    cpu_s = train(words, run)
    timings = records(run / "timings.jsonl")
    return {
        **last(run),
        **probe(study, run),
        "cpu_s": cpu_s,
        **{
            name: statistics.median(timing[name] for timing in timings)
            for name in ("clips_per_s", "data_wait_share")
        },
        **cost,
        "machine": machine(),
        "load_average": os.getloadavg()[2],
    }


def complete(cache: Path) -> bool:
    """Whether a cache is there, for several students may read it."""
    facts = cache / "targets.json"
    return facts.exists() and json.loads(facts.read_text())["complete"]


def train(words: Sequence[str], run: Path) -> float | None:
    """Begin a run or go on with it; return the CPU seconds of one that was not interrupted."""
    if (run / "config.json").exists():
        call(["resume", str(run)])
        return None
    shutil.rmtree(run, ignore_errors=True)
    return call(["pretrain", *words, "--out", str(run)])


def probe(study: Study, run: Path) -> dict[str, Any]:
    """Return the accuracy of the linear probe for motion, and its 95 % interval."""
    out = run.with_name(f"{run.name}-probe")
    if not (out / "probe.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        words = ["--encoder", str(run), "--data", str(study.demo / "labels.csv")]
        words += ["--label-column", "motion", "--no-random-init", "--workers", "0"]
        call(["probe", "fit", *words, "--seed", str(study.seed), "--out", str(out)])
    metrics = json.loads((out / "probe.json").read_text())["encoders"][0]["metrics"]
    interval = metrics["interval"]
    return {"motion": metrics["accuracy"], "ci95": [interval["low"], interval["high"]]}


def last(run: Path) -> dict[str, Any]:
    """Return steps, operations and the validation loss of a run's end."""
    record = records(run / "metrics.jsonl")[-1]
    return {name: record[name] for name in ("step", "flops_exact", "val_loss")}


def side_by_side(live: Path, cached: Path) -> dict[str, float] | None:
    """Compare the rates of two runs over the time that both ran, by this machine's clock."""
    logs = [run / "timings.jsonl" for run in (live, cached)]
    if not all(log.exists() for log in logs):
        return None
    spans = []
    for log in logs:
        timings = records(log)
        begin = log.stat().st_mtime - timings[-1]["elapsed_s"]
        times = [begin + timing["elapsed_s"] for timing in timings]
        spans.append((times, [timing["step"] for timing in timings]))
    low, high = max(times[0] for times, _ in spans), min(times[-1] for times, _ in spans)
    if low >= high:
        return None
    steps = [float(np.ptp(np.interp([low, high], *span))) for span in spans]
    return {"seconds": high - low, "live_steps": steps[0], "cached_steps": steps[1]}


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
    for seed, scores in found["demos"].items():
        print(f"demo of seed {seed}:", {name: f"{score:.1%}" for name, score in scores.items()})
    for name, student in found["students"].items():
        print(f"{name}: {student['motion']:.1%}, val_loss {student['val_loss']:.4f}", end=", ")
        print(f"{student['cpu_s']} CPU s, data wait {student['data_wait_share']:.0%}")


if __name__ == "__main__":
    main()
