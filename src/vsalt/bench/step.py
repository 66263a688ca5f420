"""How long a training step takes, where its time goes, and how far that is from the floor.

The step is the trainer's (`Trainer._step` of `training/loop.py`): the same functions in the same
order on one micro-batch of random pixels; only logs, checkpoints and the health measures are left
out. Steps with and without marks take turns, and so does a matrix product, whose rate is what the
step is compared with:

    MFU = operations of a step / (seconds of a step * rate of the product)
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from vsalt import durable
from vsalt.bench.floors import Work, part_work
from vsalt.bench.machine import (
    MATMUL_SIZE,
    Clock,
    copy_rate,
    describe_machine,
    matmul_rate,
    peak_memory,
    reset_peak_memory,
    synchronise,
)
from vsalt.bench.parts import PARTS, Mark, PartName, StepClock, marked
from vsalt.config import PretrainConfig
from vsalt.errors import ConfigError, NonFiniteError
from vsalt.models.config import ENCODERS, EncoderConfig
from vsalt.objectives.masked_prediction import MaskedPrediction, count_params
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective
from vsalt.training.device import choose_device, choose_precision, set_up
from vsalt.training.distributed import ALONE
from vsalt.training.optim import (
    all_finite,
    build_optimiser,
    clip_gradients,
    gradient_norms,
    set_schedule,
)
from vsalt.training.place import place
from vsalt.training.plan import clip_shapes
from vsalt.training.rate import random_batch
from vsalt.training.schedule import clips_gradients, learning_rate, weight_decay
from vsalt.training.teachers import network_of

WARM_UP = 2
"""Steps before the first that counts; the second one uses as much memory as all later ones."""
TRACE = "step.json"


@dataclass
class Stepper:
    """Takes one step after the other, as the trainer does.

    Attributes:
        config: resolved configuration; its batch is one micro-batch.
        objective: the method, on the device.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        step: number of the next step.
    """

    config: PretrainConfig
    objective: MaskedPrediction
    device: str
    precision: str
    step: int = 0

    def __post_init__(self) -> None:
        """Build the optimiser and a batch."""
        stage = self.config.stage
        self.optimiser = build_optimiser(self.objective.param_groups(), stage.optim)
        self.batch = random_batch(self.config)
        if self.device == "cuda":
            self.batch = self.batch.pin_memory()
        self.objective.trainable.train()

    @property
    def num_clips(self) -> int:
        """Clips of a step."""
        return len(self.batch.rows)

    def take(self, mark: Mark | None = None) -> None:
        """Take one step.

        Args:
            mark: is told the end of every part of it.

        Raises:
            NonFiniteError: if the loss or a gradient is not finite.
        """
        if mark is None:
            self._take(lambda _: None)
        else:
            with marked(self.objective, mark):
                self._take(mark)
        self.step += 1

    def _take(self, mark: Mark) -> None:
        optim, num_steps = self.config.stage.optim, self.config.stage.loop.steps
        lr = learning_rate(self.step, num_steps, optim)
        set_schedule(self.optimiser, lr, weight_decay(self.step, num_steps, optim))
        self.optimiser.zero_grad(set_to_none=True)
        mark("other")
        sums = accumulate(
            self.objective,
            [self.batch],
            self.num_clips,
            self.device,
            self.precision,
            listen=lambda _: mark("backward"),
        )
        mark("other")
        groups = self.objective.param_groups()
        norms = gradient_norms(groups)
        if not all_finite([sums["loss"], *norms.values()]):
            raise NonFiniteError(f"the loss of step {self.step} on random pixels is not finite")
        if optim.clip_norm is not None and clips_gradients(self.step, optim):
            clip_gradients(groups, norms, optim.clip_norm)
        self.optimiser.step()
        self.objective.after_step(self.step)
        mark("optimiser")


def measure_step(
    config: PretrainConfig,
    teacher: EncoderConfig | None,
    *,
    rounds: int = 5,
    trace: Path | None = None,
    processor_time: bool = False,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Measure a stage's training step; `docs/explanation/performance.md` has the keys.

    Args:
        config: resolved, as `bench_stage` gives it; its batch is one micro-batch.
        teacher: of methods that need one; its weights are random.
        rounds: steps without and with marks, and matrix products, in turns.
        trace: folder for a trace of one more step, to be looked at in a browser.
        processor_time: count the seconds that processors have worked for this process, and not
            those of `clock`: for a CPU that others use, too.
        clock: seconds.

    Raises:
        ConfigError: if there is no round, a teacher or the device is missing, or processor time is
            asked for of another device than a CPU.
        RunFolderError: if the folder cannot be written.
        NonFiniteError: if the loss is not finite.
    """
    if rounds < 1:
        raise ConfigError([f"--rounds is {rounds}; it must be at least 1"])
    if trace is not None:
        durable.create_folder(trace)
    device = choose_device(config.device.device)
    if processor_time:
        if device != "cpu":
            raise ConfigError([f"--processor-time is of a CPU, not of {device}; leave it out"])
        clock = time.process_time
    threads = set_up(config.device, device)
    precision = choose_precision(config.device, device)
    stepper = _stepper(config, teacher, device, precision)
    reset_peak_memory(device)
    for _ in range(WARM_UP):
        stepper.take()
    memory = peak_memory(device)
    times = _times(stepper, rounds, clock)
    written = None if trace is None else _trace(stepper, trace)
    shapes = clip_shapes(config)
    objective = stepper.objective
    return {
        "kind": "step",
        "machine": describe_machine(device),
        "settings": {
            "method": config.stage.method.name,
            "encoder": _name(config.stage.encoder),
            "teacher": None if teacher is None else _name(teacher),
            "params": count_params(objective.trainable),
            "frozen_params": count_params(objective.target) if objective.target else 0,
            "clip": [config.clip.num_frames, *config.clip.size],
            "masks": [list(mask) for mask in shapes.masks],
            "clips": stepper.num_clips,
            "device": device,
            "precision": precision,
            "compiled": config.device.compile,
            "threads": threads,
            "clock": "processor" if processor_time else "wall",
            "rounds": rounds,
        },
        **summarise(
            times,
            work=part_work(objective, shapes, stepper.num_clips, config.stage.optim),
            flops_per_clip=objective.flops(shapes).exact,
            num_clips=stepper.num_clips,
            bytes_per_s=copy_rate(device, clock),
            matmul_size=MATMUL_SIZE[device],
        ),
        "peak_memory": memory,
        "trace": written,
    }


