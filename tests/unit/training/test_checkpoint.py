"""Checkpoint folders: pointers, pruning, cleaning up, and damaged files."""

import errno
import json
import logging
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.trainers import make_pixel, restore
from vsalt.errors import RunFolderError, WeightsError
from vsalt.models.weights import weights_hash
from vsalt.objectives.pixel import PixelObjective
from vsalt.training import checkpoint as checkpoint_module
from vsalt.training.checkpoint import CheckpointFolder, model_tensors, read_checkpoint
from vsalt.training.config import OptimConfig
from vsalt.training.optim import build_optimiser
from vsalt.training.saver import Saver as CheckpointSaver


class Saver:
    """Saves one objective's state under any step."""

    def __init__(self, run: Path, keep_last: int = 2) -> None:
        self.objective = make_pixel()
        self.optimiser = build_optimiser(self.objective.param_groups(), OptimConfig())
        self.folder = CheckpointFolder(run, keep_last)
        self.folder.path.mkdir()
        for param in self.objective.trainable.parameters():
            param.grad = torch.ones_like(param)
        self.optimiser.step()

    def save(self, step: int, best_step: int | None = None) -> None:
        meta = {"step": step, "best_step": best_step}
        CheckpointSaver(self.folder).save(self.objective, self.optimiser, step, meta)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.path.iterdir() if path.is_dir()}

    def pointer(self, name: str) -> str | None:
        path = self.folder.path / name
        return path.read_text().strip() if path.exists() else None


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    for step, best in ((2, None), (4, 4), (6, 4), (8, 4), (10, 4)):
        saver.save(step, best)
    # By number, not by name: step-10 is newer than step-8.
    assert saver.names() == {"step-4", "step-8", "step-10"}
    assert (saver.pointer("latest"), saver.pointer("best")) == ("step-10", "step-4")
    saver.save(12, 12)
    assert saver.names() == {"step-10", "step-12"}
    assert (saver.pointer("latest"), saver.pointer("best")) == ("step-12", "step-12")


def test_a_checkpoint_holds_what_it_says(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    folder = tmp_path / "checkpoints" / "step-2"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "state", "meta.json"}
    tensors = load_file(folder / "model.safetensors")
    params = saver.objective.trainable.state_dict()
    assert tensors.keys() == params.keys()
    assert all(torch.equal(tensors[name], params[name]) for name in params)
    meta = json.loads((folder / "meta.json").read_text())
    state = {
        path.name: sha256(path.read_bytes()).hexdigest() for path in (folder / "state").iterdir()
    }
    assert state.keys() == {".metadata", "__0_0.distcp"}
    assert meta == {
        "step": 2,
        "best_step": None,
        "weights_sha256": weights_hash(params),
        "state_sha256": state,
    }
    assert read_checkpoint(tmp_path / "checkpoints" / "latest") == read_checkpoint(folder)


def test_cleaning_up_removes_what_an_interrupted_save_left(tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep_last=5)
    for step in (2, 4, 6):
        saver.save(step, 2)
    folder = saver.folder.path
    # As if the process had died between the rename of step-6 and the move of `latest`,
    # after `best` had moved, and another time while it wrote.
    (folder / "latest").write_text("step-4\n")
    (folder / "best").write_text("step-6\n")
    shutil.copytree(folder / "step-4", folder / ".tmp-step-8")
    latest = saver.folder.clean(print)
    assert latest is not None
    assert latest.step == 4
    assert saver.names() == {"step-2", "step-4"}
    assert saver.pointer("best") == "step-2"


