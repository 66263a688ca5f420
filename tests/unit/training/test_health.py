"""Health on real tiny trainers: what is logged, what goes wrong and is told, exact resuming."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.utils._python_dispatch import TorchDispatchMode

from support.slow_measures import slow_lidar, slow_rankme
from support.tiny import make_batch
from support.trainers import (
    Batches,
    describe_rows,
    make_pixel,
    make_progress,
    make_salt,
    restore,
)
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.types import Batch
from vsalt.errors import DataError, NonFiniteError
from vsalt.objectives.protocol import ObjectiveOutput
from vsalt.training import health
from vsalt.training.alarms import Alarms, Memory
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.loop import Trainer
from vsalt.training.run_folder import JsonLines
from vsalt.training.stop import InterruptedRunError, StopFlag
from vsalt.training.validation import validate

MakeTrainer = Callable[..., Trainer]
BatchOf = Callable[[int, int], Batch]

LOOP = LoopConfig(
    steps=40, batch_size=4, micro_batch_size=2, log_every=4, health_every=8, save_every=1000
)


class Given(Batches):
    """Micro-batches of a function of (step, index); rows count through the step's clips."""

    def __init__(self, first_step: int, loop: LoopConfig, batch_of: BatchOf) -> None:
        super().__init__(first_step, loop)
        self.batch_of = batch_of

    def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
        for step, index, batch in super().__iter__():
            rows = tuple(range(index * len(batch.rows), (index + 1) * len(batch.rows)))
            yield step, index, replace(self.batch_of(step, index), rows=rows)


def noise(step: int, index: int) -> Batch:
    return make_batch(2, seed=100 * step + index)


def blank(step: int, index: int) -> Batch:
    batch = noise(step, index)
    return replace(batch, clips=torch.full_like(batch.clips, 100))


def two_tone(step: int, index: int) -> Batch:
    """Every tubelet is black or white."""
    batch = noise(step, index)
    clips = torch.zeros_like(batch.clips)
    clips[..., 8:16] = 255
    return replace(batch, clips=clips)


def constant(lr: float) -> OptimConfig:
    return OptimConfig(lr=lr, lr_start=lr, lr_final=lr, warmup_steps=0, clip_norm=None)


def run(trainer: Trainer, batch_of: BatchOf, stop: StopFlag | None = None) -> str:
    """Train, and return what was shown."""
    out = io.StringIO()
    batches = Given(trainer.done.step, trainer.loop, batch_of)
    trainer.run(batches, stop or StopFlag(), make_progress(trainer.loop, out))
    return out.getvalue()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def kinds(run_folder: Path) -> list[tuple[int, str]]:
    return [(record["step"], record["kind"]) for record in read(run_folder / "warnings.jsonl")]


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_a_healthy_run_raises_no_warning(make_trainer: MakeTrainer, tmp_path: Path, make) -> None:
    loop = replace(LOOP, log_every=1, health_every=1)
    shown = run(make_trainer(tmp_path, make(), loop=loop, optim=constant(3e-3)), noise)
    records = read(tmp_path / "metrics.jsonl")
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    assert (tmp_path / "warnings.jsonl").read_text() == ""
    assert "warning" not in shown


