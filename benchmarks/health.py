"""What the health measures cost, as shares of a training step, side by side in one run.

usage: python benchmarks/health.py [--device cpu] [--rounds 4] [--size Ti|S ...]
           [--method pixel|salt ...] [--clips 16]

Two trainers of the same networks take turns: one listens (losses of every step, measures at every
third step), one is deaf. `inside` is the time spent in `Health` itself, `outside` what the steps
of the two trainers differ by; both as a share of the deaf trainer's step, at the default of one
measure in 100 steps. On the CPU the clock is the process's own, so that others do not count. A
GPU is waited for whenever the clock is read, so what it would do beside the host counts, too.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from vsalt.bench.machine import cpu_name
from vsalt.config import PretrainConfig
from vsalt.data.quarantine import Quarantine
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.types import Batch
from vsalt.masking.sampler import build_mask_sampler
from vsalt.masking.types import MaskBatch
from vsalt.models.config import EncoderConfig, grid_of
from vsalt.models.vit import Encoder
from vsalt.objectives.protocol import ObjectiveOutput
from vsalt.presets import stage_preset
from vsalt.training.alarms import Alarms
from vsalt.training.build import build_objective, resolve
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.config import LoopConfig
from vsalt.training.device import choose_precision, set_up
from vsalt.training.health import Health
from vsalt.training.loop import Trainer
from vsalt.training.optim import build_optimiser
from vsalt.training.plan import clip_shapes
from vsalt.training.progress import Progress
from vsalt.training.run_folder import METRICS, TIMINGS, WARNINGS, JsonLines
from vsalt.training.saver import Saver
from vsalt.training.stop import StopFlag
from vsalt.training.validation import validate

BLOCK = 7
"""Steps of one turn; the last one, which saves, is not timed."""
EVERY = 3
DEFAULT = LoopConfig().health_every


class Deaf(Health):
    """What the trainer was without health: values of the log are taken one by one."""

    def __init__(self, loop: LoopConfig, alarms: Alarms) -> None:
        super().__init__(loop, alarms, StepShapes())

    def hear(self, step: int, output: ObjectiveOutput) -> None:
        """Do nothing."""

    def end_step(self, *args: Any) -> None:
        """Do nothing."""

    def collect(self, step: int, record: Mapping[str, Any]) -> dict[str, Any]:
        """Only turn the record into plain numbers."""
        del step
        plain = (value.item() if isinstance(value, Tensor) else value for value in record.values())
        return dict(zip(record, plain, strict=True))


class Timed(Health):
    """Adds up the time spent in health, for each step."""

    def __init__(self, loop: LoopConfig, alarms: Alarms, now: Callable[[], float]) -> None:
        super().__init__(loop, alarms, StepShapes())
        self.now = now
        self.seconds: dict[int, float] = {}

    def hear(self, step: int, output: ObjectiveOutput) -> None:
        """Time `Health.hear`."""
        begin = self.now()
        super().hear(step, output)
        self.seconds[step] = self.now() - begin

    def end_step(self, step: int, *args: Any) -> None:
        """Time `Health.end_step`."""
        begin = self.now()
        super().end_step(step, *args)
        self.seconds[step] += self.now() - begin

    def collect(self, step: int, record: Mapping[str, Any]) -> dict[str, Any]:
        """Time `Health.collect`."""
        begin = self.now()
        found = super().collect(step, record)
        self.seconds[step] += self.now() - begin
        return found


class Steps:
    """The same batch over and over, with the time at which each step began."""

    def __init__(self, batch: Batch, first: int, now: Callable[[], float]) -> None:
        self.wait_s = 0.0
        self.began: dict[int, float] = {}
        self._batch, self._first, self._now = batch, first, now

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        for step in range(self._first, self._first + BLOCK):
            self.began[step + 1] = self._now()
            yield step, 0, self._batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--size", nargs="+", default=["Ti", "S"])
    parser.add_argument("--method", nargs="+", default=["pixel", "salt"])
    parser.add_argument("--clips", type=int, default=16)
    args = parser.parse_args()
    print(json.dumps({"machine": machine(args.device)}))
    for size in args.size:
        for method in args.method:
            config = tiny_config(size, method, args.clips)
            print(json.dumps(measure(config, args.device, args.rounds)))


def machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def measure(config: PretrainConfig, device: str, rounds: int) -> dict[str, Any]:
    """Let two trainers take turns, and compare their steps."""

    def now() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    set_up(config.device, device)
    batch = random_batch(config)
    times: dict[str, list[float]] = {"deaf": [], "plain": [], "measured": []}
    with tempfile.TemporaryDirectory() as folder:
        deaf = make_trainer(Path(folder, "deaf"), config, device, Deaf)
        heard = make_trainer(
            Path(folder, "heard"), config, device, lambda loop, alarms: Timed(loop, alarms, now)
        )
        for _ in range(rounds):
            for step, seconds in turn(deaf, batch, now):
                del step
                times["deaf"].append(seconds)
            for step, seconds in turn(heard, batch, now):
                times["measured" if step % EVERY == 0 else "plain"].append(seconds)
        begin = now()
        validate(heard.objective, {"video": [batch]}, device, heard.precision)
        validation = now() - begin
    usual = {name: median(values) for name, values in times.items()}
    assert isinstance(heard.health, Timed)
    inside = {
        name: median(
            seconds
            for step, seconds in heard.health.seconds.items()
            if (step % EVERY == 0) == (name == "measured") and step % BLOCK
        )
        for name in ("plain", "measured")
    }
    outside = usual["plain"] - usual["deaf"] + (usual["measured"] - usual["plain"]) / DEFAULT
    return {
        "size": config.stage.encoder.size,
        "method": config.stage.method.name,
        "clips": len(batch.clips),
        "step_s": round(usual["deaf"], 4),
        "one_measure_s": round(inside["measured"], 4),
        "inside": f"{(inside['plain'] + inside['measured'] / DEFAULT) / usual['deaf']:.3%}",
        "outside": f"{outside / usual['deaf']:.3%}",
        "validation_s": round(validation, 4),
    }


def turn(trainer: Trainer, batch: Batch, now: Callable[[], float]) -> Iterator[tuple[int, float]]:
    """Run a few steps, and return the timed ones with their seconds."""
    first = trainer.done.step
    trainer.loop = replace(trainer.loop, steps=first + BLOCK)
    steps = Steps(batch, first, now)
    progress = Progress(
        Console(file=open(os.devnull, "w"), width=200),  # noqa: SIM115
        title="benchmark",
        first_step=first,
        num_steps=first + BLOCK,
        batch_size=len(batch.clips),
    )
    trainer.run(steps, StopFlag(), progress)
    began = steps.began
    for step in range(first + 1, first + BLOCK):
        if step > 1:  # the first step of all also allocates
            yield step, began[step + 1] - began[step]


def tiny_config(size: str, method: str, clips: int) -> PretrainConfig:
    """The preset tiny-cpu with another encoder, all clips of a step in one micro-batch."""
    config = stage_preset("tiny-cpu", method)
    encoder = EncoderConfig(size=size)  # type: ignore[arg-type]
    loop = replace(config.stage.loop, steps=10_000, log_every=1, health_every=EVERY)
    loop = replace(loop, batch_size=clips, micro_batch_size=clips)
    return resolve(replace(config, stage=replace(config.stage, encoder=encoder, loop=loop)))


def make_trainer(
    run: Path, config: PretrainConfig, device: str, listener: Callable[[LoopConfig, Alarms], Health]
) -> Trainer:
    stage = config.stage
    teacher = Encoder(stage.encoder) if stage.method.needs_teacher else None
    objective = build_objective(config, teacher)
    for module in (objective.trainable, objective.target):
        if module is not None:
            module.to(device)
    checkpoints = CheckpointFolder(run, keep_last=1)
    checkpoints.path.mkdir(parents=True)

    def describe_rows(rows: Iterable[int]) -> list[str]:
        return [str(row) for row in rows]

    alarms = Alarms(JsonLines(run / WARNINGS, keep_to_step=0), describe_rows, stage.optim)
    return Trainer(
        objective=objective,
        optimiser=build_optimiser(objective.param_groups(), stage.optim),
        optim=stage.optim,
        loop=stage.loop,
        shapes=StepShapes(),
        clip_flops={"video": objective.flops(clip_shapes(config))},
        device=device,
        precision=choose_precision(config.device, device),
        saver=Saver(checkpoints),
        metrics=JsonLines(run / METRICS, keep_to_step=0),
        timings=JsonLines(run / TIMINGS, keep_to_step=0),
        quarantine=Quarantine(run / "quarantine.jsonl", max_bad_share=1.0),
        health=listener(stage.loop, alarms),
        validate=None,
        describe_rows=describe_rows,
        meta={},
    )


def random_batch(config: PretrainConfig) -> Batch:
    clips = config.stage.loop.batch_size
    grid = grid_of(config.clip.num_frames, config.clip.size, config.stage.encoder.tubelet)
    sampler = build_mask_sampler(config.stage.masks, grid, config.seed)
    drawn = [sampler(0, position) for position in range(clips)]
    masks = tuple(
        MaskBatch(
            torch.stack([torch.from_numpy(mask.context) for mask in kind]),
            torch.stack([torch.from_numpy(mask.targets) for mask in kind]),
        )
        for kind in zip(*drawn, strict=True)
    )
    generator = torch.Generator().manual_seed(0)
    shape = (clips, 3, config.clip.num_frames, *config.clip.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return Batch(clips=pixels, masks=masks, rows=tuple(range(clips)))


if __name__ == "__main__":
    main()
