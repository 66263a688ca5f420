"""Train tiny networks in 1, 2 and 4 real processes that share steps, and write what came of it.

usage: python rank_driver.py FOLDER [NAME-SIZE...]

The processes are forks of this one, which has not computed anything before: torch is imported
once. FOLDER/NAME-SIZE/ is the run folder of process 0; each process writes its own end to
FOLDER/NAME-SIZE/end-RANK.json: the error, the step, the hash of the weights, and which share
of them it holds itself. NAME is a scenario, with -shard where networks are sharded, and then -async
where checkpoints are written beside the training.
"""

import dataclasses
import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # or each process would import it for itself
from torch import distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemWriter

sys.path.insert(0, str(Path(__file__).parents[1]))

from support import trainers
from support.tiny import make_batch
from vsalt.data.quarantine import Quarantine
from vsalt.data.types import BadFile, Batch
from vsalt.models.parts import own_part, whole
from vsalt.objectives.protocol import ObjectiveOutput
from vsalt.training import checkpoint as checkpoint_module
from vsalt.training.checkpoint import (
    CheckpointFolder,
    model_tensors,
    read_checkpoint,
    restore_optimiser,
    restore_weights,
)
from vsalt.training.config import DeviceConfig, LoopConfig, OptimConfig, Sharding
from vsalt.training.distributed import Ranks
from vsalt.training.division import divide
from vsalt.training.loop import Trainer
from vsalt.training.optim import build_optimiser
from vsalt.training.place import place
from vsalt.training.run_folder import NoLog
from vsalt.training.saver import Saver
from vsalt.training.stop import StopFlag
from vsalt.training.validation import validate

LOOP = LoopConfig(
    steps=6, batch_size=8, micro_batch_size=2, log_every=1, health_every=2, save_every=3
).resolved()
GROUP = 2
COUNTS = (((5, 4), (3, 7)), ((6, 2), (4, 5)), ((5, 6), (2, 3)), ((4, 4), (3, 8)))
"""(context, target) tokens of both masks of each group of two clips: no two groups are alike."""
METHODS = {
    "pixel": trainers.make_pixel,
    "salt": trainers.make_salt,
    "vjepa": trainers.make_vjepa,
}
SIZES = (1, 2, 4)
BAD_POSITIONS = (1, 6)
"""Clips that count as replaced in every step of the scenario `bad`."""
BAD_ATTEMPTS = 10
"""Files that were tried in vain for every clip of step 3 in the scenario `worse`."""


class HeldOut:
    """Three held-out batches, of which this process has its share and what is repeated."""

    def __init__(self, ranks: Ranks) -> None:
        self.own = list(range(ranks.rank, 3 + ranks.rank, ranks.size))
        self.num_own = sum(number < 3 for number in self.own)

    def __iter__(self) -> Iterator[Batch]:
        for number in (min(number, 2) for number in self.own):
            yield make_batch((2, 2, 1)[number], COUNTS[number], seed=50 + number)


class Batches:
    """The micro-batches of one process; a function of step and position only."""

    def __init__(self, ranks: Ranks, scenario: str, stop: StopFlag) -> None:
        self.wait_s = 0.0
        self.ranks, self.scenario, self.stop = ranks, scenario, stop
        self.parts = divide(LOOP, ranks.size).num_parts

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        for step in range(LOOP.steps):
            for part in range(self.parts):
                group = self.ranks.rank * self.parts + part
                yield step, part, self._batch(step, group)

    def _batch(self, step: int, group: int) -> Batch:
        batch = make_batch(GROUP, COUNTS[(step + group) % 4], seed=100 * step + group)
        first = GROUP * group
        rows = tuple(range(first, first + GROUP))
        bad: tuple[BadFile, ...] = ()
        if self.scenario == "bad":
            bad = tuple(
                BadFile(step, position, 0, f"{step}-{position}.mp4", "broken")
                for position in rows
                if position in BAD_POSITIONS
            )
        if self.scenario == "worse" and step == 3:
            bad = tuple(
                BadFile(step, position, attempt, f"{position}-{attempt}.mp4", "broken")
                for position in rows
                for attempt in range(BAD_ATTEMPTS)
            )
        if self.scenario == "stop" and step == 3 and group == 3:
            self.stop.number = 15  # in the last process only
        return dataclasses.replace(batch, rows=rows, bad_files=bad)


def held_share(tensors: Iterable[torch.Tensor]) -> float | None:
    """Return which share of some weights this process holds itself; None without any."""
    found = [(own_part(tensor).numel(), tensor.numel()) for tensor in tensors]
    return sum(own for own, _ in found) / sum(all_ for _, all_ in found) if found else None