@dataclass(frozen=True)
class Times:
    """What was measured, one entry a round.

    Attributes:
        plain: seconds of a step without marks.
        parts: seconds of every part of a step with marks.
        rates: operations per second of the matrix product.
    """

    plain: list[float]
    parts: list[dict[PartName, float]]
    rates: list[float]


def _name(encoder: EncoderConfig) -> str:
    """Return an encoder's size, or its numbers where they are not those of the size."""
    shape = encoder.architecture
    if shape == ENCODERS[encoder.size]:
        return encoder.size
    return f"{shape.depth} blocks of width {shape.width}"


def _stepper(
    config: PretrainConfig, teacher: EncoderConfig | None, device: str, precision: str
) -> Stepper:
    objective = build_objective(config, network_of(teacher))
    assert isinstance(objective, MaskedPrediction), "a method whose parts are not known"
    place(objective, config.device, "replicate", ALONE, device, num_parts=1)
    warmup = config.stage.optim.warmup_steps
    assert warmup is not None, "resolve the config first"
    # The first step after warm-up: a usual one, where methods that clip later clip, too.
    return Stepper(config, objective, device, precision, step=warmup)


def _times(stepper: Stepper, rounds: int, clock: Clock) -> Times:
    times = Times([], [], [])
    for _ in range(rounds):
        times.rates.append(matmul_rate(stepper.device, stepper.precision, clock))
        times.plain.append(_seconds(stepper.take, stepper.device, clock))
        marks = StepClock(stepper.device, clock)
        stepper.take(marks.mark)
        times.parts.append(marks.seconds)
    return times


def _seconds(work: Callable[[], None], device: str, clock: Clock) -> float:
    synchronise(device)
    begin = clock()
    work()
    synchronise(device)
    return clock() - begin


def summarise(
    times: Times,
    *,
    work: dict[PartName, Work],
    flops_per_clip: int,
    num_clips: int,
    bytes_per_s: float,
    matmul_size: int,
) -> dict[str, Any]:
    """Return rates, MFU, the split of a step and its floors.

    Medians over the rounds; of the steps with marks the one of median length, so that its parts
    add up.

    Args:
        times: of all rounds.
        work: of every part that has a floor.
        flops_per_clip: exact operations.
        num_clips: clips of a step.
        bytes_per_s: the device's bandwidth.
        matmul_size: of the product whose rate was taken.
    """
    step_s = statistics.median(times.plain)
    rate = statistics.median(times.rates)
    split = sorted(times.parts, key=lambda seconds: sum(seconds.values()))[len(times.parts) // 2]
    floors = {part: each.floor_s(rate, bytes_per_s) for part, each in work.items()}
    flops = flops_per_clip * num_clips
    return {
        "clips_per_s": num_clips / step_s,
        "step_s": step_s,
        "step_s_range": [min(times.plain), max(times.plain)],
        "flops_per_clip": flops_per_clip,
        "flops_per_s": flops / step_s,
        "matmul": {
            "size": matmul_size,
            "flops_per_s": rate,
            "flops_per_s_range": [min(times.rates), max(times.rates)],
        },
        "mfu": flops / step_s / rate,
        "copy_bytes_per_s": bytes_per_s,
        "floor_s": sum(floors.values()),
        "times_floor": step_s / sum(floors.values()),
        "split": _split(split, work, floors, step_s),
    }


def _split(
    seconds: dict[PartName, float],
    work: dict[PartName, Work],
    floors: dict[PartName, float],
    step_s: float,
) -> dict[str, Any]:
    """Return the parts of one step; `other` is the remainder."""
    total = sum(seconds.values())
    parts: dict[str, Any] = {}
    for part in PARTS[:-1]:
        floor = floors.get(part)
        parts[part] = {
            "seconds": seconds[part],
            "share": seconds[part] / total,
            "flops": work[part].flops if part in work else 0,
            "bytes": work[part].num_bytes if part in work else None,
            "floor_s": floor,
            "times_floor": None if not floor else seconds[part] / floor,
        }
    return {
        "step_s": total,
        "marks_cost": total / step_s - 1,
        "parts": parts,
        "remainder_s": seconds["other"],
        "remainder_share": seconds["other"] / total,
    }


def _trace(stepper: Stepper, folder: Path) -> str:
    """Write a trace of one step, with an event `end of PART` at the end of every part."""
    activities = [ProfilerActivity.CPU]
    if stepper.device == "cuda":
        activities.append(ProfilerActivity.CUDA)

    def mark(part: PartName) -> None:
        with record_function(f"end of {part}"):
            pass

    with profile(activities=activities) as profiler:
        stepper.take(mark)
        synchronise(stepper.device)
    path = folder / TRACE
    with durable.explain_write_errors(f"to {folder}"):
        profiler.export_chrome_trace(str(path))
    return str(path)
