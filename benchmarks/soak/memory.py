"""Whether memory stays flat: a run of tiny steps, looked at every ten seconds for an hour.

usage: python benchmarks/soak/memory.py WORK [--minutes 60] [--warm-up 10] [--out FILE]

One `vsalt pretrain --method salt` with all that a run does: two data workers, videos and pictures
in turn, files that cannot be read, health, val_loss, checkpoints. It is stopped by SIGTERM. WORK
takes the run and the raw numbers.

Flat means: after the warm-up the private memory of no process, nor of all together, grows by more
than 1 % or 5 MB in an hour, whichever is more, at the upper end of the interval; and no process
holds more open files or threads at the end than at the end of the warm-up. Memory that stands still
but for a few steps has no interval that means anything (fewer than ten looks count): then the most
of the last tenth above the least of the first tenth counts. Resident memory is
noted, too, but it counts pages of files, which the system takes back when others need memory.
"""

import argparse
import itertools
import json
import math
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import RESULTS, Marked, Process, machine, network, write, write_set
from scipy import stats

EVERY_S = 10.0
MOST_SHARE, MOST_MB = 0.01, 5.0
FEWEST = 10.0
"""Looks that must count for an interval."""
SETTINGS = [
    *("--steps", "10000000", "--optim.warmup-steps", "100", "--seed", "3"),
    *("--save-every", "200", "--loop.val-every", "100", "--loop.keep-last", "2"),
    *("--loop.log-every", "5", "--loop.health-every", "25"),
    *("--data.workers", "2", "--data.holdout", "0.1", "--data.max-bad-share", "1"),
    *("--data.limits.timeout-s", "10"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="minutes left out of the fit")
    parser.add_argument("--out", type=Path, default=RESULTS / "memory.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found = soak(args.work, 60 * args.minutes)
    found |= judge(args.work / "samples.jsonl", 60 * args.warm_up)
    command = f"soak/memory.py WORK --minutes {args.minutes:g} --warm-up {args.warm_up:g}"
    write(args.out, {"command": command, "machine": machine(), **found})
    show(found)
    return 0 if found["flat"] else 1


def soak(work: Path, seconds: float) -> dict[str, Any]:
    """Run for so long, write a line of numbers every `EVERY_S`, and return how the run ended."""
    videos = write_set(work / "set", videos=64, pictures=24, damaged=23)
    train = [sys.executable, "-m", "vsalt", "pretrain", "--data", str(videos)]
    train += [*network(""), *SETTINGS]
    short = ["--steps", "2", "--optim.warmup-steps", "1"]
    teacher, run, log = work / "teacher", work / "run", work / "run.log"
    subprocess.run(
        [*train, "--method", "pixel", "--out", str(teacher), *short],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    marked = Marked([*train, "--method", "salt", "--teacher", teacher, "--out", run], log)
    began = time.monotonic()
    try:
        with (work / "samples.jsonl").open("w") as file:
            while (elapsed_s := time.monotonic() - began) < seconds:
                sample = {name: use._asdict() for name, use in named_usages(marked).items()}
                print(json.dumps({"elapsed_s": elapsed_s, **sample}), file=file, flush=True)
                if marked.popen.poll() is not None:
                    raise SystemExit(f"the run has ended by itself; see {log}")
                time.sleep(EVERY_S - (time.monotonic() - began) % EVERY_S)
        marked.popen.send_signal(signal.SIGTERM)
        code = marked.popen.wait(120)
        left = [process.command for process in marked.left_after(5)]
    finally:
        marked.end()
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "seconds": round(seconds),
        "exit_code": code,
        "processes_left": left,
        "steps": records[-1]["step"],
        "validations": sum(record["kind"] == "val" for record in records),
        "bad_reads": records[-1]["bad_reads"],
        "metrics_mb": round((run / "metrics.jsonl").stat().st_size / 1e6, 1),
    }


def named_usages(marked: Marked) -> dict[str, Any]:
    """Return what each process holds, by a name that stays its own."""
    counts: dict[str, int] = {}
    found = {}
    for process in marked.processes():
        role = role_of(process, marked.popen.pid)
        counts[role] = counts.get(role, 0) + 1
        usage = process.usage()
        if usage is not None:
            found[f"{role} {process.pid}"] = usage
    return found


def role_of(process: Process, trainer: int) -> str:
    if process.pid == trainer:
        return "trainer"
    return "tracker" if process.is_tracker else "worker"


class Slope(NamedTuple):
    """How a number grows with time, by least squares.

    Attributes:
        mean: of the number.
        per_hour: growth.
        low: lower end of the 95 % interval of the growth.
        high: upper end.
        autocorrelation: of one residual and the next.
        effective: looks that count.
    """

    mean: float
    per_hour: float
    low: float
    high: float
    autocorrelation: float
    effective: float


def fit(hours: Sequence[float], values: Sequence[float]) -> Slope:
    """Fit a line.

    Residuals that follow each other are alike, so n of them count as n (1 - r) / (1 + r), with the
    lag-one autocorrelation r: the interval is wider than that of independent ones.
    """
    mean = statistics.fmean(values)
    if min(values) == max(values):
        return Slope(mean, 0.0, 0.0, 0.0, 0.0, float(len(values)))
    line = stats.linregress(hours, values)
    rest = [float(y - line.intercept - line.slope * x) for x, y in zip(hours, values, strict=True)]
    power = sum(value * value for value in rest)
    alike = sum(a * b for a, b in itertools.pairwise(rest)) / power
    alike = min(max(alike, 0.0), 0.99)
    effective = max(3.0, len(values) * (1 - alike) / (1 + alike))
    widened = line.stderr * math.sqrt((len(values) - 2) / max(1.0, effective - 2))
    half = widened * stats.t.ppf(0.975, max(1.0, effective - 2))
    slope, half = float(line.slope), float(half)
    return Slope(mean, slope, slope - half, slope + half, alike, effective)


def judge(path: Path, warm_up_s: float) -> dict[str, Any]:
    """Return slopes, counts of files and threads, and whether all is flat."""
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    late = [sample for sample in samples if sample["elapsed_s"] >= warm_up_s]
    assert len(late) > 2, "too few samples after the warm-up"
    names = [name for name in late[0] if name != "elapsed_s"]
    begun_or_gone = sorted({name for sample in late for name in sample} ^ set(late[0]))
    complete = [sample for sample in late if set(names) <= set(sample)]
    hours = [sample["elapsed_s"] / 3600 for sample in complete]
    rows = {}
    for name in [*names, "all together"]:
        parts = names if name == "all together" else [name]
        row: dict[str, Any] = {}
        tenth = max(1, len(complete) // 10)
        for kind in ("rss", "anonymous"):
            values = [sum(sample[part][kind] for part in parts) / 1e6 for sample in complete]
            slope = fit(hours, values)
            row[f"{kind}_mb"] = {key: round(value, 3) for key, value in slope._asdict().items()}
            grown = (max(values[-tenth:]) - min(values[:tenth])) / (hours[-1] - hours[0])
            row[f"{kind}_mb"]["grown_per_hour"] = round(grown, 3)
        private = row["anonymous_mb"]
        growth = private["high" if private["effective"] >= FEWEST else "grown_per_hour"]
        row["flat"] = growth <= max(MOST_MB, MOST_SHARE * private["mean"])
        for kind in ("fds", "threads"):
            counts = [sum(sample[part][kind] for part in parts) for sample in complete]
            # A file may be open at the moment of a look: the least of some looks is compared.
            row[kind] = {"first": min(counts[:tenth]), "last": min(counts[-tenth:])}
            row[kind]["most"] = max(counts)
            row["flat"] &= row[kind]["last"] <= row[kind]["first"]
        rows[name] = row
    every = max(1, round(60 / EVERY_S))
    minutes = [
        {name: round(sample[name]["anonymous"] / 1e6, 2) for name in names if name in sample}
        for sample in samples[::every]
    ]
    return {
        "criterion": {"most_mb_per_hour": MOST_MB, "most_share_per_hour": MOST_SHARE},
        "warm_up_s": warm_up_s,
        "samples": len(samples),
        "begun_or_gone": begun_or_gone,
        "flat": not begun_or_gone and all(row["flat"] for row in rows.values()),
        "processes": rows,
        "private_mb_by_minute": minutes,
    }


def show(found: dict[str, Any]) -> None:
    print(f"{found['steps']} steps in {found['seconds']} s, flat: {found['flat']}")
    for name, row in found["processes"].items():
        rss, private = row["rss_mb"], row["anonymous_mb"]
        print(
            f"{name:<16} private {private['mean']:7.1f} MB  {private['per_hour']:+7.2f} MB/h "
            f"({private['low']:+.2f} to {private['high']:+.2f})  resident {rss['mean']:7.1f} MB  "
            f"files {row['fds']}  threads {row['threads']}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