def run(folder: Path, scenario: str, rank: int, size: int) -> None:
    """Be one process of a run."""
    torch.set_num_threads(1)
    scenario, *options = scenario.split("-")
    ranks = Ranks()
    if size > 1:
        limit = timedelta(seconds=60)
        store = dist.FileStore(str(folder / "store"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=limit)
        control = dist.new_group(backend="gloo", timeout=limit)
        ranks = Ranks(rank=rank, size=size, timeout_s=60, control=control)
    if scenario == "reload":
        _reload(folder, ranks)
        return
    stop = StopFlag()
    trainer = _make_trainer(folder, scenario, options, ranks)
    error = None
    try:
        trainer.run(
            Batches(ranks, scenario, stop), stop, trainers.make_progress(LOOP, io.StringIO())
        )
    except Exception as raised:
        error = [type(raised).__name__, str(raised)]
    tensors = model_tensors(trainer.objective)
    target = trainer.objective.target
    digest = hashlib.sha256(
        b"".join(whole(tensors[name]).numpy().tobytes() for name in sorted(tensors))
    )
    end = {
        "error": error,
        "step": trainer.done.step,
        "reads": [trainer.done.reads, trainer.done.bad_reads],
        "weights": digest.hexdigest(),
        "held": held_share(tensors.values()),
        "held_target": held_share(target.parameters() if target else ()),
    }
    (folder / f"end-{rank}.json").write_text(json.dumps(end))


def _reload(folder: Path, ranks: Ranks) -> None:
    """Read the checkpoint of one process into sharded networks, and write it again from there."""
    checkpoint = read_checkpoint(folder.parent / "vjepa-1" / "checkpoints" / "latest")
    objective = trainers.make_vjepa(seed=5)
    restore_weights(checkpoint, objective)
    place(objective, DeviceConfig(), "shard", ranks, "cpu", 1)
    optimiser = build_optimiser(objective.param_groups(), OptimConfig())
    restore_optimiser(checkpoint, objective, optimiser)
    meta = checkpoint.meta if ranks.leads else None
    checkpoints = CheckpointFolder(folder, keep_last=1)
    ranks.first(checkpoints.path.mkdir)
    saver = Saver(checkpoints, ranks, sharded=True)
    saver.save(objective, optimiser, checkpoint.meta["step"], meta)


def _make_trainer(folder: Path, scenario: str, options: list[str], ranks: Ranks) -> Trainer:
    method = METHODS.get(scenario, trainers.make_salt)
    # The first process decides: the others begin with other weights, and are given its own.
    objective = method()
    if ranks.rank and scenario != "vjepa":
        with torch.no_grad():
            for param in objective.trainable.parameters():
                param.add_(0.1 * ranks.rank)
    if scenario == "unwritable" and ranks.rank == ranks.size - 1:
        writer: Any = FileSystemWriter
        writer.write_data = _fail_to_write
    if scenario == "worse":
        module: Any = checkpoint_module
        module.save_weights = _fail_to_write
    if scenario == "infinite" and ranks.rank == ranks.size - 1:
        _spoil(objective, divide(LOOP, ranks.size).num_parts)
    own = folder if ranks.leads else folder / f"rank-{ranks.rank}"
    sharding: Sharding = "shard" if "shard" in options else "replicate"
    # A frozen teacher is sharded where the student is not, too.
    config = DeviceConfig(teacher_sharding="shard" if ranks.size == 4 else "replicate")
    num_parts = divide(LOOP, ranks.size).num_parts
    joint = place(objective, config, sharding, ranks, "cpu", num_parts)
    trainer = trainers.make_trainer(own, objective, loop=LOOP)
    trainer.ranks, trainer.joint = ranks, joint
    trainer.saver = Saver(
        CheckpointFolder(folder, LOOP.keep_last),
        ranks,
        sharded=joint is not None and joint.sharded,
        background="async" in options,
    )
    trainer.validate = lambda: validate(
        objective,
        {"video": HeldOut(ranks)},
        "cpu",
        "fp32",
        loss=joint.loss if joint else None,
        ranks=ranks,
    )
    trainer.quarantine = Quarantine(
        folder / "quarantine.jsonl", max_bad_share=0.5, writes=ranks.leads
    )
    if not ranks.leads:
        trainer.metrics = trainer.timings = NoLog(own, keep_to_step=0)
    return trainer


def _fail_to_write(*_: Any) -> None:
    raise OSError(errno.EIO, "Input/output error")


def _spoil(objective: Any, num_parts: int) -> None:
    """Make the losses of this process infinite from the third step on, in the last micro-batch."""
    compute, calls = objective.loss, itertools.count(1)

    def loss(batch: Batch) -> ObjectiveOutput:
        output: ObjectiveOutput = compute(batch)
        if next(calls) < 3 * num_parts:
            return output
        return dataclasses.replace(
            output, loss_sum=output.loss_sum * torch.inf, clip_losses=output.clip_losses * torch.inf
        )

    objective.loss = loss


def main() -> int:
    """Run all scenarios, one after the other."""
    folder = Path(sys.argv[1])
    jobs = [(name, size) for name in METHODS for size in SIZES]
    jobs += [(f"{name}-shard", size) for name in METHODS for size in SIZES[1:]]
    jobs += [(name, 2) for name in ("stop", "bad", "infinite")]
    jobs += [(f"{name}-shard-async", 2) for name in ("vjepa", "stop", "infinite")]
    jobs += [("unwritable-shard", 2), ("worse-async", 2), ("worse-shard-async", 2)]
    # After vjepa-1, which they read.
    jobs += [("reload-shard", size) for size in SIZES[1:]]
    if len(sys.argv) > 2:
        jobs = [job for job in jobs if f"{job[0]}-{job[1]}" in sys.argv[2:]]
    context = multiprocessing.get_context("fork")
    for scenario, size in jobs:
        own = folder / f"{scenario}-{size}"
        own.mkdir()
        processes = [
            context.Process(target=run, args=(own, scenario, rank, size)) for rank in range(size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            if process.exitcode:
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
