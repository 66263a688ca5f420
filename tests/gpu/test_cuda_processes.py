"""Processes on CUDA devices, met by NCCL: the run of one device."""

from pathlib import Path

import pytest
import torch

from support import runs
from vsalt.data.synthetic import synthesise

pytestmark = [pytest.mark.cuda, pytest.mark.slow]

STAGE = [*runs.TINY_STAGE, "--device.device", "cuda", "--device.precision", "fp32"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(
        tmp_path_factory.mktemp("videos"), num_clips=32, seed=1, size=32, num_frames=10
    )


def require_devices(count: int) -> None:
    """Skip where there are fewer; the reason is one that the no-skip rule knows."""
    if torch.cuda.device_count() < count:
        pytest.skip(f"needs CUDA devices, {count} of them")


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
@pytest.mark.parametrize("method", ["pixel", "vjepa"])
def test_two_devices_do_the_run_of_one(
    method: str, sharding: str, tmp_path: Path, videos: Path
) -> None:
    require_devices(2)
    words = [*STAGE, "--data", videos, "--method", method]
    one, two = tmp_path / "one", tmp_path / "two"
    done = runs.vsalt("pretrain", "--out", one, *words)
    assert done.returncode == 0, done.stderr
    done = runs.torchrun(2, "pretrain", "--out", two, *words, "--device.sharding", sharding)
    assert done.returncode == 0, done.stderr
    # Kernels may be chosen by the shape of a micro-batch, which is the same here.
    runs.assert_same_numbers(one, two, tolerance=1e-4)


def test_a_sharded_teacher_gives_the_same_targets(tmp_path: Path, videos: Path) -> None:
    require_devices(2)
    words = [*runs.TINY_SMALL, "--device.device", "cuda", "--device.precision", "fp32"]
    words += ["--data", videos]
    one, two = tmp_path / "one", tmp_path / "two"
    assert runs.vsalt("salt", "--out", one, *words).returncode == 0
    sharded = ["--device.sharding", "shard", "--device.teacher-sharding", "shard"]
    done = runs.torchrun(2, "salt", "--out", two, *words, *sharded)
    assert done.returncode == 0, done.stderr
    for stage in ("teacher", "student"):
        runs.assert_same_numbers(one / stage, two / stage, tolerance=1e-4)


def test_checkpoints_of_a_device_are_written_beside_the_training(
    tmp_path: Path, videos: Path
) -> None:
    require_devices(1)
    words = [*STAGE, "--data", videos, "--method", "vjepa"]
    for name in ("on", "off"):
        done = runs.vsalt("pretrain", "--out", tmp_path / name, *words, "--loop.async-save", name)
        assert done.returncode == 0, done.stderr
    assert runs.stage_fingerprint(tmp_path / "on") == runs.stage_fingerprint(tmp_path / "off")


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_a_lost_device_ends_the_run(sharding: str, tmp_path: Path, videos: Path) -> None:
    require_devices(2)
    run = tmp_path / "run"
    words = [*STAGE, "--data", videos, "--method", "pixel", "--device.timeout-s", "30"]
    words += ["--device.sharding", sharding, "--loop.async-save", "off"]
    lost = runs.torchrun(
        *(2, "pretrain", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "3"),
        fault_rank=1,
    )
    assert lost.returncode != 0
    assert (run / "checkpoints" / "latest").read_text() == "step-2\n"
    assert runs.torchrun(2, "resume", run).returncode == 0


def test_more_processes_than_devices_are_refused(tmp_path: Path, videos: Path) -> None:
    count = torch.cuda.device_count()
    words = [*STAGE, "--data", videos, "--method", "pixel"]
    refused = runs.torchrun(count + 1, "pretrain", "--out", tmp_path / "run", *words)
    assert refused.returncode != 0
    assert f"this node has {count} CUDA devices" in refused.stderr
    assert not (tmp_path / "run" / "config.json").exists()
