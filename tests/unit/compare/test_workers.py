"""Which GPU a worker sees, and what becomes of a cell whose worker dies."""

import multiprocessing
import os
import signal
from multiprocessing.context import SpawnProcess

import pytest
import torch

from vsalt.compare import workers
from vsalt.compare.cells import Cell
from vsalt.compare.workers import visible_gpus


@pytest.mark.parametrize(
    ("given", "count", "names"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("3, 5", 2, ["3", "5"]),
        ("GPU-8f1e,MIG-04", 2, ["GPU-8f1e", "MIG-04"]),
        ("", 0, []),
        # CUDA stops at the first that is not there.
        ("0,1,9", 2, ["0", "1"]),
    ],
)
def test_every_worker_starts_with_one_of_the_visible_gpus(
    given: str | None, count: int, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names
    seen = []
    for slot in range(2 * len(names)):
        with workers._gpu(slot):
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == 2 * names
    with workers._gpu(0):
        pass
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == given


class Killed(SpawnProcess):
    """A process that the system has killed."""

    exitcode = -signal.SIGKILL

    def join(self, timeout: float | None = None) -> None:
        """Return at once."""


def test_a_worker_that_dies_costs_its_cell() -> None:
    line, theirs = multiprocessing.Pipe()
    theirs.close()
    cell = Cell(data="a", arm="salt")
    outcome = workers._collect(workers._Worker(process=Killed(), line=line, cell=cell))
    assert outcome.cell == cell
    assert outcome.failure is not None
    assert "ended with code -9; is memory short?" in outcome.failure.error
    assert not outcome.failure.diverged
