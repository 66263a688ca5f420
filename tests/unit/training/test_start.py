"""What a start says: how an interrupted run goes on."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.config import SaltRunConfig
from vsalt.data.synthetic import synthesise
from vsalt.presets import salt_preset
from vsalt.training import start
from vsalt.training.stop import InterruptedRunError


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos") / "set"
    return synthesise(folder, num_clips=12, num_frames=16, size=32).parent / "videos"


def config_of(videos: Path) -> SaltRunConfig:
    config = salt_preset("demo")
    return replace(config, data=replace(config.data, sources=(str(videos),), cache="none"))


def test_who_interrupts_a_run_is_told_the_next_command(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedRunError(2, "stopped in the student after step 3 of 6; saved")

    monkeypatch.setattr(start, "run_salt", interrupt)
    run = tmp_path / "my run"
    told = f"stopped in the student after step 3 of 6; saved. `vsalt resume '{run}'` goes on"
    with pytest.raises(InterruptedRunError, match=f"^{re.escape(told)}$") as caught:
        start.start_salt(run, config_of(videos))
    assert caught.value.exit_code == 130
    with pytest.raises(InterruptedRunError, match=f"^{re.escape(told)}$"):
        start.resume_run(run)
