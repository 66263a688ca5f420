"""Teachers from outside on a CUDA device: the tokens of the CPU, and a run that is resumed."""

from pathlib import Path

import pytest
import torch

from support import runs
from support.outside import KINDS, write
from vsalt.config import StageConfig
from vsalt.data.synthetic import synthesise
from vsalt.interop.teachers.read import read_hf_teacher
from vsalt.models.config import EncoderConfig
from vsalt.objectives.config import SaltConfig

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("name", KINDS)
def test_tokens_are_those_of_the_cpu(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    stage = StageConfig(method=SaltConfig(), encoder=EncoderConfig(size="Ti", tubelet=(2, 8, 8)))
    teacher = read_hf_teacher(tmp_path, stage)
    clips = torch.randint(256, (2, 3, 6, 40, 56), dtype=torch.uint8)
    with torch.no_grad():
        own = teacher(clips)
        found = teacher.to("cuda")(clips.to("cuda")).cpu()
    torch.testing.assert_close(found, own, atol=2e-3, rtol=2e-3)


def test_its_bf16_run_is_resumed_exactly(tmp_path: Path) -> None:
    videos = synthesise(tmp_path / "videos", num_clips=32, seed=1, size=32, num_frames=10)
    write(tmp_path / "theirs", "clip")
    words = ["--method", "salt", "--teacher", f"hf:{tmp_path / 'theirs'}", "--data", videos]
    words += [*runs.TINY_STAGE, "--device.device", "cuda", "--loop.keep-last", "9"]
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert runs.vsalt("pretrain", "--out", undisturbed, *words).returncode == 0
    stopped = runs.vsalt(
        *("pretrain", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", "step", "5"),
    )
    assert stopped.returncode == -9
    assert runs.vsalt("resume", run).returncode == 0
    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(undisturbed)
