"""Whether `vsalt demo` shows its effect: the demo of several seeds, and the mean over them.

usage: python benchmarks/demo_seeds.py [--long] [--seeds 0 1 2] [--work FOLDER] [--out FILE]

The demos run one after the other, in processes of their own; each leaves its summary.json, which
goes into FILE (benchmarks/results/demo_seeds.json, or demo_seeds_long.json) at once with the
machine that it ran on. A seed that FILE has is not run again; remove FILE to begin anew. Then the
mean accuracies are printed, and how far the student is above random weights and the teacher.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import vsalt
from vsalt.bench.machine import cpu_name

RESULTS = Path(__file__).parent / "results"
TASKS = ("motion", "appearance")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, help="where the demos write; a temporary folder")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    out = args.out or RESULTS / f"demo_seeds{'_long' if args.long else ''}.json"
    found = read(out, long=args.long)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in args.seeds:
            if str(seed) in found["seeds"]:
                print(f"seed {seed}: {out} has it")
                continue
            summary = run(seed, args.work or Path(temporary), long=args.long)
            found["seeds"][str(seed)] = {"machine": machine(), "summary": summary}
            write(out, found)
    show([found["seeds"][str(seed)] for seed in args.seeds])


def read(out: Path, *, long: bool) -> dict[str, Any]:
    """Return what earlier calls have found."""
    command = f"vsalt demo{' --long' if long else ''} --seed SEED"
    if not out.exists():
        return {"command": command, "seeds": {}}
    found: dict[str, Any] = json.loads(out.read_text())
    if found["command"] != command:
        sys.exit(f"{out} is of {found['command']!r}, not of {command!r}; give another --out")
    return found


def write(out: Path, found: dict[str, Any]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=2) + "\n")
    temporary.replace(out)


def run(seed: int, work: Path, *, long: bool) -> dict[str, Any]:
    """Run one demo and return its summary."""
    folder = work / f"demo-{'long-' if long else ''}{seed}"
    # A demo that was killed cannot go on.
    if folder.exists() and not (folder / "summary.json").exists():
        shutil.rmtree(folder)
    if not folder.exists():
        words = ["demo", "--out", str(folder), "--seed", str(seed), *(["--long"] * long)]
        print(f"seed {seed}: vsalt {' '.join(words)}", flush=True)
        subprocess.run([sys.executable, "-m", "vsalt", *words], check=True)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def machine() -> dict[str, Any]:
    """Return what the numbers depend on besides the code."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "vsalt": vsalt.__version__,
    }


def show(entries: list[dict[str, Any]]) -> None:
    """Print the means, and the two differences."""
    summaries = [entry["summary"] for entry in entries]
    names = list(summaries[0]["encoders"])
    print(f"mean of {len(summaries)} seeds; {machine_in_words(entries[0]['machine'])}")
    print(f"{'features':<18}" + "".join(f"{task:>14}" for task in TASKS))
    for name in names:
        print(f"{name:<18}" + "".join(f"{mean(summaries, name, task):>14.1%}" for task in TASKS))
    chance = [statistics.mean(summary["chance"][task] for summary in summaries) for task in TASKS]
    print(f"{'chance':<18}" + "".join(f"{share:>14.1%}" for share in chance))
    for other in ("random_init", "teacher"):
        gains = [
            100 * (accuracy(summary, "student", "motion") - accuracy(summary, other, "motion"))
            for summary in summaries
        ]
        each = ", ".join(f"{gain:+.1f}" for gain in gains)
        print(f"student - {other}, motion: {statistics.mean(gains):+.1f} points (seeds: {each})")
    seconds = [summary["seconds"] for summary in summaries]
    print(f"seconds: {', '.join(f'{value:.0f}' for value in seconds)}")


def accuracy(summary: dict[str, Any], name: str, task: str) -> float:
    return float(summary["encoders"][name][task]["accuracy"])


def mean(summaries: list[dict[str, Any]], name: str, task: str) -> float:
    return statistics.mean(accuracy(summary, name, task) for summary in summaries)


def machine_in_words(facts: dict[str, Any]) -> str:
    return f"{facts['cpu']}, {facts['threads']} threads, torch {facts['torch']}"


if __name__ == "__main__":
    main()
