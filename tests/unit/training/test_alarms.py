"""What the alarms compare and remember, without networks."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.trainers import describe_rows
from vsalt.data.config import Shape
from vsalt.errors import RunFolderError
from vsalt.training import alarms
from vsalt.training.alarms import Alarms, Memory, StepLosses
from vsalt.training.config import OptimConfig
from vsalt.training.run_folder import JsonLines

OPTIM = OptimConfig(lr=0.1, warmup_steps=10)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[JsonLines]:
    lines = JsonLines(tmp_path / "warnings.jsonl", keep_to_step=0)
    yield lines
    lines.close()


def written(log: JsonLines) -> list[dict]:
    return [json.loads(line) for line in log.path.read_text().splitlines()]


def step_of(
    step: int, loss: float, clips: tuple[float, ...] | None = None, shape: Shape = "video"
) -> StepLosses:
    clips = clips or (loss,) * 8
    rows = tuple(range(len(clips)))
    return StepLosses(
        step=step,
        shape=shape,
        lr=0.09,
        rows=rows,
        loss=loss,
        grad_norm=1.0,
        clip_losses=clips,
    )


def remembered() -> Memory:
    return Memory(losses_by_shape={"video": [1.0] * 20}, grad_norms_by_shape={"video": [0.5] * 20})


def slow_limit(losses: list[float]) -> float:
    middle = float(np.median(losses))
    mad = float(np.median([abs(loss - middle) for loss in losses]))
    return middle + max(8 * 1.4826 * mad, 0.25 * middle)


def test_a_jump_is_judged_by_the_last_64_losses_and_never_before_16(log: JsonLines) -> None:
    draw = random.Random(0)
    losses = [10.0] * 5 + [draw.uniform(0.4, 0.6) for _ in range(5)] + [40.0]
    losses += [draw.uniform(0.4, 0.6) for _ in range(150)]
    for step in (40, 120, 140):
        losses[step] = slow_limit(losses[max(0, step - 64) : step]) + 1e-9
    losses[130] = slow_limit(losses[66:130]) - 1e-9
    judge = Alarms(log, describe_rows, OPTIM)
    for step, loss in enumerate(losses):
        judge.judge_step(step_of(step, loss))
    expected = [
        step
        for step, loss in enumerate(losses)
        if step >= 16 and loss > slow_limit(losses[max(0, step - 64) : step])
    ]
    assert expected == [40, 120, 140]
    assert [record["step"] for record in written(log)] == expected
    assert judge.memory.losses_by_shape == {"video": losses[-64:]}


def test_a_steady_loss_needs_a_quarter_more_to_jump() -> None:
    assert alarms.jump_limit([2.0] * 20) == (2.0, 2.5)


def test_a_jump_that_lasts_is_told_once(log: JsonLines) -> None:
    judge = Alarms(log, describe_rows, OPTIM)
    losses = [1.0] * 20 + [2.0] * 5 + [1.0] * 2 + [2.0]
    for step, loss in enumerate(losses):
        judge.judge_step(step_of(step, loss))
    assert [record["step"] for record in written(log)] == [20, 27]
    assert judge.memory.active == ["loss_jump"]


def test_images_and_videos_jump_apart(log: JsonLines) -> None:
    """Of each shape the losses are steady, and twice as high as those of the other."""
    judge = Alarms(log, describe_rows, OPTIM)
    for step in range(40):
        image = step % 2 == 1
        loss = 1.0 if image else 2.0
        if step in (36, 37, 38, 39):
            loss *= 1.5
        judge.judge_step(step_of(step, loss, shape="image" if image else "video"))
    video, image = written(log)
    assert (video["step"], video["kind"]) == (36, "loss_jump")
    assert (image["step"], image["kind"]) == (37, "loss_jump_image")
    assert image["message"].startswith(
        "loss 1.5; the median of the 18 image steps before is 1, and up to 1.25 is usual."
    )
    # The next step of the other shape is no recovery.
    assert judge.memory.active == ["loss_jump", "loss_jump_image"]


def test_the_cause_says_whether_few_clips_or_the_learning_rate(log: JsonLines) -> None:
    shown: list[str] = []
    judge = Alarms(log, describe_rows, OPTIM, remembered())
    judge.show = shown.append
    few = (1.0, 9.0, 1.0, 1.1, 9.0, 1.0, 1.0, 1.0)  # 8, 8 and 0.1 above the median
    judge.judge_step(step_of(21, sum(few) / 8, few))
    judge.judge_step(step_of(22, 1.0))
    judge.judge_step(step_of(23, 3.0))
    judge.judge_step(step_of(24, 1.0))
    judge.judge_step(replace(step_of(25, 3.0), lr=0.01))
    one, two, three = written(log)
    assert one["cause"].startswith("2 of 8 clips make up most of it")
    assert one["clips"] == [f"clip-{row}.mp4" for row in (1, 4, 3, 0, 2)]
    assert one["message"] == (
        "loss 3.013; the median of the 20 steps before is 1, and up to 1.25 is usual. "
        "Highest losses of its 8 clips: 9, 9, 1.1, 1, 1"
    )
    assert "the learning rate is at 90% of its peak" in two["cause"]
    assert "gradient norm before clipping 1, usually 0.5" in two["cause"]
    assert "optim.lr" in two["cause"]
    assert "though the learning rate is at 10% of its peak" in three["cause"]
    assert [set(record) for record in (one, two, three)] == 3 * [
        {"step", "kind", "message", "cause", "clips"}
    ]
    assert shown[0].startswith("warning at step 21 (loss_jump): loss 3.013")
    assert len(shown) == 3


@pytest.mark.parametrize(
    ("clips", "cause"),
    [
        ((3.0,), "one clip per step cannot tell whether it is the clip or the training"),
        ((5.0, 1.0), "1 of 2 clips make up most of it"),
        ((3.0, 3.1), "all clips are affected"),
        ((1.1, 7.0, 1.0), "1 of 3 clips make up most of it"),
        ((3.0, 3.1, 2.9), "all clips are affected"),
    ],
)
def test_the_cause_of_a_jump_in_steps_of_few_clips(
    log: JsonLines, clips: tuple[float, ...], cause: str
) -> None:
    judge = Alarms(log, describe_rows, OPTIM, remembered())
    judge.judge_step(step_of(21, sum(clips) / len(clips), clips))
    (record,) = written(log)
    assert record["cause"].startswith(cause)
    assert len(record["clips"]) == len(clips)


GOOD = {"rankme": 8.0, "feature_deviation": 0.5, "target_deviation": 1.0}
ROWS = (7, 3, 9, 1, 8, 2)


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"rankme": 1.49}, "collapse"),
        ({"feature_deviation": 0.019}, "collapse"),
        ({"target_deviation": 0.019}, "constant_targets"),
    ],
)
def test_features_are_judged_by_the_thresholds(log: JsonLines, bad: dict, kind: str) -> None:
    judge = Alarms(log, describe_rows, OPTIM)
    edge = {"rankme": 2.0, "feature_deviation": 0.02, "target_deviation": 0.02}
    # Bad from 20 to 30, good again at 40, bad at 50: two warnings.
    for step, values in ((11, GOOD), (15, GOOD | edge), (20, GOOD | bad), (30, GOOD | bad)):
        judge.judge_features(step, values, ROWS)
    assert judge.memory.active == [kind]
    judge.judge_features(40, GOOD, ROWS)
    assert judge.memory.active == []
    judge.judge_features(50, GOOD | bad, ROWS)
    assert [(record["step"], record["kind"]) for record in written(log)] == [(20, kind), (50, kind)]
    for record in written(log):
        assert record["clips"] == [f"clip-{row}.mp4" for row in ROWS[:5]]


def judge_ranks(log: JsonLines, ranks: list[float]) -> tuple[Alarms, list[tuple[int, str]]]:
    """Judge ranks at the steps from 11 on, the first after warm-up."""
    judge = Alarms(log, describe_rows, OPTIM)
    for step, rank in enumerate(ranks, start=11):
        judge.judge_features(step, GOOD | {"rankme": rank}, ROWS)
    return judge, [(record["step"], record["kind"]) for record in written(log)]


def test_medians_of_three_ranks_are_compared(log: JsonLines) -> None:
    # A single low one changes no median of three; two in a row do, at 1.9 of 8 and not at 2.
    ranks = [8.0, 8.0, 8.0, 1.9, 8.0, 8.0, 1.9, 8.0, 2.0, 2.0, 8.0, 8.0, 1.9, 1.9]
    judge, found = judge_ranks(log, ranks)
    assert found == [(24, "dimensional_collapse")]
    assert written(log)[0]["clips"] == [f"clip-{row}.mp4" for row in ROWS[:5]]
    assert judge.memory.highest_rankme == 8
    for step in (25, 26):
        judge.judge_features(step, GOOD, ROWS)
    assert judge.memory.active == []


def test_a_single_high_rank_is_none_to_hold_on_to(log: JsonLines) -> None:
    judge, found = judge_ranks(log, [8.0, 80.0, 8.0, 8.0, 8.0, 8.0])
    assert (judge.memory.highest_rankme, found) == (8, [])


def test_a_collapse_neither_raises_nor_ends_a_dimensional_collapse(log: JsonLines) -> None:
    judge, found = judge_ranks(log, [8.0, 8.0, 8.0, 1.9, 1.9, 1.4, 1.9, 1.4])
    assert found == [(15, "dimensional_collapse"), (16, "collapse"), (18, "collapse")]
    assert judge.memory.active == ["collapse", "dimensional_collapse"]
    for step in (19, 20):
        judge.judge_features(step, GOOD, ROWS)
    assert judge.memory.active == []


def test_collapse_looks_at_the_targets_first(log: JsonLines) -> None:
    judge = Alarms(log, describe_rows, OPTIM)
    judge.judge_features(11, GOOD | {"rankme": 1.0, "target_deviation": 0.019}, ROWS)
    judge.judge_features(12, GOOD, ROWS)
    judge.judge_features(13, GOOD | {"rankme": 1.0, "target_deviation": 0.02}, ROWS)
    judge.judge_features(14, GOOD, ROWS)
    judge.judge_features(15, {"rankme": 1.0, "feature_deviation": 0.5}, ROWS)
    causes = [record["cause"] for record in written(log) if record["kind"] == "collapse"]
    assert ["see constant_targets" in cause for cause in causes] == [True, False, False]


def test_the_rank_of_a_random_network_is_none_to_keep(log: JsonLines) -> None:
    judge = Alarms(log, describe_rows, OPTIM)
    judge.judge_features(10, GOOD | {"rankme": 100.0}, ROWS)  # the last step of warm-up
    for step in (20, 30, 40):
        judge.judge_features(step, GOOD, ROWS)
    assert (judge.memory.highest_rankme, written(log)) == (8.0, [])


def test_a_measure_that_a_method_does_not_give_is_not_judged(log: JsonLines) -> None:
    Alarms(log, describe_rows, OPTIM).judge_features(1, {}, ROWS)
    assert written(log) == []


def test_memory_comes_back_as_it_was_and_nothing_else_does() -> None:
    losses = {"video": [0.1, 1 / 3], "image": [0.7]}
    norms = {"video": [2.0, 1e-300], "image": [1e300]}
    memory = Memory(losses, norms, [4.5, 1 / 7], 17.25, ["collapse"])
    again = Memory.from_dict(json.loads(json.dumps(memory.to_dict())), "meta.json")
    assert again == memory
    values = memory.to_dict()
    for wrong in (None, [], {**values, "more": 1}, {"losses": []}):
        with pytest.raises(RunFolderError, match=r"meta.json must hold `health` with the keys"):
            Memory.from_dict(wrong, "meta.json")