def test_values_are_those_of_the_first_micro_batch(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(tmp_path, make_salt(), loop=LOOP)
    with torch.no_grad():
        output = make_salt().loss(noise(0, 0))
    trainer.loop = replace(trainer.loop, steps=1)
    trainer.health = health.Health(trainer.loop, trainer.health.alarms, StepShapes())
    run(trainer, noise)
    (record,) = read(tmp_path / "metrics.jsonl")
    tokens = torch.cat([context.flatten(0, 1) for context in output.context.values()])
    rows = tokens.double().numpy()
    assert record["rankme"] == pytest.approx(slow_rankme(rows), rel=1e-5)
    clips = [np.mean([c[i].mean(0).numpy() for c in output.context.values()], 0) for i in (0, 1)]
    expected = slow_rankme(np.array(clips, dtype=np.float64))
    assert record["rankme_clips"] == pytest.approx(expected, rel=1e-4)
    deviation = rows.std(axis=0).mean() / np.sqrt((rows**2).mean())
    assert record["feature_deviation"] == pytest.approx(deviation, rel=1e-4)
    assert record["dead_dimensions"] == 0
    variance = np.mean(
        [t.flatten(0, 1).numpy().var(axis=0).mean() for t in output.targets.values()]
    )
    assert record["target_variance"] == pytest.approx(variance, rel=1e-4)
    deviation = np.mean(
        [
            t.flatten(0, 1).numpy().std(axis=0).mean() / np.sqrt((t.numpy() ** 2).mean())
            for t in output.targets.values()
        ]
    )
    assert record["target_deviation"] == pytest.approx(deviation, rel=1e-4)
    cosines = []
    for name, target in output.targets.items():
        one, two = output.predictions[name].numpy(), target.numpy()
        norms = np.linalg.norm(one, axis=2) * np.linalg.norm(two, axis=2)
        cosines.append(((one * two).sum(axis=2) / norms).mean())
    assert record["cosine"] == pytest.approx(np.mean(cosines), rel=1e-3, abs=1e-6)


def test_measures_come_every_so_often_and_at_the_end(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    run(make_trainer(tmp_path, loop=replace(LOOP, steps=18)), noise)
    records = read(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [4, 8, 12, 16, 18]
    assert [record["step"] for record in records if "rankme" in record] == [8, 16, 18]


def test_one_transfer_per_record_and_none_between(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    to_host = health.to_host

    def count(tensors: Any) -> list[torch.Tensor]:
        sizes.append(len(tensors))
        return to_host(tensors)

    monkeypatch.setattr(health, "to_host", count)
    run(make_trainer(tmp_path, loop=replace(LOOP, steps=16)), noise)
    # Per step a loss, a norm and the clips' losses; 5 values of the record; 7 measures; no rest.
    assert sizes == [17, 24, 17, 24, 0]


WAITING = (
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.is_nonzero.default,
)


class NoWaiting(TorchDispatchMode):
    """Raises where a CUDA device would have to be waited for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITING:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def listen(tmp_path: Path, output: ObjectiveOutput) -> health.Health:
    """Let health hear a step of one micro-batch, which is due."""
    log = JsonLines(tmp_path / "warnings.jsonl", keep_to_step=0)
    optim = OptimConfig().resolved(4, 4)
    heard = health.Health(
        replace(LOOP, steps=8).resolved(), Alarms(log, describe_rows, optim), StepShapes()
    )
    heard.begin_step()
    heard.hear(8, output)
    norms = {name: torch.ones_like(output.loss_sum) for name in ("encoder", "predictor")}
    heard.end_step(8, 0.1, range(output.num_clips), output.loss_sum, norms)
    log.close()
    return heard


def test_listening_waits_for_no_value(tmp_path: Path) -> None:
    output = make_salt().loss(make_batch(4))
    values = torch.arange(3.0)
    with NoWaiting():
        for wait in (lambda: values[0].item(), lambda: bool(values[0]), lambda: values.nonzero()):
            with pytest.raises(AssertionError, match="waits for the device"):
                wait()
        heard = listen(tmp_path, output)
    assert {"rankme", "target_deviation"} <= set(heard.collect(8, {}))


def test_listening_reads_no_value(tmp_path: Path) -> None:
    """Tensors without data have no values to read."""
    output = make_salt().loss(make_batch(4))
    for read_value in (torch.Tensor.tolist, torch.Tensor.cpu, lambda t: t[t > 0]):
        with pytest.raises((NotImplementedError, RuntimeError)):
            read_value(output.clip_losses.to("meta"))

    def empty(tokens: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.to("meta") for name, value in tokens.items()}

    bare = replace(
        output,
        loss_sum=output.loss_sum.detach().to("meta"),
        clip_losses=output.clip_losses.to("meta"),
        context=empty(output.context),
        predictions=empty(output.predictions),
        targets=empty(output.targets),
    )
    heard = listen(tmp_path, bare)
    assert heard._seen.keys() == health.observe(output).keys()


def test_the_largest_gradient_norm_is_remembered(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, loop=LOOP)
    run(trainer, noise)
    record = read(tmp_path / "metrics.jsonl")[-1]
    norms = [value for name, value in record.items() if name.startswith("grad_norm_")]
    assert len(set(norms)) == 2
    assert trainer.health.alarms.memory.grad_norms_by_shape["video"][-1] == max(norms)


def test_losses_that_wait_too_long_are_judged_before_they_are_logged(
    make_trainer: MakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MAX_PENDING", 5)
    trainer = make_trainer(tmp_path, loop=replace(LOOP, steps=7, log_every=7))
    seen: list[int] = []
    judge = trainer.health.alarms.judge_step
    trainer.health.alarms.judge_step = lambda losses: seen.append(losses.step) or judge(losses)
    after: list[int] = []
    trainer.objective.after_step = lambda step: after.append(len(seen))
    run(trainer, noise)
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert after == [0, 0, 0, 0, 0, 5, 5]


def test_blank_clips_collapse_features_and_targets(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Blank, good, blank: each kind is told twice."""
    loop = replace(LOOP, log_every=1, health_every=1, steps=12)
    trainer = make_trainer(tmp_path, loop=loop, optim=constant(1e-3))
    shown = run(trainer, lambda step, index: (noise if 4 <= step < 8 else blank)(step, index))
    expected = [(step, kind) for step in (1, 9) for kind in ("collapse", "constant_targets")]
    assert kinds(tmp_path) == expected
    first, second, *_ = read(tmp_path / "warnings.jsonl")
    assert "features are almost the same for all tokens" in first["message"]
    # The step has 4 clips; its first micro-batch, which is measured, has 2.
    for record in read(tmp_path / "warnings.jsonl"):
        assert record["clips"] == ["clip-0.mp4", "clip-1.mp4"]
    assert "see constant_targets" in first["cause"]
    assert "the clips are blank" in second["cause"]
    assert shown.count("stage: warning at step 1 (collapse): features are almost the same") == 1
    records = read(tmp_path / "metrics.jsonl")
    assert records[0]["dead_dimensions"] == 24
    assert records[0]["rankme"] == pytest.approx(1, abs=1e-3)


def test_a_huge_learning_rate_collapses_the_features(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    run(make_trainer(tmp_path, loop=replace(LOOP, steps=16), optim=constant(1.0)), noise)
    (record,) = read(tmp_path / "warnings.jsonl")
    assert (record["step"], record["kind"]) == (8, "collapse")
    assert "a lower optim.lr" in record["cause"]
    assert record["clips"] == ["clip-0.mp4", "clip-1.mp4"]


def test_a_nearly_constant_teacher_is_told_in_bf16(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """Its tokens differ by their rounding, and by little else."""
    objective = make_salt()
    patches = objective.target.encoder.tokenizer.projection.weight
    with torch.no_grad():
        patches.mul_(1e-3)
    trainer = make_trainer(tmp_path, objective, loop=replace(LOOP, steps=8))
    trainer.precision = "bf16"
    run(trainer, noise)
    record = read(tmp_path / "metrics.jsonl")[-1]
    assert record["target_variance"] > 1e-6
    assert record["target_deviation"] < 0.01
    assert kinds(tmp_path) == [(8, "constant_targets")]


def test_clips_of_two_tones_collapse_the_dimensions(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    loop = replace(LOOP, health_every=LOOP.log_every)
    trainer = make_trainer(tmp_path, loop=loop, optim=constant(1e-3))
    run(trainer, lambda step, index: (noise if step < 20 else two_tone)(step, index))
    assert "dimensional_collapse" in [kind for _, kind in kinds(tmp_path)]
    assert "collapse" not in [kind for _, kind in kinds(tmp_path)]


def one_of_noise(step: int, index: int) -> Batch:
    """Blank clips, but for the last clip of step 30 (counted from 0)."""
    batch = blank(step, index)
    if (step, index) == (30, 1):
        batch.clips[1] = noise(step, index).clips[1]
    return batch


def all_of_noise(step: int, index: int) -> Batch:
    return (noise if step == 30 else blank)(step, index)


@pytest.mark.parametrize(
    ("batch_of", "cause"),
    [(one_of_noise, "1 of 4 clips make up most of it"), (all_of_noise, "all clips are affected")],
)
def test_a_jump_names_its_clips_though_its_step_is_not_logged(
    make_trainer: MakeTrainer, tmp_path: Path, batch_of: BatchOf, cause: str
) -> None:
    run(make_trainer(tmp_path, loop=LOOP, optim=constant(0.03)), batch_of)
    jumps = [r for r in read(tmp_path / "warnings.jsonl") if r["kind"] == "loss_jump"]
    assert [jump["step"] for jump in jumps] == [31]
    assert cause in jumps[0]["cause"]
    if batch_of is one_of_noise:
        assert jumps[0]["clips"][0] == "clip-3.mp4"
    assert sorted(jumps[0]["clips"]) == [f"clip-{row}.mp4" for row in range(4)]


@pytest.mark.parametrize("flush_fails", [False, True])
def test_a_jump_before_another_error_is_told(
    make_trainer: MakeTrainer, tmp_path: Path, flush_fails: bool
) -> None:
    """The losses of steps 1 to 40 still wait when the data of step 41 end the run."""

    def batch_of(step: int, index: int) -> Batch:
        if step == 40:
            raise DataError("too many files are damaged")
        return all_of_noise(step, index)

    def fail(losses: Any) -> None:
        raise OSError("the disk is full")

    loop = replace(LOOP, steps=60, log_every=50, health_every=50)
    trainer = make_trainer(tmp_path, loop=loop, optim=constant(0.03))
    if flush_fails:
        trainer.health.alarms.judge_step = fail
    with pytest.raises(DataError, match="too many files are damaged") as caught:
        run(trainer, batch_of)
    assert kinds(tmp_path) == ([] if flush_fails else [(31, "loss_jump")])
    latest = CheckpointFolder(tmp_path, keep_last=1).latest()
    if flush_fails:
        assert "since the last checkpoint are lost: the disk is full" in str(caught.value)
        assert latest is None
    else:
        assert "saved after step 40" in str(caught.value)
        assert latest is not None
        assert latest.step == 40


@pytest.mark.parametrize("cut", [19, 29, 31])
def test_logs_of_an_interrupted_run_are_those_of_an_undisturbed_one(
    make_trainer: MakeTrainer, tmp_path: Path, cut: int
) -> None:
    """The run is cut between two measures, before, near and right after the jump."""

    def batch_of(step: int, index: int) -> Batch:
        return (noise if step in (30, 36) else blank)(step, index)

    optim = constant(0.03)
    run(make_trainer(tmp_path / "straight", loop=LOOP, optim=optim), batch_of)
    first = make_trainer(tmp_path / "cut", loop=LOOP, optim=optim)
    stop = StopFlag()
    first.objective.after_step = lambda step: setattr(
        stop, "number", 15 if step == cut - 1 else None
    )
    with pytest.raises(InterruptedRunError):
        run(first, batch_of, stop)
    checkpoint = first.saver.folder.latest()
    assert checkpoint is not None
    memory = Memory.from_dict(checkpoint.meta["health"], "meta.json")
    assert memory == first.health.alarms.memory
    assert len(memory.losses_by_shape["video"]) == cut
    # What a process that was killed later has left behind is cut away.
    for log in (first.metrics, first.health.alarms.log):
        log.write({"step": cut + 1, "kind": "none"})
        log.close()

    second = make_trainer(
        tmp_path / "cut", make_pixel(9), loop=LOOP, optim=optim, first_step=cut, memory=memory
    )
    restore(checkpoint, second.objective, second.optimiser)
    run(second, batch_of)
    for name in ("warnings.jsonl", "metrics.jsonl"):
        straight = (tmp_path / "straight" / name).read_bytes()
        assert (tmp_path / "cut" / name).read_bytes() == straight
    jumps = [step for step, kind in kinds(tmp_path / "cut") if kind == "loss_jump"]
    assert jumps == [31, 37]


def test_a_clip_whose_own_loss_is_not_finite_is_named_first(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    """A target standardised without an epsilon: a blank clip divides by zero."""
    objective = make_pixel()
    opened = objective._target.open

    def unsafe(clips: torch.Tensor) -> Any:
        flat = (clips.amax(dim=(1, 2, 3, 4)) == clips.amin(dim=(1, 2, 3, 4))).float()
        return lambda ids: (
            opened(clips)(ids) * (1 - flat)[:, None, None] / (1 - flat)[:, None, None]
        )

    objective._target.open = unsafe

    def batch_of(step: int, index: int) -> Batch:
        batch = noise(step, index)
        if (step, index) == (2, 1):
            batch.clips[0] = 7
        return batch

    trainer = make_trainer(tmp_path, objective, loop=LOOP)
    with pytest.raises(NonFiniteError, match="step 3: loss nan") as caught:
        run(trainer, batch_of)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith("the clips of this step; those whose own loss is not finite:")
    assert [line.strip() for line in lines] == [
        "clip-2.mp4",
        "the others:",
        "clip-0.mp4",
        "clip-1.mp4",
        "clip-3.mp4",
    ]


def test_many_tokens_are_strided_evenly() -> None:
    tokens = torch.arange(5 * 700, dtype=torch.float32).view(5, 700, 1)
    expected = [float(i * 3500 // 512) for i in range(512)]
    assert health.sample(tokens, 512)[:, 0].tolist() == expected
    few = health.sample(tokens.bfloat16()[:, :4], 512)
    assert (few.shape, few.dtype) == ((20, 1), torch.float32)


def output_of(num_context: int, num_targets: int, width: int = 4) -> ObjectiveOutput:
    """Two clips of random tokens under two kinds of masks."""
    draw = torch.Generator().manual_seed(0)
    context, targets = (
        {name: torch.randn(2, count, width, generator=draw) for name in ("short", "long")}
        for count in (num_context, num_targets)
    )
    return ObjectiveOutput(
        loss_sum=torch.zeros(()),
        num_clips=2,
        clip_losses=torch.zeros(2),
        context=context,
        predictions=targets,
        targets=targets,
    )


def test_few_tokens_are_not_measured() -> None:
    of_context = {"rankme", "rankme_clips", "feature_deviation", "dead_dimensions"}
    of_targets = {"cosine", "target_variance", "target_deviation"}
    assert set(health.observe(output_of(4, 3))) == of_context  # 16 and 12 tokens
    assert set(health.observe(output_of(3, 4))) == of_targets
    assert set(health.observe(output_of(4, 4))) == of_context | of_targets


def test_many_tokens_are_cut_to_512() -> None:
    seen = health.observe(output_of(150, 1, width=600))
    assert seen["rankme"].shape == (512, 512)


def test_settings_must_be_resolved(tmp_path: Path) -> None:
    loop = LoopConfig(log_every=10, health_every=15)
    log = JsonLines(tmp_path / "warnings.jsonl", keep_to_step=0)
    alarms = Alarms(log, describe_rows, OptimConfig().resolved(1000, 32))
    with pytest.raises(AssertionError, match="resolve the config first"):
        health.Health(loop, alarms, StepShapes())
    health.Health(loop.resolved(), alarms, StepShapes())
    log.close()


def test_a_method_may_give_nothing_to_measure() -> None:
    output = ObjectiveOutput(loss_sum=torch.zeros(()), num_clips=1, clip_losses=torch.zeros(1))
    assert health.observe(output) == {}


def test_transfer_keeps_shapes_and_values() -> None:
    tensors = [torch.rand(2, 3), torch.tensor(1 / 3), torch.tensor([1, 2])]
    for found, tensor in zip(health.to_host(tensors), tensors, strict=True):
        assert found.dtype == torch.float64
        assert torch.equal(found, tensor.double())


def test_validation_ranks_are_those_of_the_clips_features() -> None:
    objective = make_salt()
    batches = [make_batch(2, seed=1), make_batch(3, seed=2)]
    found = validate(objective, {"video": batches}, "cpu", "fp32")
    assert set(found) == {"val_loss", "val_rankme", "val_lidar"}
    rows = []
    with torch.no_grad():
        for batch in batches:
            for i in range(len(batch.clips)):
                rows.append(
                    [
                        objective.encoder(batch.clips[i : i + 1], mask.context[i : i + 1])[0]
                        .double()
                        .mean(dim=0)
                        .numpy()
                        for mask in batch.masks
                    ]
                )
    features = np.array(rows)
    assert found["val_rankme"] == pytest.approx(slow_rankme(features.reshape(10, -1)), rel=1e-4)
    assert found["val_lidar"] == pytest.approx(slow_lidar(features, 1e-4), rel=1e-3)


def test_few_clips_or_one_mask_have_no_rank() -> None:
    assert set(validate(make_pixel(), {"video": [make_batch(3)]}, "cpu", "fp32")) == {"val_loss"}
    objective = make_pixel()
    objective.mask_names = ("short",)
    one = make_batch(4, ((5, 4),))
    assert set(validate(objective, {"video": [one]}, "cpu", "fp32")) == {"val_loss", "val_rankme"}
    assert np.isnan(validate(objective, {"video": []}, "cpu", "fp32")["val_loss"])


def test_val_records_hold_the_ranks(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, loop=replace(LOOP, steps=2, save_every=2))
    holdout = {"video": [make_batch(4, seed=5)]}
    trainer.validate = lambda: validate(trainer.objective, holdout, "cpu", "fp32")
    run(trainer, noise)
    record = read(tmp_path / "metrics.jsonl")[-1]
    assert record["kind"] == "val"
    assert {"val_loss", "val_rankme", "val_lidar"} <= set(record)
    # The weights are those of the checkpoint.
    assert record["val_rankme"] == validate(trainer.objective, holdout, "cpu", "fp32")["val_rankme"]


def test_warnings_reach_the_console_as_plain_text() -> None:
    out = io.StringIO()
    progress = make_progress(LOOP.resolved(), out)
    assert isinstance(progress.console, Console)
    progress.note("warning at step 1 (collapse): [0.1] of x")
    assert out.getvalue() == "stage: warning at step 1 (collapse): [0.1] of x\n"
