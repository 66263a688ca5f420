"""`torchrun --max-restarts` starts the same command again: it goes on with its own run only."""

import json
import sys
from pathlib import Path

import pytest

from vsalt.cli import pretrain
from vsalt.data.synthetic import synthesise
from vsalt.errors import RunFolderError
from vsalt.training import environment
from vsalt.training.start import restarted

SMALL = ["--preset", "demo", "--batch-size", "2", "--data.workers", "0", "--data.cache", "none"]
VERBS = {
    "salt": (pretrain.salt, ["--steps", "0:1"], "student"),
    "pretrain": (pretrain.pretrain, ["--steps", "1", "--method", "pixel"], "."),
}


class DiedError(Exception):
    """In the place of a SIGKILL."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("videos"), num_clips=8, num_frames=16, size=32)


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_goes_on_that_died_before_its_first_step(
    verb: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    begin, own, last = VERBS[verb]
    words = ["--data", str(videos), "--out", str(run), *SMALL, *own]

    def die(*_: object) -> None:
        raise DiedError

    # config.json is there by then, and nothing of the first step.
    monkeypatch.setattr(sys, "argv", ["vsalt", verb, *words])
    with monkeypatch.context() as dying:
        dying.setattr(environment, "record", die)
        with pytest.raises(DiedError):
            begin(words, f"vsalt {verb}")
    assert (run / "config.json").is_file()
    assert not list(run.rglob("environment.json"))

    assert not restarted(run)
    with pytest.raises(RunFolderError, match="holds a run already"):
        begin(words, f"vsalt {verb}")  # a person gives the command again
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with monkeypatch.context() as other:
        other.setattr(sys, "argv", ["vsalt", verb, *words, "--seed", "1"])
        assert not restarted(run)
    begin(words, f"vsalt {verb}")
    assert (run / last / "checkpoints" / "latest").read_text() == "step-1\n"
    starts = json.loads((run / last / "environment.json").read_text())["starts"]
    assert [entry["command"] for entry in starts] == [sys.argv]


@pytest.mark.parametrize("stage", [".", "teacher"])
def test_runs_of_earlier_versions_tell_their_command_elsewhere(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert not restarted(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "salt"}')
    assert not restarted(tmp_path)
    (tmp_path / stage).mkdir(exist_ok=True)
    starts = [{"command": sys.argv}, {"command": ["vsalt", "resume"]}]
    path = tmp_path / stage / "environment.json"
    path.write_text(json.dumps({"starts": starts}))
    assert restarted(tmp_path)
    path.write_text(json.dumps({"starts": starts[::-1]}))
    assert not restarted(tmp_path)
