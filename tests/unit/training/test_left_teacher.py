"""A start that died has left its teacher: the next run in that folder does not take it for its own.

Nor is anything else removed that lies where a stage keeps its teacher.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.config import PretrainConfig
from vsalt.data.synthetic import synthesise
from vsalt.errors import RunFolderError
from vsalt.presets import salt_preset, stage_preset
from vsalt.training import run_folder, start
from vsalt.training.locate import load_encoder


class DiedError(Exception):
    """In the place of a SIGKILL."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("videos"), num_clips=8, num_frames=16, size=32)


@pytest.fixture(scope="module")
def teacher(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("teacher") / "run"
    start.start_stage(run, config_of(videos, "pixel", steps=1), teacher=None)
    return run


def config_of(videos: Path, method: str, *, steps: int = 0) -> PretrainConfig:
    config = stage_preset("demo", method)
    loop = replace(config.stage.loop, steps=steps, batch_size=2)
    data = replace(
        config.data, sources=(str(videos),), cache="none", workers=0, holdout=0.0, flip=0.0
    )
    return replace(config, data=data, stage=replace(config.stage, loop=loop))


def leave_teacher(run: Path, videos: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a start die just before config.json."""

    def die(*_: object, **__: object) -> None:
        raise DiedError

    with monkeypatch.context() as dying:
        dying.setattr(run_folder, "write_config", die)
        with pytest.raises(DiedError):
            start.start_stage(run, config_of(videos, "salt"), teacher=teacher)
    assert (run / "teacher" / "meta.json").is_file()
    assert not (run / "config.json").exists()


@pytest.mark.parametrize("method", ["pixel", "vjepa"])
def test_a_stage_without_a_teacher_has_none(
    method: str, videos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    leave_teacher(run, videos, teacher, monkeypatch)
    start.start_stage(run, config_of(videos, method), teacher=None)
    assert not (run / "teacher").exists()
    meta = json.loads((run / "checkpoints" / "step-0" / "meta.json").read_text())
    assert meta["teacher_flops_exact"] == meta["teacher_flops_six_nd"] == 0
    assert load_encoder(run).seen == (run / "seen.jsonl",)
    assert json.loads((run / "config.json").read_text())["teacher_outside"] is None


def test_all_stages_begin_without_it(
    videos: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    leave_teacher(run, videos, teacher, monkeypatch)
    config = salt_preset("demo")
    stages = {
        name: replace(getattr(config, name), loop=config_of(videos, "pixel").stage.loop)
        for name in config.stages
    }
    config = replace(config, data=config_of(videos, "pixel").data, **stages)
    start.start_salt(run, replace(config, seed=5))
    assert not (run / "teacher" / "meta.json").exists()
    found = load_encoder(run / "teacher")
    assert found.checkpoint.path == run / "teacher" / "checkpoints" / "step-0"
    assert found.sha256 == load_encoder(run / "student" / "teacher").sha256


@pytest.mark.parametrize("method", ["pixel", "salt"])
@pytest.mark.parametrize("name", ["checkpoints", "lesson.mp4"])
def test_other_files_in_its_place_are_refused_and_kept(
    method: str, name: str, videos: Path, teacher: Path, tmp_path: Path
) -> None:
    own = tmp_path / "run" / "teacher"
    (own / name).mkdir(parents=True)
    (own / "seen.jsonl").write_text("own")
    given = teacher if method == "salt" else None
    with pytest.raises(RunFolderError, match=r"run/teacher is where .* choose another --out"):
        start.start_stage(tmp_path / "run", config_of(videos, method), teacher=given)
    assert sorted(path.name for path in own.iterdir()) == sorted([name, "seen.jsonl"])
    assert not (tmp_path / "run" / "config.json").exists()
