"""Whether damaged files stop anything: thousands of them through the loader and `vsalt data check`.

usage: python benchmarks/soak/mutants.py WORK [--real FOLDER] [--count 2000] [--seed 0] [--out FILE]

A folder is filled with COUNT damaged copies of sound videos, half of them of videos below FOLDER,
and twice as many sound ones. Number i is a function of the seed and i. Then:

1. alone: every sample of one pass is read in a process of its own, which reads nothing else.
2. loader: a `ClipLoader` with two workers gives the same samples, and a `Quarantine` takes what is
   bad. Clips, rows and bad files must equal those of 1; only time-outs depend on the clock. More
   passes follow, which only show whether memory grows.
3. check: `vsalt data check --read all` over the folder.

Counted are crashes, the longest waits, and open files, memory and names in /dev/shm before and
after. WORK keeps what 1 found, so that the script can be stopped and started again.
"""

import argparse
import json
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, Marked, Process, Usage, machine, mutate, shared_memory, write

from support.processes import children
from vsalt.data.activity import Activity, Place, hard_limit_s
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig, ReadLimits
from vsalt.data.dataset import ClipDataset
from vsalt.data.jobs import Job
from vsalt.data.loader import ClipLoader
from vsalt.data.quarantine import Quarantine
from vsalt.data.types import Batch, SampleKey