def test_a_best_checkpoint_that_is_lost_is_not_pointed_at(tmp_path: Path) -> None:
    saver = Saver(tmp_path, keep_last=2)
    for step, best in ((2, 2), (4, 2), (6, 6)):
        saver.save(step, best)
    assert saver.names() == {"step-4", "step-6"}
    # What a damaged step-6 asks for. That step-2 was the best at step 4 counts no more: it has
    # made room for step-6.
    shutil.rmtree(saver.folder.path / "step-6")
    (saver.folder.path / "latest").write_text("step-4\n")
    said: list[str] = []
    latest = saver.folder.clean(said.append)
    assert latest is not None
    assert (latest.step, latest.meta["best_step"], latest.meta["best_val_loss"]) == (4, None, None)
    assert (saver.pointer("latest"), saver.pointer("best")) == ("step-4", None)
    assert len(said) == 1
    assert "step-2, is not there any more" in said[0]

    # The next one of any val_loss is the best, and nothing is to be said of it.
    saver.save(8, 8)
    assert saver.folder.clean(said.append) == saver.folder.latest()
    assert saver.pointer("best") == "step-8"
    assert len(said) == 1


def test_no_best_checkpoint_is_pointed_at_before_there_is_one(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    for step, best in ((2, None), (4, 4)):
        saver.save(step, best)
    shutil.rmtree(saver.folder.path / "step-4")
    (saver.folder.path / "latest").write_text("step-2\n")
    assert saver.folder.clean(print) == saver.folder.latest()
    assert saver.pointer("best") is None


def test_cleaning_up_before_the_first_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep_last=1)
    assert folder.clean(print) is None
    (folder.path / ".tmp-step-2").mkdir()
    (folder.path / "step-2").mkdir()
    assert folder.clean(print) is None
    assert list(folder.path.iterdir()) == []


def test_a_save_that_fails_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = Saver(tmp_path)
    saver.save(2)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_weights", full)
    with pytest.raises(RunFolderError, match=r"cannot write checkpoint .*step-4: the disk is full"):
        saver.save(4)
    assert {path.name for path in saver.folder.path.iterdir()} == {"step-2", "latest"}
    assert saver.pointer("latest") == "step-2"


def test_a_save_replaces_what_a_failed_one_left(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    (saver.folder.path / ".tmp-step-2").mkdir()
    (saver.folder.path / ".tmp-step-2" / "rubbish").write_text("")
    saver.save(2)
    assert {path.name for path in (saver.folder.path / "step-2").iterdir()} == {
        "model.safetensors",
        "state",
        "meta.json",
    }


def test_a_folder_that_cannot_be_made_is_told_plainly(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    # A file, so neither is it removed as a folder that a failed save has left, nor made anew.
    (saver.folder.path / ".tmp-step-4").write_text("")
    with pytest.raises(
        RunFolderError, match=r"cannot write checkpoint .*/\.tmp-step-4: .*File exists"
    ):
        saver.save(4)
    assert saver.pointer("latest") == "step-2"


def restored(saver: Saver, objective: PixelObjective | None = None) -> None:
    latest = saver.folder.latest()
    assert latest is not None
    restore(latest, objective or saver.objective, saver.optimiser)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    path = saver.folder.path / "step-2" / "model.safetensors"
    whole = path.read_bytes()

    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match=r"model.safetensors cannot be read"):
        restored(saver)

    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit of one weight
    with pytest.raises(RunFolderError, match="not those that were written"):
        restored(saver)

    path.unlink()
    with pytest.raises(WeightsError, match="there is no weights file"):
        restored(saver)


def forget_hashes(checkpoint: Path) -> None:
    """Make it one of an earlier version."""
    meta = json.loads((checkpoint / "meta.json").read_text())
    del meta["state_sha256"]
    (checkpoint / "meta.json").write_text(json.dumps(meta))


ADVICE = (
    "; use another checkpoint (to resume: remove that folder, and let latest name an earlier one)"
)


def test_a_flipped_bit_of_any_file_of_the_optimiser_state_is_refused(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    state = saver.folder.path / "step-2" / "state"
    # What lies there besides is not ours.
    (state / "notes.txt").write_text("")
    for path in (state / ".metadata", *state.glob("*.distcp")):
        whole = path.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            damaged = bytearray(whole)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(RunFolderError) as caught:
                restored(saver)
            what = f"{path.name} in the optimiser state {state} changed after it was written"
            assert str(caught.value) == what + ADVICE
        path.write_bytes(whole)
        restored(saver)


def test_a_missing_file_of_the_optimiser_state_is_refused(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    state = saver.folder.path / "step-2" / "state"
    (state / ".metadata").unlink()
    with pytest.raises(RunFolderError) as caught:
        restored(saver)
    message = str(caught.value)
    assert message.startswith(f"the optimiser state {state} cannot be read: FileNotFoundError: ")
    assert message.endswith(ADVICE)
    assert "\n" not in message


def test_an_optimiser_state_without_hashes_is_read(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    forget_hashes(saver.folder.path / "step-2")
    before = {id(key): values["exp_avg"] for key, values in saver.optimiser.state.items()}
    expected = {key: value.clone() for key, value in before.items()}
    for value in before.values():
        value.zero_()
    restored(saver)
    found = {id(key): values["exp_avg"] for key, values in saver.optimiser.state.items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert any(value.any() for value in expected.values())


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        ("cut", "EOFError"),
        ("gone", "FileNotFoundError: .*distcp.*"),
        ("no metadata", "AssertionError: .*No such file or directory: .*metadata.*"),
    ],
)
def test_a_damaged_optimiser_state_without_hashes_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, cause: str
) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    forget_hashes(saver.folder.path / "step-2")
    state = saver.folder.path / "step-2" / "state"
    data = next(state.glob("*.distcp"))
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:50])
    elif damage == "gone":
        data.unlink()
    else:
        (state / ".metadata").unlink()
    with pytest.raises(RunFolderError) as caught:
        restored(saver)
    message = str(caught.value)
    assert "Traceback" not in message
    start = rf"the optimiser state .*/state cannot be read: {cause}"
    assert re.fullmatch(start + re.escape(ADVICE), message)
    assert [record for record in caplog.records if record.name == "root"] == []


