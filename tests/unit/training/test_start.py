"""What a start says: the preset, unreadable clips, and how an interrupted run goes on."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.cli import pretrain
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


@pytest.mark.parametrize(
    ("max_bad_share", "told"),
    [
        (0.2, "data: 2 of 10 sampled clips cannot be read; other clips will take their place\n"),
        (
            0.19,
            "data: 2 of 10 sampled clips cannot be read, more than --data.max-bad-share 0.19 "
            "allows, so the run will stop at its first check, after 100 clips; `vsalt data check "
            "SOURCE --write-clean FILE` writes a manifest without them, or raise "
            "--data.max-bad-share\n",
        ),
    ],
)
def test_unreadable_clips_are_told_before_the_run(
    max_bad_share: float,
    told: str,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in sorted(videos.iterdir())[:8]:
        (tmp_path / path.name).symlink_to(path)
    for name in ("bad.mp4", "worse.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    monkeypatch.setenv("COLUMNS", "400")
    config = config_of(tmp_path)
    data = replace(config.data, max_bad_share=max_bad_share, holdout=0.0)
    start.start_salt(tmp_path / "run", replace(config, data=data), dry_run=True)
    assert told in capsys.readouterr().out


def test_the_plan_names_the_preset(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(videos), "--out", str(videos.parent / "run"), "--dry-run"]
    for verb, own in ((pretrain.salt, []), (pretrain.pretrain, ["--method", "pixel"])):
        verb([*words, *own, "--preset", "demo"], "vsalt")
        assert "what this run will do (preset demo)" in capsys.readouterr().out
