"""The loop on tiny real parts: what it logs, saves, refuses and restores."""

import itertools
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.tiny import make_batch
from support.trainers import (
    Batches,
    make_pixel,
    make_progress,
    make_salt,
    make_vjepa,
    restore,
)
from vsalt.data.types import Batch
from vsalt.errors import DataError, NonFiniteError
from vsalt.objectives.protocol import ObjectiveOutput
from vsalt.training.checkpoint import CheckpointFolder, Draft
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.loop import Progressed, Trainer
from vsalt.training.optim import build_optimiser
from vsalt.training.schedule import learning_rate, weight_decay
from vsalt.training.stop import InterruptedRunError, StopFlag

MakeTrainer = Callable[..., Trainer]

LOOP = LoopConfig(steps=6, batch_size=4, micro_batch_size=2, log_every=1, save_every=2)


def run(trainer: Trainer, stop: StopFlag | None = None) -> None:
    batches = Batches(trainer.done.step, trainer.loop)
    trainer.run(batches, stop or StopFlag(), make_progress(trainer.loop))


def state_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Copies of all weights and of the optimiser's moments and counters."""
    params = dict(trainer.objective.trainable.named_parameters())
    state = {name: param.detach().clone() for name, param in params.items()}
    carried = trainer.objective.carried_state()
    state |= {f"carried {name}": value.clone() for name, value in carried.items()}
    for name, param in params.items():
        for key, value in trainer.optimiser.state.get(param, {}).items():
            state[f"{name} {key}"] = value.clone()
    return state


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def read_log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def make_loss_fail(
    trainer: Trainer,
    monkeypatch: pytest.MonkeyPatch,
    *,
    at_call: int,
    factor: float = 1.0,
    offset: float = 0.0,
) -> None:
    """Change the loss of one micro-batch."""
    loss, calls = trainer.objective.loss, []

    def fail(batch: Batch) -> ObjectiveOutput:
        calls.append(batch)
        output = loss(batch)
        if len(calls) - 1 != at_call:
            return output
        return replace(output, loss_sum=output.loss_sum * factor + offset)

    monkeypatch.setattr(trainer.objective, "loss", fail)


@pytest.mark.parametrize("make", [make_pixel, make_salt, make_vjepa])
def test_three_steps_saved_and_restored_go_on_as_six(
    make_trainer: MakeTrainer, tmp_path: Path, make
) -> None:
    straight = make_trainer(tmp_path / "straight", make(), loop=LOOP)
    run(straight)

    first = make_trainer(tmp_path / "cut", make(), loop=replace(LOOP, save_every=3))
    stop = StopFlag()
    monkey_step = first._step

    def stop_at_three(step: int, stream: Any) -> dict[str, Any]:
        stop.number = 15 if step == 2 else None
        return monkey_step(step, stream)

    first._step = stop_at_three
    with pytest.raises(InterruptedRunError, match=r"^stopped after step 3 of 6; saved$") as caught:
        run(first, stop)
    assert caught.value.exit_code == 143
    first.metrics.close()

    second = make_trainer(tmp_path / "cut", make(seed=50), loop=LOOP, first_step=3)
    for param in second.objective.trainable.parameters():  # a state that must be overwritten
        param.grad = torch.ones_like(param)
    second.optimiser.step()
    checkpoint = second.saver.folder.clean(print)
    assert checkpoint is not None
    assert checkpoint.step == 3
    if second.objective.target is not None:
        second.objective.target.load_state_dict(first.objective.target.state_dict())
    restore(checkpoint, second.objective, second.optimiser)
    assert_equal(state_of(second), state_of(first))
    run(second)
    assert_equal(state_of(second), state_of(straight))
    logs = [read_log(tmp_path / name / "metrics.jsonl") for name in ("cut", "straight")]
    assert logs[0] == logs[1]


def test_a_signal_says_that_a_step_is_saved_only_where_it_is(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, save_every=6))
    reads = itertools.count(1)

    class Late(StopFlag):
        """A signal that comes between two looks."""

        number = property(lambda _: None if next(reads) < 2 else 15, lambda *_: None)

    with pytest.raises(InterruptedRunError, match="saved") as caught:
        run(trainer, Late())
    said = re.search(r"after step (\d)", str(caught.value))
    assert said is not None
    assert (trainer.saver.folder.path / "latest").read_text() == f"step-{said[1]}\n"


