"""A trainer of real tiny parts, on batches that need no files."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from torch.optim import Optimizer

from support.tiny import PREDICTOR, make_batch, make_encoder, randomise
from vsalt.compute.types import ClipFlops
from vsalt.data.quarantine import Quarantine
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.types import Batch
from vsalt.objectives.config import PixelConfig, SaltConfig, VjepaConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.protocol import Objective
from vsalt.objectives.salt import SaltObjective
from vsalt.objectives.vjepa import VjepaObjective
from vsalt.training.alarms import Alarms, Memory
from vsalt.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    restore_optimiser,
    restore_weights,
)
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.health import Health
from vsalt.training.loop import Progressed, Trainer
from vsalt.training.optim import build_optimiser
from vsalt.training.progress import Progress
from vsalt.training.run_folder import METRICS, TIMINGS, WARNINGS, JsonLines
from vsalt.training.saver import Saver

NAMES = ("short", "long")


def make_pixel(seed: int = 1) -> PixelObjective:
    """The pixel method on tiny networks."""
    objective = PixelObjective(PixelConfig(), make_encoder(seed), PREDICTOR, NAMES)
    randomise(objective.trainable["predictor"], seed + 1)
    return objective


def make_salt(seed: int = 1) -> SaltObjective:
    """The salt method on tiny networks; the teacher is another network than the student."""
    teacher = make_encoder(seed + 7, width=36, depth=1, heads=3)
    objective = SaltObjective(SaltConfig(), make_encoder(seed), teacher, PREDICTOR, NAMES)
    randomise(objective.trainable["predictor"], seed + 1)
    return objective


def make_vjepa(
    seed: int = 1, config: VjepaConfig | None = None, num_steps: float = 7.5
) -> VjepaObjective:
    """The vjepa method on tiny networks; an average that moves fast enough to be seen."""
    config = config or VjepaConfig(momentum=0.6, momentum_final=1.0)
    objective = VjepaObjective(config, make_encoder(seed), PREDICTOR, NAMES, num_steps)
    randomise(objective.trainable["predictor"], seed + 1)
    return objective


def restore(checkpoint: Checkpoint, objective: Objective, optimiser: Optimizer) -> None:
    """Put all of a checkpoint back, as a stage does that goes on."""
    restore_weights(checkpoint, objective)
    restore_optimiser(checkpoint, objective, optimiser)


class Batches:
    """Micro-batches that are functions of (step, index), as the loader's are."""

    def __init__(self, first_step: int, loop: LoopConfig) -> None:
        self.wait_s = 0.0
        self.first_step = first_step
        self.loop = loop

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        micro = self.loop.micro_batch_size
        assert micro is not None
        for step in range(self.first_step, self.loop.end):
            for index in range(self.loop.batch_size // micro):
                yield step, index, make_batch(micro, seed=100 * step + index)


def make_trainer(
    run: Path,
    objective: Objective | None = None,
    *,
    loop: LoopConfig | None = None,
    optim: OptimConfig | None = None,
    first_step: int = 0,
    memory: Memory | None = None,
) -> Trainer:
    """A trainer in the folder `run`."""
    loop = (loop or LoopConfig(steps=6, batch_size=4, micro_batch_size=2, log_every=1)).resolved()
    optim = (optim or OptimConfig(lr=1e-2, warmup_steps=min(2, max(0, loop.steps - 1)))).resolved(
        loop.steps, 3072
    )
    objective = objective or make_pixel()
    checkpoints = CheckpointFolder(run, loop.keep_last)
    checkpoints.path.mkdir(parents=True, exist_ok=True)
    alarms = Alarms(
        JsonLines(run / WARNINGS, keep_to_step=first_step), describe_rows, optim, memory
    )
    return Trainer(
        objective=objective,
        optimiser=build_optimiser(objective.param_groups(), optim),
        optim=optim,
        loop=loop,
        shapes=StepShapes(),
        clip_flops={"video": ClipFlops(exact=1000, six_nd=10.0)},
        device="cpu",
        precision="fp32",
        saver=Saver(checkpoints),
        metrics=JsonLines(run / METRICS, keep_to_step=first_step),
        timings=JsonLines(run / TIMINGS, keep_to_step=first_step),
        quarantine=Quarantine(run / "quarantine.jsonl", max_bad_share=0.01),
        health=Health(loop, alarms, StepShapes()),
        validate=None,
        describe_rows=describe_rows,
        meta={"config": {}, "manifest_sha256": "0"},
        done=Progressed(step=first_step),
    )


def describe_rows(rows: Iterable[int]) -> list[str]:
    """Names as a catalogue's paths."""
    return [f"clip-{row}.mp4" for row in rows]


def make_progress(loop: LoopConfig, out: io.StringIO | None = None) -> Progress:
    """Progress that prints to memory."""
    return Progress(
        Console(file=out or io.StringIO(), width=200),
        title="stage",
        first_step=0,
        num_steps=loop.end,
        batch_size=loop.batch_size,
    )
