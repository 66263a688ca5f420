"""Attentive probes on a CUDA device: the same answers as on the CPU, but for rounding."""

import json
from pathlib import Path

import numpy as np
import pytest

from support import runs
from support.encoders import write_checkpoint
from vsalt.data.synthetic import synthesise

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("features", ["cached", "online"])
def test_probabilities_agree_with_the_cpu(features: str, tmp_path: Path) -> None:
    source = synthesise(tmp_path / "videos", num_clips=40, seed=1, size=32, num_frames=10)
    encoder = write_checkpoint(tmp_path / "step-7")
    found = {}
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        done = runs.vsalt(
            *("probe", "fit", "--kind", "attentive", "--encoder", encoder, "--data", source),
            *("--label-column", "appearance", "--out", out, "--device", device, "--workers", "1"),
            *("--attentive.heads", "2", "--attentive.epochs", "3", "--attentive.views", "2"),
            *("--attentive.features", features, "--no-random-init"),
        )
        assert done.returncode == 0, done.stderr
        lines = (out / "predictions.jsonl").read_text().splitlines()
        found[device] = [json.loads(line)["probability"] for line in lines]
    # bf16 has 8 bits: 0.004 of a logit of order 1, through four blocks and three epochs.
    np.testing.assert_allclose(found["cuda"], found["cpu"], atol=0.05)
