"""Processes that share the steps of a run: what they compute, tell each other, and refuse."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support import runs
from vsalt.cli.main import main
from vsalt.config import StageConfig
from vsalt.errors import ConfigError, ToldElsewhereError
from vsalt.masking.config import MultiblockConfig
from vsalt.training.config import DeviceConfig, LoopConfig
from vsalt.training.distributed import ALONE, LostProcessError, Ranks, join, place_in
from vsalt.training.division import Division, divide, divide_stage
from vsalt.training.stop import InterruptedRunError

DRIVER = Path(runs.__file__).with_name("rank_driver.py")
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all scenarios of `support/rank_driver.py`."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def ends(folder: Path, name: str, size: int) -> list[dict[str, Any]]:
    """How each process of a scenario has ended."""
    run = folder / f"{name}-{size}"
    return [json.loads((run / f"end-{rank}.json").read_text()) for rank in range(size)]


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("method", ["pixel", "salt", "vjepa"])
def test_any_number_of_processes_gives_the_same_losses(
    trained: Path, method: str, size: int
) -> None:
    # Every group of clips has other numbers of tokens, so a mean over processes would be wrong.
    one, several = trained / f"{method}-1", trained / f"{method}-{size}"
    runs.assert_same_numbers(one, several)
    losses = [record["loss"] for record in runs.records(one)]
    assert len(losses) == 6
    assert max(losses) - min(losses) > 1e-3  # something was learnt that could differ


@pytest.mark.parametrize("method", ["pixel", "salt", "vjepa"])
def test_all_processes_end_with_the_same_bits(trained: Path, method: str) -> None:
    found = ends(trained, method, 4)
    assert all(end["error"] is None and end["step"] == 6 for end in found)
    # The moving average is part of what is hashed.
    assert len({end["weights"] for end in found}) == 1


def test_a_signal_to_one_process_stops_all_after_the_same_step(trained: Path) -> None:
    leader, other = ends(trained, "stop", 2)
    assert leader["error"] == ["InterruptedRunError", "stopped after step 4 of 6; saved"]
    assert other["error"][0] == "ToldElsewhereError"
    assert (leader["step"], other["step"]) == (4, 4)
    assert (trained / "stop-2" / "checkpoints" / "latest").read_text() == "step-4\n"


def test_an_infinite_loss_of_one_process_stops_all_before_the_weights_change(
    trained: Path,
) -> None:
    leader, other = ends(trained, "infinite", 2)
    kind, message = leader["error"]
    assert kind == "NonFiniteError"
    assert "step 3: loss inf" in message
    # Clips are named in the order of the batch, those of the other process, too.
    bad, _, others = message.partition("the others")
    assert [f"clip-{row}.mp4" in bad for row in range(8)] == [False] * 6 + [True] * 2
    assert all(f"clip-{row}.mp4" in others for row in range(6))
    assert other["error"][0] == "ToldElsewhereError"
    assert leader["weights"] == other["weights"]


def test_bad_files_of_all_processes_are_counted_and_written_once(trained: Path) -> None:
    assert [end["reads"] for end in ends(trained, "bad", 2)] == [[60, 12]] * 2
    lines = (trained / "bad-2" / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [
        f"{step}-{position}.mp4" for step in range(6) for position in (1, 6)
    ]


def test_positions_are_divided_evenly() -> None:
    loop = LoopConfig(batch_size=24, micro_batch_size=4).resolved()
    assert divide(loop, 1) == Division(24, 4)
    assert divide(loop, 3) == Division(8, 4)
    # A share below the micro-batch is taken at once.
    assert divide(loop, 12) == Division(2, 2)
    assert divide(LoopConfig(batch_size=24).resolved(), 2) == Division(12, 12)


@pytest.mark.parametrize(
    ("processes", "micro", "message"),
    [
        (5, 4, "batch size 24 cannot be divided among 5 processes"),
        (4, 4, "each of 4 processes takes 6 of 24 clips, which are no multiple of .*size .4."),
    ],
)
def test_what_does_not_divide_is_refused(processes: int, micro: int, message: str) -> None:
    loop = LoopConfig(batch_size=24, micro_batch_size=micro).resolved()
    with pytest.raises(ConfigError, match=message):
        divide(loop, processes)


def test_groups_of_masks_are_not_cut_askew() -> None:
    loop = LoopConfig(batch_size=12, micro_batch_size=4).resolved()
    masks = MultiblockConfig(policy="batch_min", group_size=4)
    stage = replace(StageConfig(), loop=loop, masks=masks)
    assert divide_stage(stage, 3) == Division(4, 4)
    assert divide_stage(stage, 6) == Division(2, 2)
    with pytest.raises(ConfigError, match="cut a group of 4 clips"):
        divide_stage(stage, 4)


def test_the_place_among_processes_is_read_from_the_environment() -> None:
    assert place_in({}) is None
    assert place_in({"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert place_in(TORCHRUN) == (1, 4, 1)


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_several_processes_without_a_place_are_no_run_of_one(name: str) -> None:
    given = {key: value for key, value in TORCHRUN.items() if key != name}
    with pytest.raises(ConfigError, match=f"WORLD_SIZE is 4, but the environment lacks {name}"):
        place_in(given)


def test_a_group_that_does_not_meet_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, value in {**TORCHRUN, "RANK": "0", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    config = DeviceConfig(device="cpu", timeout_s=1)
    met = pytest.raises(LostProcessError, match="process 0 of 4 did not meet the others")
    with met, join(config):
        raise AssertionError("a run of fewer processes must not begin")


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join(DeviceConfig()) as ranks:
        assert ranks is ALONE
    assert ranks.leads
    assert ranks.lead(lambda: 3) == ranks.first(lambda: 3) == 3
    assert ranks.gather("a") == ["a"]


def test_only_the_leader_tells_what_all_raise() -> None:
    error = InterruptedRunError(15, "stopped")
    assert Ranks(rank=0, size=2).agreed(error) is error
    silent = Ranks(rank=1, size=2).agreed(error)
    assert isinstance(silent, ToldElsewhereError)
    assert silent.exit_code == 143


def test_other_errors_are_not_taken_for_lost_processes() -> None:
    with pytest.raises(LostProcessError, match="has ended"), Ranks(rank=1, size=2).explained():
        raise RuntimeError("[/gloo/transport/tcp/pair.cc:1] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shape"), Ranks(rank=1, size=2).explained():
        raise RuntimeError("a shape is wrong")
    with pytest.raises(RuntimeError, match="gloo"), ALONE.explained():
        raise RuntimeError("gloo")


def test_other_verbs_run_in_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["probe", "fit"]) == 2
    assert "vsalt probe fit runs in one process" in capsys.readouterr().err
