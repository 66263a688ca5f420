"""What a start says: the preset, unreadable clips, and how an interrupted run goes on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.cli import pretrain
from vsalt.config import SaltRunConfig
from vsalt.data.synthetic import synthesise
from vsalt.errors import ConfigError, RunFolderError
from vsalt.models.weights import weights_hash
from vsalt.presets import salt_preset, stage_preset
from vsalt.report.records import read_runs
from vsalt.training import start
from vsalt.training.build import build_objective
from vsalt.training.locate import load_encoder
from vsalt.training.stage_folder import read_stage
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


def test_a_preset_of_one_stage_brings_its_method(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(videos), "--out", str(videos.parent / "run"), "--dry-run"]
    pretrain.pretrain([*words, "--preset", "demo:vjepa"], "vsalt pretrain")
    told = capsys.readouterr().out
    assert "what this run will do (preset demo:vjepa)" in " ".join(told.split())
    assert "2,800" in told
    assert "vjepa: 2,800 steps" in told
    pretrain.pretrain([*words, "--preset", "demo:videomae"], "vsalt pretrain")
    told = capsys.readouterr().out
    assert "videomae: 2,800 steps" in told
    assert [cell.strip() for cell in told.split("┃")[1:3]] == ["", "videomae"]
    pretrain.pretrain([*words, "--preset", "videomae-faithful"], "vsalt pretrain")
    assert "187,200" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        pretrain.pretrain([*words, "--preset", "demo"], "vsalt pretrain")
    assert "--method" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="leave --method out"):
        pretrain.pretrain([*words, "--preset", "demo:vjepa", "--method", "pixel"], "vsalt")
    # Half of the steps, and so half of those that the teacher does of them.
    pretrain.salt([*words, "--preset", "demo:salt-early-teacher", "--steps", "600:8"], "vsalt")
    assert "teacher: 600 steps, stopped after 150, warm-up 48" in capsys.readouterr().out


def test_a_method_that_a_preset_is_not_made_for_is_told_its_baseline(
    videos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    words = ["--data", str(videos), "--out", str(videos.parent / "run"), "--dry-run"]
    hint = "the baseline, with settings of its own, is --preset demo:vjepa\n"
    pretrain.pretrain([*words, "--preset", "demo", "--method", "vjepa"], "vsalt pretrain")
    assert hint in capsys.readouterr().out
    for own in (["--preset", "demo:vjepa"], ["--preset", "demo", "--method", "pixel"]):
        pretrain.pretrain([*words, *own], "vsalt pretrain")
        assert "baseline" not in capsys.readouterr().out


def test_an_untrained_teacher_teaches(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--data", str(videos), "--out", str(run), "--preset", "demo", "--batch-size", "4"]
    words += ["--data.workers", "0", "--data.cache", "none", "--data.holdout", "0.3"]
    pretrain.salt([*words, "--steps", "0:1"], "vsalt salt")
    told = capsys.readouterr().out
    assert "teacher: no steps; its initial weights are the result" in told
    assert (run / "teacher" / "checkpoints" / "latest").read_text() == "step-0\n"
    config = read_stage(run / "teacher").config
    initial = build_objective(config, None).encoder.state_dict()
    frozen = load_encoder(run / "student" / "teacher")
    assert frozen.sha256 == load_encoder(run / "teacher").sha256 == weights_hash(initial)
    assert load_encoder(run).checkpoint.step == 1

    def files() -> dict[str, bytes]:
        kept = [
            path for path in run.rglob("*") if path.is_file() and "environment" not in path.name
        ]
        return {str(path): path.read_bytes() for path in kept}

    before = files()
    start.resume_run(run)
    assert files() == before
    assert "all 1 steps were done before" in capsys.readouterr().out
    (record,) = read_runs([run])
    assert record.is_finished


def test_a_checkpoint_of_an_earlier_version_lacks_settings_and_goes_on(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = stage_preset("demo", "pixel")
    loop = replace(config.stage.loop, steps=2, batch_size=4)
    data = replace(config.data, sources=(str(videos),), cache="none", workers=0, holdout=0.0)
    start.start_stage(
        run, replace(config, data=data, stage=replace(config.stage, loop=loop)), teacher=None
    )
    for path in (run / "config.json", run / "checkpoints" / "step-2" / "meta.json"):
        record = json.loads(path.read_text())
        stage = record["config"]["stage"]
        for settings, name in (
            (stage, "still_frames"),
            (stage["optim"], "schedule_stretch"),
            (stage["loop"], "stop_at"),
        ):
            del settings[name]
        path.write_text(json.dumps(record))
    capsys.readouterr()
    start.resume_run(run)
    assert "pixel: all 2 steps were done before" in capsys.readouterr().out
    meta = run / "checkpoints" / "step-2" / "meta.json"
    record = json.loads(meta.read_text())
    record["config"]["seed"] = 9
    meta.write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match=r"seed: 9 there, 0 in config\.json"):
        start.resume_run(run)
