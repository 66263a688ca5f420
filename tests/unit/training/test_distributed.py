"""Processes that share the steps of a run: what they compute, tell each other, and refuse."""

import json
import socket
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from support import runs
from support.trainers import make_vjepa, restore
from vsalt.cli.main import main
from vsalt.config import StageConfig
from vsalt.data.activity import hard_limit_s
from vsalt.data.config import DataConfig
from vsalt.errors import ConfigError, ToldElsewhereError
from vsalt.masking.config import MultiblockConfig
from vsalt.training.checkpoint import model_tensors, read_checkpoint
from vsalt.training.config import DeviceConfig, LoopConfig, OptimConfig
from vsalt.training.distributed import ALONE, LostProcessError, Ranks, join, place_in
from vsalt.training.division import Division, divide, divide_stage
from vsalt.training.optim import build_optimiser
from vsalt.training.place import choose_sharding
from vsalt.training.stop import InterruptedRunError

DRIVER = Path(runs.__file__).with_name("rank_driver.py")
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


METHODS = ("pixel", "salt", "vjepa")
WHOLE = [f"{method}-{size}" for method in METHODS for size in (1, 2, 4)]
WHOLE += ["stop-2", "bad-2", "infinite-2", "worse-async-2"]
SHARDED = ["vjepa-shard-2", "stop-shard-async-2", "reload-shard-2", "unwritable-shard-2"]
SHARDED_SLOWLY = ["pixel-shard-2", "salt-shard-2", "pixel-shard-4", "salt-shard-4", "vjepa-shard-4"]
SHARDED_SLOWLY += ["vjepa-shard-async-2", "infinite-shard-async-2", "reload-shard-4"]
SHARDED_SLOWLY += ["worse-shard-async-2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the scenarios of `support/rank_driver.py` in which nothing is sharded."""
    folder = tmp_path_factory.mktemp("ranks")
    drive(folder, WHOLE)
    return folder


@pytest.fixture(scope="module")
def sharded(trained: Path) -> Path:
    """The same, with some that are sharded."""
    drive(trained, SHARDED)
    return trained


@pytest.fixture(scope="module")
def sharded_slowly(sharded: Path) -> Path:
    """The same, with all that are sharded."""
    drive(sharded, SHARDED_SLOWLY)
    return sharded


def drive(folder: Path, names: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), *names],
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Nothing that torch says about sharding is left to the user.
    assert done.stderr == ""


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
    losses = [record["loss"] for record in runs.records(one) if record["kind"] == "train"]
    assert len(losses) == 6
    assert sum(record["kind"] == "val" for record in runs.records(one)) == 2
    assert max(losses) - min(losses) > 1e-3  # something was learnt that could differ


def test_sharded_networks_give_the_same_losses(sharded: Path) -> None:
    assert_sharded(sharded, "vjepa", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARDED_SLOWLY[:5])
def test_all_sharded_networks_give_the_same_losses(sharded_slowly: Path, name: str) -> None:
    method, _, size = name.split("-")
    assert_sharded(sharded_slowly, method, int(size))


def assert_sharded(folder: Path, method: str, size: int) -> None:
    runs.assert_same_numbers(folder / f"{method}-1", folder / f"{method}-shard-{size}")
    found = ends(folder, f"{method}-shard", size)
    assert all(end["error"] is None and end["step"] == 6 for end in found)
    assert len({end["weights"] for end in found}) == 1
    # All widths are multiples of four.
    assert [end["held"] for end in found] == [1 / size] * size
    # A moving average goes with the student, a frozen teacher by a setting of its own.
    shared = {"pixel": None, "vjepa": 1 / size, "salt": 1 / 4 if size == 4 else 1.0}
    assert [end["held_target"] for end in found] == [shared[method]] * size


@pytest.mark.parametrize("method", METHODS)
def test_all_processes_end_with_the_same_bits(trained: Path, method: str) -> None:
    found = ends(trained, method, 4)
    assert all(end["error"] is None and end["step"] == 6 for end in found)
    # The moving average is part of what is hashed.
    assert len({end["weights"] for end in found}) == 1
    assert [end["held"] for end in found] == [1.0] * 4
    if method == "salt":
        # The teacher may be sharded though the student is not.
        assert [end["held_target"] for end in found] == [1 / 4] * 4


