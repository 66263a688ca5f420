"""Health on a CUDA device: it waits for nothing until the log, and measures what the CPU does."""

from pathlib import Path

import pytest
import torch

from support.tiny import make_batch
from support.trainers import describe_rows, make_salt
from vsalt.data.shapes_by_step import StepShapes
from vsalt.training.alarms import Alarms
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.health import Health
from vsalt.training.run_folder import WARNINGS, JsonLines

pytestmark = pytest.mark.cuda


def test_nothing_waits_for_the_device_before_the_log(tmp_path: Path) -> None:
    loop = LoopConfig(steps=4, batch_size=4, log_every=1, health_every=1).resolved()
    optim = OptimConfig().resolved(loop.steps, loop.batch_size)
    found = {}
    for device in ("cpu", "cuda"):
        log = JsonLines(tmp_path / f"{device}-{WARNINGS}", keep_to_step=0)
        health = Health(loop, Alarms(log, describe_rows, optim), StepShapes())
        objective = make_salt()
        objective.trainable.to(device)
        objective.target.to(device)
        output = objective.loss(make_batch(4, seed=3).to(device))
        norms = {"encoder": torch.ones((), device=device)}
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        try:
            health.begin_step()
            health.hear(1, output)
            loss = output.loss_sum.detach() / 4
            health.end_step(1, 0.1, range(4), loss, norms)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found[device] = health.collect(1, {"loss": loss})
        log.close()
    assert found["cuda"].keys() == found["cpu"].keys() >= {"rankme", "cosine", "target_variance"}
    for name, value in found["cpu"].items():
        assert found["cuda"][name] == pytest.approx(value, rel=1e-3), name
