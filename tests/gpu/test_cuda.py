"""The same runs on a CUDA device: whole path, resuming, and agreement with the CPU."""

import json
from pathlib import Path

import pytest

from support import runs
from vsalt.data.synthetic import synthesise

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(
        tmp_path_factory.mktemp("videos"), num_clips=32, seed=1, size=32, num_frames=10
    )


def losses(run: Path) -> list[float]:
    records = map(json.loads, (run / "student" / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["kind"] == "train"]


def test_fp32_losses_agree_with_the_cpu(videos: Path, tmp_path: Path) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        run = tmp_path / device
        done = runs.vsalt(
            *("salt", "--data", videos, "--out", run, *runs.TINY),
            *("--device.device", device, "--device.precision", "fp32"),
        )
        assert done.returncode == 0, done.stderr
        found[device] = losses(run)
    assert found["cuda"] == pytest.approx(found["cpu"], rel=1e-3)


def test_bf16_run_is_resumed_exactly(videos: Path, tmp_path: Path) -> None:
    words = ["--data", videos, *runs.TINY, "--device.device", "cuda", "--data.workers", "2"]
    # Heads of 64 channels and 576 tokens: enough for kernels that add in no fixed order.
    words += ["--clip.size", "96", "96", "--clip.num-frames", "8", "--clip.frame-step", "1"]
    for stage in ("teacher", "student"):
        words += [f"--{stage}.encoder.width", "128", f"--{stage}.predictor.width", "128"]
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert runs.vsalt("salt", "--out", undisturbed, *words).returncode == 0
    stopped = runs.vsalt(
        *("salt", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "11"),
    )
    assert stopped.returncode == -9
    assert runs.vsalt("resume", run).returncode == 0
    assert runs.fingerprint(run) == runs.fingerprint(undisturbed)