def test_training_lowers_the_loss(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    loop = LoopConfig(steps=30, batch_size=2, micro_batch_size=2, log_every=29)
    trainer = make_trainer(tmp_path, loop=loop, optim=OptimConfig(lr=0.2, clip_norm=None))
    batch = make_batch(2)
    batches = Batches(0, loop)
    batches_of_one = ((step, 0, batch) for step in range(30))
    batches.__class__ = type("Same", (Batches,), {"__iter__": lambda self: batches_of_one})
    trainer.run(batches, StopFlag(), make_progress(loop))
    first = make_pixel().loss(batch).loss_sum.item() / 2
    records = read_log(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [29, 30]
    assert records[-1]["loss"] < 0.7 * first


def test_a_record_says_what_the_step_did(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    run(trainer)
    records = read_log(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]
    # The first step by hand: the mean over its four clips, and the norm before clipping.
    objective = make_pixel()
    batches = [make_batch(2, seed=0), make_batch(2, seed=1)]
    losses = [objective.loss(batch).loss_sum / 4 for batch in batches]
    sum(losses).backward()
    squares = [p.grad.double().square().sum() for p in objective.encoder.parameters()]
    first = records[0]
    assert first["kind"] == "train"
    assert first["loss"] == pytest.approx(sum(losses).item(), rel=1e-6)
    assert first["grad_norm_encoder"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-5)
    assert first["grad_norm_encoder"] > trainer.optim.clip_norm
    for record in records:
        step = record["step"] - 1
        assert record["lr"] == learning_rate(step, 6, trainer.optim)
        assert record["weight_decay"] == weight_decay(step, 6, trainer.optim)
        assert record["clips"] == 4 * record["step"]
        assert record["flops_exact"] == 4000 * record["step"]
        assert record["flops_six_nd"] == 40.0 * record["step"]
        assert record["bad_reads"] == 0
        assert record["loss"] == pytest.approx((record["loss_short"] + record["loss_long"]) / 2)
    timings = read_log(tmp_path / "timings.jsonl")
    assert [timing["step"] for timing in timings] == [1, 2, 3, 4, 5, 6]
    for timing in timings:
        assert set(timing) == {"step", "clips_per_s", "data_wait_share", "elapsed_s"}


def test_logs_and_checkpoints_come_when_due_and_at_the_end(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    loop = replace(LOOP, steps=7, log_every=3, save_every=4, keep_last=5)
    trainer = make_trainer(tmp_path, loop=loop)
    run(trainer)
    assert [record["step"] for record in read_log(tmp_path / "metrics.jsonl")] == [3, 6, 7]
    saved = sorted(path.name for path in trainer.saver.folder.path.iterdir() if path.is_dir())
    assert saved == ["step-4", "step-7"]
    assert trainer.saved_step == 7


def test_the_best_checkpoint_is_the_one_of_lowest_val_loss(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    loop = replace(LOOP, val_every=1, keep_last=1)
    trainer = make_trainer(tmp_path, loop=loop)
    losses = iter([0.1, 3.0, 0.2, 2.0, 0.3, 2.0])  # steps 2, 4 and 6 are saved; the first best
    seen = []

    def validate() -> dict[str, float]:
        modules = list(trainer.objective.trainable.modules())
        seen.append((any(module.training for module in modules), torch.is_grad_enabled()))
        return {"val_loss": next(losses)}

    trainer.validate = validate
    run(trainer)
    assert seen == [(False, False)] * 6
    assert all(module.training for module in trainer.objective.trainable.modules())
    folder = trainer.saver.folder.path
    assert (folder / "best").read_text() == "step-4\n"
    assert (folder / "latest").read_text() == "step-6\n"
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"step-4", "step-6"}
    meta = json.loads((folder / "step-6" / "meta.json").read_text())
    assert (meta["best_step"], meta["best_val_loss"], meta["val_loss"]) == (4, 2.0, 2.0)
    assert (meta["reads"], meta["bad_reads"], meta["step"]) == (24, 0, 6)
    records = [record for record in read_log(tmp_path / "metrics.jsonl") if record["kind"] == "val"]
    assert [record["val_loss"] for record in records] == [0.1, 3.0, 0.2, 2.0, 0.3, 2.0]
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_and_touches_nothing(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    good = make_trainer(tmp_path / "good", loop=replace(LOOP, steps=3))
    good.loop = replace(good.loop, steps=6)  # the same schedule, cut after three steps
    stop = StopFlag()
    with pytest.raises(InterruptedRunError):
        good.run(Batches(0, replace(good.loop, steps=1)), _raised(stop), make_progress(good.loop))

    trainer = make_trainer(tmp_path / "bad", loop=LOOP)
    make_loss_fail(trainer, monkeypatch, at_call=3, factor=factor)  # step 2, second micro-batch
    with pytest.raises(NonFiniteError) as caught:
        run(trainer)
    message = str(caught.value)
    assert message.startswith("step 2: loss nan" if math.isnan(factor) else "step 2: loss inf")
    assert "saved as step 1" in message
    assert "a lower optim.lr" in message
    assert [line.strip() for line in message.splitlines()[1:]] == [
        "clip-0.mp4",
        "clip-1.mp4",
        "clip-0.mp4",
        "clip-1.mp4",
    ]
    assert_equal(state_of(trainer), state_of(good))
    assert (trainer.saver.folder.path / "latest").read_text() == "step-1\n"
    assert [record["step"] for record in read_log(tmp_path / "bad" / "metrics.jsonl")] == [1]

    again = make_trainer(tmp_path / "bad", make_pixel(seed=9), loop=LOOP, first_step=1)
    checkpoint = again.saver.folder.clean(print)
    assert checkpoint is not None
    restore(checkpoint, again.objective, again.optimiser)
    assert_equal(state_of(again), state_of(good))


def _raised(stop: StopFlag) -> StopFlag:
    stop.number = 2
    return stop


def test_a_gradient_that_is_not_finite_is_refused_though_the_loss_is(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    before = state_of(trainer)
    straight = make_trainer(tmp_path / "straight", loop=LOOP)
    run(straight)
    weight = trainer.objective.trainable["predictor"].out.weight
    hook = weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(
        NonFiniteError, match=r"step 1: loss \d.*norm of predictor (inf|nan)"
    ) as caught:
        run(trainer)
    assert "gradient norm of encoder" in str(caught.value)
    hook.remove()
    after = state_of(trainer)
    assert_equal({name: after[name] for name in before}, before)

    # The checkpoint of step 0 goes on as if nothing had happened.
    checkpoint = trainer.saver.folder.clean(print)
    assert checkpoint is not None
    assert checkpoint.step == 0
    again = make_trainer(tmp_path, make_pixel(seed=9), loop=LOOP)
    restore(checkpoint, again.objective, again.optimiser)
    run(again)
    assert_equal(state_of(again), state_of(straight))


def test_a_loss_that_is_not_finite_is_refused_though_the_gradients_are(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    make_loss_fail(trainer, monkeypatch, at_call=2, offset=math.inf)
    with pytest.raises(NonFiniteError, match=r"step 2: loss inf, gradient norm of encoder \d"):
        run(trainer)


def test_a_step_whose_val_loss_failed_is_not_saved(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Saved, its val_loss would never be computed, and after the last step nothing be the best."""
    trainer = make_trainer(tmp_path, loop=replace(LOOP, save_every=6, val_every=3))
    losses = iter([{"val_loss": 1.0}])

    def validate() -> dict[str, float]:
        found = next(losses, None)
        if found is None:
            raise DataError("a held-out clip cannot be read any more")
        return found

    trainer.validate = validate
    with pytest.raises(DataError, match=r"any more$"):
        run(trainer)
    assert trainer.done.step == 6
    assert CheckpointFolder(tmp_path, keep_last=1).latest() is None


def test_a_checkpoint_without_its_own_val_loss_is_never_the_best(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, save_every=4, val_every=2, steps=8))
    losses = iter([1.0, 3.0])
    stop = StopFlag()

    def validate() -> dict[str, float]:
        loss = next(losses)
        stop.number = 15 if loss == 3.0 else None
        return {"val_loss": loss}

    # Step 2 has the lowest loss but is not saved; step 4 is.
    trainer.validate = validate
    with pytest.raises(InterruptedRunError):
        run(trainer, stop)
    assert trainer.done.best_step == 4

    # Step 5 is saved because of a signal, after a loss of step 4 that would have been the best.
    trainer.done.val_loss = 0.5
    stop.number = 15
    with pytest.raises(InterruptedRunError):
        run(trainer, stop)
    assert trainer.saved_step == 5
    assert (trainer.done.best_step, trainer.done.best_val_loss) == (4, 3.0)
    assert (trainer.saver.folder.path / "best").read_text() == "step-4\n"


def test_a_failure_right_after_a_checkpoint_does_not_write_it_again(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    make_loss_fail(trainer, monkeypatch, at_call=4, factor=math.nan)
    saved = []
    prepare = trainer.saver.folder.prepare

    def note(*args: Any, **options: Any) -> Draft:
        saved.append(args[2])
        return prepare(*args, **options)

    monkeypatch.setattr(trainer.saver.folder, "prepare", note)
    with pytest.raises(NonFiniteError, match="saved as step 2"):
        run(trainer)
    assert saved == [2]


def test_a_loader_that_gives_another_step_is_our_bug(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    with pytest.raises(AssertionError, match="the loader gave step 2, not 0"):
        trainer.run(Batches(2, trainer.loop), StopFlag(), make_progress(trainer.loop))


def test_a_signal_does_not_change_which_checkpoint_is_the_best(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    # val_loss rises; only the checkpoints of steps 3 and 6 count, wherever a signal falls.
    loop = replace(LOOP, steps=6, save_every=3, val_every=1)
    trainer = make_trainer(tmp_path, loop=loop)
    losses = iter(range(1, 100))
    trainer.validate = lambda: {"val_loss": float(next(losses))}
    stop = StopFlag()
    stop.number = 15
    with pytest.raises(InterruptedRunError):
        trainer.run(Batches(0, trainer.loop), stop, make_progress(trainer.loop))
    assert trainer.saver.folder.latest().step == 1
    assert trainer.done.best_step is None
    trainer.run(Batches(1, trainer.loop), StopFlag(), make_progress(trainer.loop))
    assert trainer.done.best_step == 3


def test_a_val_loss_that_is_not_finite_is_null_in_the_log_and_never_the_best(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, steps=2, save_every=1))
    losses = iter([float("nan"), 3.0])
    trainer.validate = lambda: {"val_loss": next(losses)}
    run(trainer)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    values = [record["val_loss"] for record in found if record["kind"] == "val"]
    assert values == [None, 3.0]
    assert trainer.done.best_step == 2


def test_progress_is_part_of_every_checkpoint(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, steps=2))
    run(trainer)
    meta = trainer.saver.folder.latest().meta
    done = Progressed(**{name: meta[name] for name in vars(Progressed())})
    assert done == trainer.done == Progressed(step=2, reads=8)
    assert meta["config"] == {}
    optimiser = build_optimiser(trainer.objective.param_groups(), trainer.optim)
    restore(trainer.saver.folder.latest(), trainer.objective, optimiser)
    assert {float(state["step"]) for state in optimiser.state.values()} == {2.0}


def test_a_stage_of_no_steps_leaves_its_initial_weights(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, steps=0))
    trainer.validate = lambda: {"val_loss": 0.5}
    begun = state_of(trainer)
    run(trainer)
    checkpoint = trainer.saver.folder.latest()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.meta["best_step"]) == (0, 0)
    assert trainer.saved_step == 0
    (record,) = read_log(tmp_path / "metrics.jsonl")
    assert (record["kind"], record["step"], record["clips"], record["flops_exact"]) == (
        *("val", 0, 0, 0),
    )
    assert record["val_loss"] == 0.5
    assert read_log(tmp_path / "timings.jsonl") == read_log(tmp_path / "warnings.jsonl") == []

    again = make_trainer(tmp_path / "again", make_pixel(seed=50), loop=trainer.loop)
    restore(checkpoint, again.objective, again.optimiser)
    params = dict(again.objective.trainable.named_parameters())
    for name, value in begun.items():
        assert torch.equal(params[name], value), name


def interrupted(step_of: Any, stop: StopFlag, *, step: int) -> Any:
    """As `step_of`, with a signal in one step."""

    def do_step(number: int, stream: Any) -> dict[str, Any]:
        stop.number = 15 if number == step else None
        return step_of(number, stream)

    return do_step


def test_a_stopped_stage_is_the_beginning_of_a_whole_one(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    logs, states = {}, {}
    for name, loop in {
        "whole": LOOP,
        "stopped": replace(LOOP, stop_at=4),
        "short": replace(LOOP, steps=4),
    }.items():
        trainer = make_trainer(tmp_path / name, loop=loop)
        if name == "whole":
            stop = StopFlag()
            trainer._step = interrupted(trainer._step, stop, step=3)
            with pytest.raises(InterruptedRunError):
                run(trainer, stop)
        else:
            run(trainer)
        assert trainer.saved_step == trainer.done.step == 4
        logs[name], states[name] = read_log(tmp_path / name / "metrics.jsonl"), state_of(trainer)
    assert_equal(states["stopped"], states["whole"])
    rates = {name: [record["lr"] for record in log] for name, log in logs.items()}
    assert rates["stopped"] == rates["whole"] != rates["short"]
    # A last step is logged and measured like every last one.
    assert "rankme" in logs["stopped"][-1]
    assert "rankme" not in logs["whole"][-1]
    assert logs["stopped"][-1]["flops_exact"] == 4 * 4 * 1000
