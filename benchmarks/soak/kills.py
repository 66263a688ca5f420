"""Whether runs end as if nothing had happened: kill -9, a hundred times, of whatever is running.

usage: python benchmarks/soak/kills.py WORK [--kills 100] [--seed 0] [--out FILE]

A run of `vsalt salt`, teacher and student, with data workers is started, killed at a random
moment, gone on with, killed again and so on; half of the kills in one process, half in two
processes by torchrun, with and without --max-restarts. A run that gets to its end is followed by
another one. The moment is drawn from the start-up, from the seconds after the first step, or from
the time while a checkpoint is written; the victim from all that live: the trainer or a rank, a data
worker, multiprocessing's helper, torchrun. After each kill the script does what a user would do:
the same command again, or `vsalt resume RUN` where there is a run by then.

After each kill is noted how the run ended and when, what it said, and which processes, temporary
folders and names in /dev/shm were left. At the end every run is compared with one that nothing
happened to, in the same number of processes: weights, optimiser, logs, quarantine.

WORK/kills.jsonl has a line per kill; a script that was stopped goes on with the next one.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import (
    RESULTS,
    Marked,
    Process,
    machine,
    network,
    runs,
    shared_memory,
    write,
    write_set,
)

STEPS = {1: "200:300", 2: "120:180"}
"""Of teacher and student, for each number of processes: enough for some tens of kills."""
SETTINGS = [
    *("--save-every", "10", "--seed", "3", "--data.workers", "1", "--data.holdout", "0.1"),
    *("--data.max-bad-share", "1"),
]
for _stage in ("teacher.", "student."):
    SETTINGS += [f"--{_stage}loop.log-every", "1", f"--{_stage}loop.val-every", "5"]
    SETTINGS += [f"--{_stage}loop.keep-last", "2"]
MOMENTS = {"start-up": 0.3, "training": 0.5, "saving": 0.2}
TRAINING_S = 6.0
"""Kills come so many seconds after the first step of a start, at most."""
SAVING_S = 0.05
VICTIMS = {"trainer": 5, "worker": 5, "helper": 1, "torchrun": 2}
MOST_START_S = 240.0
END_S = 90.0
"""A run that has lost a process and goes on for so long counts as unharmed."""
GONE_S = 60.0
RESTARTS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], choices=[1, 2])
    parser.add_argument("--steps", help="T:S, instead of those in the script")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "kills.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "command": f"soak/kills.py WORK --kills {args.kills} --seed {args.seed}",
        "machine": machine(),
    }
    for size in args.processes:
        soak = Soak(args.work / f"in-{size}", size, args.steps or STEPS[size], args.seed)
        found[f"in {size}"] = soak.run(args.kills // len(args.processes))
        write(args.out, found)
    print(json.dumps({name: value for name, value in found.items() if name != "kills"}, indent=2))
    return 0


@dataclass
class Soak:
    """Runs of one number of processes.

    Attributes:
        work: folder of all that is written.
        size: number of processes.
        steps: T:S.
        seed: of moments and victims.
        start_s: seconds from a start to its first step, of the starts so far.
    """

    work: Path
    size: int
    steps: str
    seed: int
    start_s: list[float] = field(default_factory=lambda: [20.0])

    def run(self, kills: int) -> dict[str, Any]:
        """Kill so often, let the last run end, and compare."""
        self.work.mkdir(exist_ok=True)
        self.videos = write_set(self.work / "set", videos=48, damaged=23)
        self.journal = self.work / "kills.jsonl"
        whole = self.work / "whole"
        self.finish(whole)
        done = self.read_journal()
        number = done[-1]["run"] if done else 0
        while len(done) < kills:
            if is_done(self.folder(number)):
                number += 1
            self.live(number, len(done), kills)
            done = self.read_journal()
        compared = {}
        for index in range(number + 1):
            self.finish(self.folder(index))
            compared[f"run {index}"] = differences(self.folder(index), whole)
        return {"steps": self.steps, "runs": compared, **sum_up(done), "kills": done}

    def read_journal(self) -> list[dict[str, Any]]:
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line) for line in lines]

    def folder(self, number: int) -> Path:
        return self.work / f"run-{number}"

    def command(self, run: Path, restarts: int) -> list[str | Path]:
        """Return what a user would type now."""
        words: list[str | Path] = ["-m", "vsalt"]
        if self.size > 1:
            launch = ["-m", "torch.distributed.run", "--standalone"]
            launch += ["--nproc-per-node", str(self.size), "--max-restarts", str(restarts)]
            words = [*launch, *words]
        if (run / "config.json").exists():
            return [sys.executable, *words, "resume", run]
        words += ["salt", "--data", self.videos, "--out", run, "--steps", self.steps]
        return [sys.executable, *words, *network("teacher.", "student."), *SETTINGS]

    def start(self, run: Path, name: str, restarts: int = 0) -> tuple[Marked, Path]:
        log, temporary = self.work / "logs" / f"{name}.log", self.work / "tmp" / name
        log.parent.mkdir(exist_ok=True)
        temporary.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        own = {"TMPDIR": str(temporary)}
        return Marked(self.command(run, restarts), log, own), log

    def finish(self, run: Path) -> None:
        """Let a run get to its end.

        Raises:
            SystemExit: it does not.
        """
        if is_done(run):
            return
        marked, log = self.start(run, f"finish-{run.name}")
        try:
            if marked.popen.wait(3600):
                raise SystemExit(f"{run} does not get to its end; see {log}")
        finally:
            marked.end()

    def live(self, number: int, first_kill: int, kills: int) -> None:
        """Start the run and kill until it has ended."""
        run = self.folder(number)
        draw = random.Random(f"{self.seed} {self.size} {first_kill}")
        restarts = RESTARTS if self.size > 1 and first_kill % 2 else 0
        names = shared_memory()
        began = time.monotonic()
        marked, log = self.start(run, f"life-{first_kill}", restarts)
        life = Life(marked, log, run, self.size, draw)
        try:
            for kill in range(first_kill, kills):
                moment = draw.choices(list(MOMENTS), list(MOMENTS.values()))[0]
                wait = draw.uniform(0, statistics.median(self.start_s))
                if not life.await_moment(moment, wait):
                    return
                if moment != "start-up" and kill == first_kill:
                    self.start_s.append(life.stepped_at - began)
                outcome = life.kill()
                left = [re.sub(r"\S*/", "", each.command)[:120] for each in marked.processes()]
                entry = {
                    "kill": kill,
                    "run": number,
                    "moment": moment,
                    "restarts": restarts,
                    **outcome,
                    "left": left if outcome["end"] not in ("unharmed", "restarted") else [],
                    "temporary_left": litter(self.work / "tmp" / f"life-{first_kill}"),
                    "shared_memory_new": sorted(shared_memory() - names),
                }
                with self.journal.open("a") as file:
                    print(json.dumps(entry), file=file, flush=True)
                print(f"in {self.size}: {entry}", flush=True)
                if outcome["end"] not in ("unharmed", "restarted"):
                    return
        finally:
            marked.end()


@dataclass
class Life:
    """One start of a run, until it ends.

    Attributes:
        marked: its processes.
        log: what it says.
        run: its folder.
        size: number of processes that train.
        draw: chooses moments and victims.
        stepped_at: when the first step was seen.
    """

    marked: Marked
    log: Path
    run: Path
    size: int
    draw: random.Random
    stepped_at: float = 0.0
    _said: int = 0

    @property
    def ended(self) -> bool:
        return self.marked.popen.poll() is not None

    def await_moment(self, moment: str, start_up_s: float) -> bool:
        """Wait, and return whether the run still lives then."""
        if moment == "start-up":
            return not self._wait(lambda: False, start_up_s) and not self.ended
        if not self._wait(self._has_stepped, MOST_START_S):
            assert self.ended, f"no step within {MOST_START_S} s, see {self.log}"
            return False
        self.stepped_at = time.monotonic()
        if moment == "training":
            self._wait(lambda: False, self.draw.uniform(0, TRAINING_S))
        elif self._wait(self.is_saving, END_S, every_s=0.001):
            time.sleep(self.draw.uniform(0, SAVING_S))
        return not self.ended

    def _wait(self, reached: Callable[[], bool], longest_s: float, every_s: float = 0.05) -> bool:
        """Wait until something is so, at most so long; return whether it is so."""
        deadline = time.monotonic() + longest_s
        while time.monotonic() < deadline and not self.ended:
            if reached():
                return True
            time.sleep(every_s)
        return False

    def _has_stepped(self) -> bool:
        return re.search(rb": step \d+/", self.log.read_bytes()[self._said :]) is not None

    def is_saving(self) -> bool:
        return any(self.run.glob("*/checkpoints/.tmp-step-*"))

    def roles(self) -> dict[str, list[Process]]:
        """Return the processes by what they are."""
        roles: dict[str, list[Process]] = {}
        for process in self.marked.processes():
            name = "helper" if process.is_tracker else "worker" if process.is_worker else "trainer"
            if self.size > 1 and process.pid == self.marked.popen.pid:
                name = "torchrun"
            roles.setdefault(name, []).append(process)
        return roles

    def kill(self) -> dict[str, Any]:
        """Kill one process, and return what came of it."""
        roles = self.roles()
        # A worker that has been spawned but not begun is a fork of its parent to the eye.
        role = self.draw.choices(list(roles), [VICTIMS[name] for name in roles])[0]
        victim = self.draw.choice(roles[role])
        facts: dict[str, Any] = {
            "victim": role if len(roles[role]) < 2 else f"{role} {roles[role].index(victim)}",
            "role": role,
            "stepped": self._has_stepped(),
            "saving": self.is_saving(),
            "step": newest_step(self.run),
            "processes": sum(map(len, roles.values())),
        }
        trainers = {process.pid for process in roles.get("trainer", [])}
        self._said = self.log.stat().st_size
        began = time.monotonic()
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            return {**facts, "end": "unharmed", "seconds": 0.0, "missed": True}
        facts |= {"end": self._await_end(role, trainers), "code": self.marked.popen.poll()}
        facts["seconds"] = round(time.monotonic() - began, 2)
        if self.ended:
            # torchrun or the trainer may be gone, and others not.
            left = self.marked.left_after(GONE_S)
            facts["gone_s"] = None if left else round(time.monotonic() - began, 2)
        text = self.log.read_bytes()[self._said :].decode(errors="replace")
        return {**facts, "says": said(text), "traceback": "/src/vsalt/" in text}

    def _await_end(self, role: str, trainers: set[int]) -> str:
        """Wait until the run has ended, or all ranks are new ones."""
        deadline = time.monotonic() + (3.0 if role == "helper" else END_S)
        while time.monotonic() < deadline:
            if self.ended:
                return "ended"
            if self.size > 1 and role != "torchrun":
                now = {process.pid for process in self.roles().get("trainer", [])}
                if len(now) == self.size and not now & trainers:
                    return "restarted"
            time.sleep(0.05)
        return "unharmed"


def litter(folder: Path) -> list[str]:
    """Return what lies in a folder for temporary files, without torch's cache of compiled code."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("torchinductor"))


