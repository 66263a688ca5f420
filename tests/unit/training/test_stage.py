"""What a stage says about its warnings when it has ended."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from support.tiny import make_batch
from support.trainers import make_trainer
from vsalt.config import PretrainConfig, StageConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.types import Batch
from vsalt.training import stage
from vsalt.training.config import LoopConfig
from vsalt.training.run_folder import JsonLines
from vsalt.training.stage import describe_warnings
from vsalt.training.stop import StopFlag

LOOP = LoopConfig(steps=4, batch_size=2, micro_batch_size=2, log_every=1, health_every=1).resolved()
GOOD = make_batch(2, seed=1)
BLANK = replace(GOOD, clips=torch.full_like(GOOD.clips, 100))


@pytest.mark.parametrize(
    ("records", "active", "expected"),
    [
        ([], [], None),
        ([(5, "loss_jump")], [], "1 warning in w.jsonl; none is active any more"),
        (
            [(5, "collapse"), (9, "loss_jump"), (30, "collapse")],
            ["collapse"],
            "3 warnings in w.jsonl; still active: collapse (since step 30)",
        ),
        (
            [(5, "collapse"), (9, "constant_targets")],
            ["collapse", "constant_targets"],
            "2 warnings in w.jsonl; still active: collapse (since step 5), "
            "constant_targets (since step 9)",
        ),
    ],
)
def test_warnings_in_one_line(
    tmp_path: Path, records: list[tuple[int, str]], active: list[str], expected: str | None
) -> None:
    log = JsonLines(tmp_path / "w.jsonl", keep_to_step=0)
    for step, kind in records:
        log.write({"step": step, "kind": kind})
    log.close()
    assert describe_warnings(log.path, active) == expected


def end_of_run(run: Path, batch_of: Callable[[int], Batch], monkeypatch: pytest.MonkeyPatch) -> str:
    """Train a real stage on given batches in place of those of a catalogue."""

    class Batches:
        wait_s = 0.0

        def __iter__(self) -> Iterator[tuple[int, int, Batch]]:
            return ((step, 0, batch_of(step)) for step in range(LOOP.steps))

    class Data:
        cache_lacks_room = False

        def __init__(self, *_: object, **__: object) -> None: ...

        def holdout(self) -> dict[str, object]:
            return {}

        def batches(
            self, start: int, verdicts: object
        ) -> contextlib.AbstractContextManager[Batches]:
            assert start == 0
            return contextlib.nullcontext(Batches())

    monkeypatch.setattr(stage, "StageData", Data)
    out = io.StringIO()
    config = PretrainConfig(stage=StageConfig(loop=LOOP))
    catalogue = Catalogue.__new__(Catalogue)  # only handed on, to Data
    console = Console(file=out, width=200)
    stage._train(make_trainer(run, loop=LOOP), config, catalogue, StopFlag(), console, "teacher")
    return out.getvalue().splitlines()[-1]


def test_a_stage_ends_with_its_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = end_of_run(tmp_path / "a", lambda step: BLANK if step >= 2 else GOOD, monkeypatch)
    # Grey clips have no targets to predict, and their tokens all look alike.
    assert last == (
        "teacher: 2 warnings in warnings.jsonl; still active: collapse (since step 3), "
        "constant_targets (since step 3)"
    )
    last = end_of_run(tmp_path / "b", lambda step: BLANK if step == 1 else GOOD, monkeypatch)
    assert last == "teacher: 2 warnings in warnings.jsonl; none is active any more"


def test_a_stage_without_warnings_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = end_of_run(tmp_path, lambda _: GOOD, monkeypatch)
    assert "step 4/4" in last
    assert "warning" not in last