CLIP = ClipConfig(num_frames=8, frame_step=2, size=(32, 32))
LIMITS = ReadLimits(timeout_s=10.0)
BATCH_SIZE, MICRO_BATCH_SIZE, WORKERS = 8, 4, 2
SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".gif", ".webm"}
MOST_REAL, MOST_BYTES = 60, 400_000
MOST_TRIES = 4
"""Files in the place of one sample that may take the hard limit before a process counts as hung."""
LOOK_EVERY = 50
"""Micro-batches between two looks at memory and files."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--real", type=Path, help="a folder of real videos")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "mutants.json")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    folder = args.work / "mixture"
    if not folder.exists():
        write_mixture(args.work, folder, args.real, args.count, args.seed)
    data = DataConfig(
        sources=(str(folder),), holdout=0.0, max_bad_share=1.0, workers=WORKERS, limits=LIMITS
    )
    catalogue = Catalogue.load(data, seed=args.seed)
    dataset = ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(args.seed),
        batch_size=BATCH_SIZE,
        clip=CLIP,
        data=data,
        seed=args.seed,
    )
    num_steps = -(-len(catalogue.rows) // BATCH_SIZE)
    alone = read_alone(dataset, num_steps, args.work / "alone.jsonl")
    found = {
        "command": f"soak/mutants.py WORK --real FOLDER --count {args.count} --seed {args.seed}",
        "machine": machine(),
        "limits": {"timeout_s": LIMITS.timeout_s, "hard_s": hard_limit_s(LIMITS)},
        "files": {"damaged": args.count, "sound": len(catalogue.rows) - args.count},
        "bases": json.loads((args.work / "bases.json").read_text()),
        "alone": sum_up_alone(alone),
        "loader": read_by_loader(dataset, args.passes * num_steps, alone, args.work),
        "check": check(folder, args.work, alone),
    }
    write(args.out, found)
    print(json.dumps(found, indent=2))
    return 0


def write_mixture(work: Path, folder: Path, real: Path | None, count: int, seed: int) -> None:
    """Write the damaged files, and links to sound ones under names of their own."""
    partial = folder.with_name("mixture.partial")
    made = mutate.write_videos(work / "bases", mutate.MORE_VIDEOS)
    given = real_videos(real) if real else []
    half = count // 2 if given else count
    mutate.write_mutants(partial, made, count=half, seed=seed)
    if given:
        mutate.write_mutants(partial / "real", given, count=count - half, seed=seed + 1)
    (partial / "sound").mkdir()
    bases = [*made, *given]
    for number in range(2 * count):
        base = bases[number % len(bases)]
        name = partial / "sound" / f"{number:05d}{base.suffix}"
        try:
            os.link(base, name)
        except OSError:  # on another disk
            name.write_bytes(base.read_bytes())
    (work / "bases.json").write_text(json.dumps({"made": len(made), "real": len(given)}))
    partial.rename(folder)


def real_videos(folder: Path) -> list[Path]:
    """Return small sound videos, spread over the folder.

    Raises:
        SystemExit: there is none.
    """
    from vsalt.data.decode import Video
    from vsalt.data.sampling import clip_times, stretch
    from vsalt.errors import DecodeError

    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    paths = [path for path in paths if path.stat().st_size <= MOST_BYTES]
    # Half of them from wherever there are few, the odd ones; the others from wherever.
    few = Counter(path.parents[-1 - len(folder.parts)] for path in paths)
    odd = [path for path in paths if few[path.parents[-1 - len(folder.parts)]] < MOST_REAL]
    step = max(1, len(paths) // (MOST_REAL - len(odd[: MOST_REAL // 2])))
    found = []
    for path in sorted({*odd[: MOST_REAL // 2], *paths[::step]}):
        try:
            with Video(path, limits=LIMITS) as video:
                part = stretch(video.info, start_s=None, end_s=None)
                for u in (0.0, 0.5, 0.999):
                    video.read(clip_times(CLIP, part, u=u))
        except DecodeError:
            continue
        found.append(path)
    if not found:
        raise SystemExit(f"no video of {MOST_BYTES} bytes or less can be read below {folder}")
    return found


def read_alone(dataset: ClipDataset, num_steps: int, path: Path) -> list[dict[str, Any]]:
    """Read each sample in a process of its own, and write down what came of it."""
    known = path.read_text().splitlines() if path.exists() else []
    keys = [SampleKey(step, place) for step in range(num_steps) for place in range(BATCH_SIZE)]
    with path.open("a") as file:
        for key in keys[len(known) :]:
            line = json.dumps(in_own_process(dataset, key))
            print(line, file=file, flush=True)
            known.append(line)
    return [json.loads(line) for line in known]


def in_own_process(dataset: ClipDataset, key: SampleKey) -> dict[str, Any]:
    """Return the outcome of a sample, and what ended the process that read it, if that happened.

    As in a loader's worker, the reading that ended the process is not tried again.
    """
    verdicts: dict[Place, str] = {}
    ends: list[str] = []
    while True:
        activity = Activity()
        began = time.monotonic()
        text, status, usage = fork(dataset, key, verdicts, activity)
        spent = {
            "seconds": round(time.monotonic() - began, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_mb": round(usage.ru_maxrss / 1024),
        }
        if text:
            return {**json.loads(text), "ends": ends, **spent}
        reading = activity.now()
        assert reading is not None, f"{key}: died outside of a reading, status {status}"
        ends.append(signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit")
        verdicts[reading.place] = "ended its process"


def fork(
    dataset: ClipDataset, key: SampleKey, verdicts: dict[Place, str], activity: Activity
) -> tuple[str, int, Any]:
    """Read a sample in a fork; return what it says, how it ended and what it took."""
    near, far = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            job = Job(verdicts, activity=activity)
            outcome = outcome_of(dataset.read([dataset.draw(key)], job), 0)
            with os.fdopen(far, "w") as file:
                file.write(json.dumps(outcome))
        finally:
            # Not even after an error may the fork go on with what its parent does.
            os._exit(0)
    os.close(far)
    with os.fdopen(near) as file:
        if not select.select([file], [], [], MOST_TRIES * hard_limit_s(LIMITS))[0]:
            os.kill(pid, signal.SIGKILL)
        text = file.read()
    _, status, usage = os.wait4(pid, 0)
    return text, status, usage


def outcome_of(batch: Batch, index: int) -> dict[str, Any]:
    """Return what identifies the sample with this place in a batch, and all its bad files."""
    return {
        "row": batch.rows[index],
        "clip": sha256(batch.clips[index].contiguous().numpy().tobytes()).hexdigest(),
        "bad": [list(bad) for bad in batch.bad_files],
    }


def sum_up_alone(alone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    bad = [entry for outcome in alone for entry in outcome["bad"]]
    slow = sorted((outcome["seconds"] for outcome in alone), reverse=True)
    return {
        "samples": len(alone),
        "bad_reads": len(bad),
        "bad_files": len({entry[3] for entry in bad}),
        "processes_ended": dict(Counter(end for outcome in alone for end in outcome["ends"])),
        "timed_out": sum(entry[5] for entry in bad),
        "longest_s": slow[:5],
        "most_cpu_s": max(outcome["cpu_s"] for outcome in alone),
        "most_rss_mb": sorted((outcome["rss_mb"] for outcome in alone), reverse=True)[:5],
    }


def read_by_loader(
    dataset: ClipDataset, num_steps: int, alone: Sequence[dict[str, Any]], work: Path
) -> dict[str, Any]:
    """Read all samples by a loader, compare them, and look at what it holds meanwhile."""
    path = work / "quarantine.jsonl"
    path.unlink(missing_ok=True)
    # What a process takes once and keeps: the table of files, multiprocessing's helper.
    with open_loader(dataset, 2) as loader:
        for _ in loader:
            pass
    del loader, _
    names, before = shared_memory(), usage_of(os.getpid())
    began = time.monotonic()
    found = compare(dataset, num_steps, alone, Quarantine(path, max_bad_share=1.0))
    after = usage_of(os.getpid())
    compared = {entry[3] for outcome in alone for entry in outcome["bad"]}
    named = {json.loads(line)["path"] for line in path.read_text().splitlines()}
    return {
        "seconds": round(time.monotonic() - began),
        **found,
        "quarantined_files": len(named),
        "not_quarantined": sorted(compared - named),
        "children_left": len(children()),
        "shared_memory_left": sorted(shared_memory() - names),
        "parent_before": before._asdict(),
        "parent_after": after._asdict(),
    }


def open_loader(dataset: ClipDataset, num_steps: int) -> ClipLoader:
    return ClipLoader(
        dataset,
        start=0,
        stop=num_steps,
        batch_size=BATCH_SIZE,
        micro_batch_size=MICRO_BATCH_SIZE,
        workers=WORKERS,
        limits=LIMITS,
    )


def compare(
    dataset: ClipDataset, num_steps: int, alone: Sequence[dict[str, Any]], quarantine: Quarantine
) -> dict[str, Any]:
    """Read by a loader; return what differs, how long was waited, and what it has held."""
    looks: list[dict[str, Any]] = []
    waits: list[float] = []
    workers: set[int] = set()
    differing: list[str] = []
    num_compared = timed_out = 0
    with open_loader(dataset, num_steps) as loader:
        for step, part, batch in loader:
            waits.append(loader.wait_s - sum(waits))
            quarantine.record(batch)
            first = step * BATCH_SIZE + part * MICRO_BATCH_SIZE
            for index, expected in enumerate(alone[first : first + MICRO_BATCH_SIZE]):
                place = part * MICRO_BATCH_SIZE + index
                found = outcome_of(batch, index)
                found["bad"] = [entry for entry in found["bad"] if entry[1] == place]
                num_compared += 1
                if any(entry[5] for entry in (*found["bad"], *expected["bad"])):
                    timed_out += 1
                elif any(found[name] != expected[name] for name in found):
                    differing.append(f"step {step}, position {place}")
            if len(waits) % LOOK_EVERY in (0, 1):
                workers |= set(children())
            if len(waits) % LOOK_EVERY == 0:
                looks.append({"batches": len(waits), **look()})
    return {
        "batches": len(waits),
        "first_wait_s": round(waits[0], 2),
        "longest_waits_s": [round(wait, 2) for wait in sorted(waits[1:], reverse=True)[:5]],
        "samples_compared": num_compared,
        "samples_that_differ": differing,
        "samples_that_timed_out": timed_out,
        "worker_processes": len(workers),
        "bad_reads": quarantine.counts.bad,
        "looks": list(thinned(looks)),
    }


def thinned(looks: list[dict[str, Any]], most: int = 20) -> Iterator[dict[str, Any]]:
    for index, entry in enumerate(looks):
        if index % max(1, len(looks) // most) == 0 or index == len(looks) - 1:
            yield entry


def look() -> dict[str, Any]:
    own, others = usage_of(os.getpid()), [usage_of(pid) for pid in sorted(children())]
    return {
        "parent_mb": round(own.rss / 1e6, 1),
        "parent_fds": own.fds,
        "workers_mb": [round(usage.rss / 1e6, 1) for usage in others],
        "workers_fds": [usage.fds for usage in others],
    }


def usage_of(pid: int) -> Usage:
    return Process(pid, 0, 0, "").usage() or Usage(0, 0, 0, 0)


def check(folder: Path, work: Path, alone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Run `vsalt data check` over the folder, and compare it with what the loader could read."""
    out = work / "check.json"
    out.unlink(missing_ok=True)
    words = ["--read", "all", "--json", str(out), "--limits.timeout-s", f"{LIMITS.timeout_s:g}"]
    began = time.monotonic()
    log = work / "check.log"
    log.unlink(missing_ok=True)
    marked = Marked([sys.executable, "-m", "vsalt", "data", "check", folder, *words], log)
    code = marked.popen.wait()
    source = json.loads(out.read_text())["sources"][0]
    bad = {str(folder / entry["path"]) for entry in source["bad"]}
    sound = {name for name in bad if "/sound/" in name}
    met = {entry[3] for outcome in alone for entry in outcome["bad"]}
    return {
        "seconds": round(time.monotonic() - began),
        "exit_code": code,
        "processes_left": [process.command for process in marked.left_after(5)],
        "clips": source["clips"],
        "bad": len(bad),
        "timed_out": sum(entry["timed_out"] for entry in source["bad"]),
        "sound_called_bad": sorted(sound),
        "good_but_bad_for_the_loader": sorted(met - bad),
    }


if __name__ == "__main__":
    raise SystemExit(main())