def said(text: str) -> str:
    """Return the line of vsalt's own error, without what differs from run to run."""
    lines = [line for line in text.splitlines() if re.match(r"(\[process \d\] )?vsalt \w+: ", line)]
    if not lines:
        return ""
    # The first: whoever is lost is told of by the others.
    line = re.sub(r"^\[process \d\] ", "", lines[0])
    return re.sub(r"\d+ of \d+|; here it was.*|`vsalt resume /\S+", "…", line)


def newest_step(run: Path) -> str:
    """Return the newest checkpoint of the newest stage."""
    for stage in ("student", "teacher"):
        pointer = run / stage / "checkpoints" / "latest"
        if pointer.exists():
            return f"{stage} {pointer.read_text().strip()}"
    return "none"


def is_done(run: Path) -> bool:
    """Return whether the student has got to its end."""
    config = run / "student" / "config.json"
    if not config.exists():
        return False
    steps = json.loads(config.read_text())["config"]["stage"]["loop"]["steps"]
    return newest_step(run) == f"student step-{steps}"


def differences(run: Path, whole: Path) -> dict[str, Any]:
    """Return what is not the same in two runs, and what an interrupted save has left behind."""
    one, other = runs.fingerprint(run), runs.fingerprint(whole)
    for stage in ("teacher", "student"):
        for prints, folder in ((one, run), (other, whole)):
            path = folder / stage / "quarantine.jsonl"
            lines = path.read_text().splitlines() if path.exists() else []
            prints[f"{stage} quarantine"] = "\n".join(sorted(lines))
    differing = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    litter = [str(path.relative_to(run)) for path in (*run.rglob(".tmp-*"), *run.rglob(".*.tmp"))]
    return {"compared": len(other), "different": differing, "left_behind": litter}