def test_a_checkpoint_of_shards_is_read_by_one_process(sharded: Path) -> None:
    states = []
    for name in ("vjepa-1", "vjepa-shard-2"):
        objective = make_vjepa(seed=9)
        optimiser = build_optimiser(objective.param_groups(), OptimConfig())
        checkpoint = read_checkpoint(sharded / name / "checkpoints" / "latest")
        restore(checkpoint, objective, optimiser)
        moments = [value for entry in optimiser.state.values() for value in entry.values()]
        states.append([*model_tensors(objective).values(), *moments])
    for one, two in zip(*states, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_a_checkpoint_goes_through_shards_unchanged(
    size: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue("sharded" if size == 2 else "sharded_slowly")
    again = folder / f"reload-shard-{size}" / "checkpoints" / "step-6"
    state = {path.name: path.read_bytes() for path in (again / "state").iterdir()}
    assert len(state) == size + 1  # each wrote its part
    hashes = json.loads((again / "meta.json").read_text())["state_sha256"]
    assert hashes == {name: sha256(data).hexdigest() for name, data in state.items()}
    assert runs.checkpoint_fingerprint(again) == runs.checkpoint_fingerprint(
        folder / "vjepa-1" / "checkpoints" / "step-6"
    )


@pytest.mark.slow
def test_checkpoints_written_beside_the_training_are_the_same(sharded_slowly: Path) -> None:
    for step in ("step-3", "step-6"):
        found, expected = (
            runs.checkpoint_fingerprint(sharded_slowly / name / "checkpoints" / step)
            for name in ("vjepa-shard-async-2", "vjepa-shard-2")
        )
        assert found == expected


@pytest.mark.parametrize("name", ["stop", "stop-shard-async"])
def test_a_signal_to_one_process_stops_all_after_the_same_step(
    request: pytest.FixtureRequest, name: str
) -> None:
    trained = request.getfixturevalue("trained" if name == "stop" else "sharded")
    leader, other = ends(trained, name, 2)
    assert leader["error"] == ["InterruptedRunError", "stopped after step 4 of 6; saved"]
    assert other["error"][0] == "ToldElsewhereError"
    assert (leader["step"], other["step"]) == (4, 4)
    assert (trained / f"{name}-2" / "checkpoints" / "latest").read_text() == "step-4\n"


def test_what_one_process_cannot_write_is_told_by_the_leader(sharded: Path) -> None:
    leader, other = ends(sharded, "unwritable-shard", 2)
    kind, message = leader["error"]
    assert kind == "RunFolderError"
    assert "step-3: [Errno 5] Input/output error" in message
    assert other["error"][0] == "ToldElsewhereError"
    checkpoints = sharded / "unwritable-shard-2" / "checkpoints"
    assert list(checkpoints.iterdir()) == []


def folder_with(name: str, request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue("sharded_slowly" if "-shard" in name else "trained")
    return folder


@pytest.mark.parametrize(
    "name", ["infinite", pytest.param("infinite-shard-async", marks=pytest.mark.slow)]
)
def test_an_infinite_loss_of_one_process_stops_all_before_the_weights_change(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = folder_with(name, request)
    leader, other = ends(folder, name, 2)
    assert (folder / f"{name}-2" / "checkpoints" / "latest").read_text() == "step-2\n"
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


@pytest.mark.parametrize(
    "name", ["worse-async", pytest.param("worse-shard-async", marks=pytest.mark.slow)]
)
def test_a_checkpoint_that_fails_does_not_hide_that_too_many_files_are_bad(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder = folder_with(name, request)
    leader, other = ends(folder, name, 2)
    kind, message = leader["error"]
    assert kind == "DataError"
    bad, checkpoint = message.split("\n")
    # 8 clips of each of 4 steps, and 10 files in vain for each of the last one.
    assert bad.startswith("80 of 112 clips could not be read")
    assert "step-3: [Errno 5] Input/output error" in checkpoint
    assert other["error"][0] == "ToldElsewhereError"
    assert (leader["step"], other["step"]) == (3, 3)
    assert list((folder / f"{name}-2" / "checkpoints").iterdir()) == []


EXIT = """
import atexit, pathlib, sys
from torch import distributed as dist
from vsalt.training.distributed import _end_threads_before_exit

def count():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    print(sum("gloo" in name for name in names))

atexit.register(count)  # runs after those that are registered later
_end_threads_before_exit()
store = dist.FileStore(sys.argv[1], 1)
dist.init_process_group("gloo", store=store, rank=0, world_size=1)
dist.barrier()  # so that a thread is surely there
cycle = {"group": dist.group.WORLD}
cycle["self"] = cycle
del cycle
dist.destroy_process_group()
count()
"""


def test_no_thread_of_a_group_outlives_the_interpreter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXIT, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    assert before > 0
    assert after == 0


def test_one_process_has_nothing_to_shard() -> None:
    config = DeviceConfig(sharding="shard")
    assert choose_sharding(config, ALONE, None) == "replicate"
    assert choose_sharding(config, Ranks(rank=0, size=2), None) == "shard"
    assert choose_sharding(config, Ranks(rank=0, size=2), "replicate") == "replicate"


def test_a_file_that_hangs_is_given_up_before_the_others_are() -> None:
    assert hard_limit_s(DataConfig().limits) < DeviceConfig().timeout_s <= 60


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
