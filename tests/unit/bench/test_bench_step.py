"""The measured step is the trainer's, its parts are seen where they happen, and they add up."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import pytest
import torch

from support.trainers import make_progress, make_trainer
from vsalt.bench import machine, step
from vsalt.bench.floors import Work
from vsalt.bench.parts import PARTS, StepClock
from vsalt.bench.setup import bench_stage, bench_teacher
from vsalt.bench.step import Stepper, Times, measure_step, summarise
from vsalt.config import PretrainConfig
from vsalt.data.types import Batch
from vsalt.errors import ConfigError, NonFiniteError
from vsalt.models.vit import Encoder
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.presets import salt_preset
from vsalt.targets.frozen import FrozenTeacher
from vsalt.training.build import build_objective
from vsalt.training.loop import StepBatches
from vsalt.training.rate import random_batch
from vsalt.training.stage_cost import stage_costs
from vsalt.training.stop import StopFlag

METHODS = ("pixel", "salt", "vjepa")
CLIPS = 2


@cache
def tiny_stage(method: str) -> PretrainConfig:
    """A stage of two masks per clip; after two of four steps of warm-up, gradients are clipped."""
    config = bench_stage("tiny-cpu", method, batch_size=CLIPS)
    encoder = replace(config.stage.encoder, width=24, depth=2, heads=2, mlp_width=32)
    predictor = replace(config.stage.predictor, width=16, depth=1, heads=2, mlp_width=24)
    loop = replace(config.stage.loop, steps=4, save_every=4, val_every=4)
    optim = replace(config.stage.optim, warmup_steps=2, clip_norm=0.01, clip_after_warmup=True)
    stage = replace(config.stage, encoder=encoder, predictor=predictor, loop=loop, optim=optim)
    return replace(config, stage=stage)


def objective_of(config: PretrainConfig) -> MaskedPrediction:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        teacher = Encoder(config.stage.encoder) if config.stage.method.needs_teacher else None
    objective = build_objective(config, teacher)
    assert isinstance(objective, MaskedPrediction)
    return objective


class SameBatch:
    """One batch at every step."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.wait_s = 0.0
        self.batch = batch
        self.steps = steps

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        for number in range(self.steps):
            yield number, 0, self.batch


@pytest.mark.parametrize("method", METHODS)
def test_the_step_is_the_trainers(method: str, tmp_path: Path) -> None:
    """All weights after some steps are equal, whether parts are marked or not."""
    config = tiny_stage(method)
    trained = objective_of(config)
    trainer = make_trainer(tmp_path, trained, loop=config.stage.loop)
    trainer.optim = config.stage.optim
    batches: StepBatches = SameBatch(random_batch(config), config.stage.loop.steps)
    trainer.run(batches, StopFlag(), make_progress(config.stage.loop, io.StringIO()))
    for log in trainer.logs:
        log.close()
    measured = objective_of(config)
    stepper = Stepper(config, measured, "cpu", "fp32")
    for number in range(config.stage.loop.steps):
        stepper.take(StepClock("cpu").mark if number % 2 else None)
    expected = {**trained.trainable.state_dict(), **trained.carried_state()}
    found = {**measured.trainable.state_dict(), **measured.carried_state()}
    first = objective_of(config).trainable.state_dict()
    assert not all(torch.equal(first[name], expected[name]) for name in first)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_time_goes_to_the_part_that_takes_it() -> None:
    """A clock that only the networks move: by hooks that know nothing of the marks."""
    config = tiny_stage("salt")
    objective = objective_of(config)
    stepper = Stepper(config, objective, "cpu", "fp32")
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    assert objective.target is not None
    teacher = objective.target.get_submodule("encoder")
    objective.trainable.get_submodule("encoder").register_forward_hook(lambda *_: spend(3))
    objective.trainable.get_submodule("predictor").register_forward_hook(lambda *_: spend(5))
    teacher.register_forward_hook(lambda *_: spend(7))
    stepper.optimiser.register_step_post_hook(lambda *_: spend(11))
    weight = next(objective.trainable.parameters())
    weight.register_post_accumulate_grad_hook(lambda _: spend(13))
    clock = StepClock("cpu", lambda: now[0])
    for _ in range(2):
        clock.begin()
        stepper.take(clock.mark)
        # Two masks a clip, for which the teacher is asked once.
        assert clock.seconds == {
            "data": 0,
            "target": 7,
            "encoder": 6,
            "predictor": 10,
            "backward": 13,
            "optimiser": 11,
            "other": 0,
        }


@pytest.mark.parametrize("method", METHODS)
def test_marks_come_in_order_and_leave_nothing_behind(method: str) -> None:
    config = tiny_stage(method)
    stepper = Stepper(config, objective_of(config), "cpu", "fp32")
    before = {**vars(stepper.objective)}
    marks: list[str] = []
    stepper.take(marks.append)
    mask = ["other", "encoder", "other", "predictor", "other", "target"]
    loss = ["data", "other", "target", *mask, *mask, "other"]
    assert marks == ["other", *loss, "backward", "other", "optimiser"]
    assert {*marks} == {*PARTS}
    stepper.take()
    assert len(marks) == len(loss) + 4
    assert vars(stepper.objective) == before
    assert stepper.objective.target is not None
    assert "open" not in vars(stepper.objective.target)


def test_a_loss_that_is_not_finite_ends_the_bench() -> None:
    config = tiny_stage("pixel")
    stepper = Stepper(config, objective_of(config), "cpu", "fp32")
    with torch.no_grad():
        next(stepper.objective.trainable.parameters()).fill_(torch.inf)
    with pytest.raises(NonFiniteError, match="random pixels"):
        stepper.take()