def test_other_logs_are_heard_again_after_a_state_was_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    restored(saver)
    assert logging.getLogger().filters == []
    logging.getLogger().warning("heard")
    assert [each.message for each in caplog.records if each.name == "root"] == ["heard"]


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.save(2)
    path = saver.folder.path / "step-2"
    tensors = load_file(path / "model.safetensors")
    tensors["encoder.extra"] = tensors.pop("encoder.norm.weight")
    save_file(tensors, path / "model.safetensors")
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, "weights_sha256": weights_hash(tensors)}))
    with pytest.raises(WeightsError) as caught:
        restored(saver)
    assert "missing     encoder.norm.weight [24]" in str(caught.value)
    assert "unexpected  encoder.extra [24]" in str(caught.value)


class WithCentre(PixelObjective):
    """A method that carries a tensor, as clustering and EMA methods do."""

    def __init__(self, plain: PixelObjective) -> None:
        self.__dict__.update(plain.__dict__)
        self.centre = torch.zeros(3)

    def carried_state(self) -> dict[str, torch.Tensor]:
        return {"centre": self.centre}

    def load_carried_state(self, state) -> None:
        self.centre = state["centre"]


def test_carried_state_is_saved_beside_the_weights(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.objective = WithCentre(saver.objective)
    saver.objective.centre = torch.tensor([1.0, 2.0, 3.0])
    assert "carried.centre" in model_tensors(saver.objective)
    saver.save(2)
    fresh = WithCentre(make_pixel(seed=5))
    saver.optimiser = build_optimiser(fresh.param_groups(), OptimConfig())
    restored(saver, fresh)
    assert torch.equal(fresh.centre, torch.tensor([1.0, 2.0, 3.0]))
    for name, param in fresh.trainable.named_parameters():
        assert torch.equal(param, saver.objective.trainable.get_parameter(name))


def test_no_checkpoint_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"meta.json does not exist"):
        read_checkpoint(tmp_path / "step-3")
    pointer = tmp_path / "best"
    for content in (b"step-3\n", b"", b"\xff", b".\n"):
        pointer.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"best names the checkpoint .* is not there"):
            read_checkpoint(pointer)