def sum_up(kills: list[dict[str, Any]]) -> dict[str, Any]:
    """Count outcomes, and measure how long it took."""
    outcomes = Counter(f"{kill['role']}: {kill['end']}" for kill in kills)
    spans: dict[str, list[float]] = {}
    for kill in kills:
        spans.setdefault(kill["role"], []).append(kill.get("gone_s") or kill["seconds"])
    return {
        "outcomes": dict(sorted(outcomes.items())),
        "moments": dict(Counter(kill["moment"] for kill in kills)),
        "in_mid_save": sum(kill["saving"] for kill in kills),
        "before_the_first_step": sum(not kill["stepped"] for kill in kills),
        "messages": dict(Counter(kill["says"] for kill in kills if "says" in kill)),
        "tracebacks": sum(kill.get("traceback", False) for kill in kills),
        "seconds_until_all_is_gone": {
            role: {
                "median": round(statistics.median(values), 2),
                "most": round(max(values), 2),
            }
            for role, values in sorted(spans.items())
        },
        "kills_with_processes_left": sum(bool(kill["left"]) for kill in kills),
        "shared_memory_new": sorted({name for kill in kills for name in kill["shared_memory_new"]}),
        "temporary_left": dict(
            Counter(re.sub("[0-9].*|_.*", "", name) for k in kills for name in k["temporary_left"])
        ),
    }


if __name__ == "__main__":
    raise SystemExit(main())