def test_rates_shares_and_floors_by_hand() -> None:
    parts = [
        {"data": 1.0, "target": 2.0, "encoder": 3.0, "predictor": 4.0, "backward": 8.0}
        | {"optimiser": 1.0, "other": 1.0},
        dict.fromkeys(PARTS, 1.0),
        dict.fromkeys(PARTS, 50.0),
    ]
    # Seconds at 20 operations and 4 bytes per second: 5 and 1; 0.5 and 2.
    work = {"encoder": Work(100, 4), "optimiser": Work(10, 8)}
    found = summarise(
        Times(plain=[16.0, 10.0, 30.0], parts=parts, rates=[20.0, 10.0, 40.0]),
        work=work,
        flops_per_clip=40,
        num_clips=4,
        bytes_per_s=4.0,
        matmul_size=7,
    )
    assert found["clips_per_s"] == 4 / 16
    assert found["step_s"] == 16
    assert found["step_s_range"] == [10, 30]
    assert found["flops_per_s"] == 10
    assert found["mfu"] == 160 / 16 / 20
    assert found["matmul"] == {"size": 7, "flops_per_s": 20, "flops_per_s_range": [10, 40]}
    assert (found["floor_s"], found["times_floor"]) == (7, 16 / 7)
    split = found["split"]
    # The step of median length is the first, of 20 seconds.
    assert split["step_s"] == 20
    assert split["marks_cost"] == 0.25
    assert split["parts"]["encoder"] == {
        "seconds": 3,
        "share": 0.15,
        "flops": 100,
        "bytes": 4,
        "floor_s": 5,
        "times_floor": 0.6,
    }
    assert split["parts"]["optimiser"]["floor_s"] == 2
    assert split["parts"]["data"]["floor_s"] is None
    assert (split["remainder_s"], split["remainder_share"]) == (1, 0.05)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and copies that take no time."""
    monkeypatch.setattr(machine, "MATMUL_SECONDS", 0.0)
    monkeypatch.setitem(machine.MATMUL_SIZE, "cpu", 32)
    monkeypatch.setitem(machine.COPY_BYTES, "cpu", 1 << 16)


@pytest.mark.usefixtures("quick")
def test_what_is_measured_belongs_together(tmp_path: Path) -> None:
    config = bench_stage("demo", batch_size=CLIPS)
    teacher = bench_teacher(config, "demo")
    found = measure_step(config, teacher, rounds=3, trace=tmp_path / "new")
    json.dumps(found, allow_nan=False)
    settings = found["settings"]
    assert (settings["method"], settings["clips"], settings["device"]) == ("salt", CLIPS, "cpu")
    assert settings["teacher"] == "2 blocks of width 96"
    cost = stage_costs(salt_preset("demo"))[1]
    assert found["flops_per_clip"] == cost.flops(1) // cost.batch_size
    flops = CLIPS * found["flops_per_clip"]
    assert found["mfu"] == pytest.approx(flops / found["step_s"] / found["matmul"]["flops_per_s"])
    assert found["clips_per_s"] == pytest.approx(CLIPS / found["step_s"])
    split = found["split"]
    assert [*split["parts"], "other"] == [*PARTS]
    assert sum(part["flops"] for part in split["parts"].values()) == flops
    seconds = [part["seconds"] for part in split["parts"].values()]
    assert min(seconds) >= 0
    assert sum(seconds) + split["remainder_s"] == pytest.approx(split["step_s"], rel=1e-9)
    shares = [part["share"] for part in split["parts"].values()]
    assert sum(shares) + split["remainder_share"] == pytest.approx(1, rel=1e-9)
    assert found["peak_memory"]["bytes"] > 50e6
    trace = json.loads(Path(found["trace"]).read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {f"end of {part}" for part in PARTS} <= names


@pytest.mark.usefixtures("quick")
def test_rates_are_operations_and_bytes_by_seconds() -> None:
    """A clock that moves by a second whenever it is read."""
    ticks: Iterator[int] = count()
    # Read at the beginning, after the product to see whether it is enough, and at the end.
    assert machine.matmul_rate("cpu", "fp32", lambda: float(next(ticks))) == 2 * 32**3 / 2
    assert machine.copy_rate("cpu", lambda: float(next(ticks))) == 2 * (1 << 16)


def test_no_round_is_refused() -> None:
    config = bench_stage("demo", "pixel", batch_size=CLIPS)
    with pytest.raises(ConfigError, match="--rounds is 0; it must be at least 1"):
        measure_step(config, None, rounds=0)


@pytest.mark.usefixtures("quick")
def test_processor_time_does_not_pass_while_nothing_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sleeping in the forward pass of the teacher takes time by the clock only."""
    config = bench_stage("demo", batch_size=CLIPS)
    encode = FrozenTeacher._encode

    def slow(teacher: FrozenTeacher, clips: torch.Tensor) -> torch.Tensor:
        time.sleep(0.5)
        return encode(teacher, clips)

    monkeypatch.setattr(FrozenTeacher, "_encode", slow)
    teacher = bench_teacher(config, "demo")
    found = measure_step(config, teacher, rounds=1, processor_time=True)
    assert found["settings"]["clock"] == "processor"
    assert found["split"]["parts"]["target"]["seconds"] < 0.5
    assert measure_step(config, teacher, rounds=1)["split"]["parts"]["target"]["seconds"] >= 0.5


def test_processor_time_is_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "choose_device", lambda wanted: "cuda")
    config = bench_stage("demo", "pixel", batch_size=CLIPS)
    with pytest.raises(ConfigError, match="--processor-time is of a CPU, not of cuda"):
        measure_step(config, None, processor_time=True)
