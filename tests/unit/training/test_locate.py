"""What a path given as --encoder means."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.encoders import TINY, write_checkpoint
from vsalt.errors import ConfigError, RunFolderError, WeightsError
from vsalt.models.vit import Encoder
from vsalt.models.weights import weights_hash
from vsalt.training.encoder_names import name_encoders
from vsalt.training.locate import find_checkpoint, load_encoder, stage_of


def write_stage(run: Path, *, best: int | None = 2, latest: int = 4) -> Path:
    """The folder of a stage with two checkpoints."""
    checkpoints = run / "checkpoints"
    for step in {best, latest} - {None}:
        folder = write_checkpoint(checkpoints / f"step-{step}", seed=step)
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, "step": step}))
    (checkpoints / "latest").write_text(f"step-{latest}\n")
    if best is not None:
        (checkpoints / "best").write_text(f"step-{best}\n")
    (run / "seen.jsonl").write_text("{}\n")
    return run


def turn_into_vjepa(run: Path, kept: str = "target") -> None:
    """Make a stage's checkpoints those of method vjepa; its average has half the weights."""
    for folder in (run / "checkpoints").glob("step-*"):
        meta = json.loads((folder / "meta.json").read_text())
        meta["config"]["stage"]["method"] = {"name": "vjepa", "kept": kept}
        tensors = load_file(folder / "model.safetensors")
        tensors |= {f"carried.target.{name[8:]}": value / 2 for name, value in tensors.items()}
        save_file(tensors, folder / "model.safetensors")
        meta["weights_sha256"] = weights_hash(tensors)
        (folder / "meta.json").write_text(json.dumps(meta))


def write_salt(run: Path) -> Path:
    write_stage(run / "teacher", best=6, latest=8)
    return write_stage(run / "student").parent


def test_a_salt_run_means_its_student(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    assert find_checkpoint(run).path == run / "student" / "checkpoints" / "step-2"
    teacher = find_checkpoint(run / "teacher")
    assert teacher.path == run / "teacher" / "checkpoints" / "step-6"
    assert teacher.step == 6


def test_a_stage_means_its_best_checkpoint_or_else_the_latest(tmp_path: Path) -> None:
    assert find_checkpoint(write_stage(tmp_path / "with")).step == 2
    assert find_checkpoint(write_stage(tmp_path / "without", best=None)).step == 4


@pytest.mark.parametrize(("kept", "factor"), [("target", 0.5), ("student", 1.0)])
def test_a_stage_whose_loss_selects_nothing_means_its_latest_and_what_it_keeps(
    kept: str, factor: float, tmp_path: Path
) -> None:
    run = write_stage(tmp_path / "run")
    turn_into_vjepa(run, kept)
    assert find_checkpoint(run).step == 4
    assert find_checkpoint(run / "checkpoints" / "best").step == 2
    loaded = load_encoder(run)
    torch.manual_seed(4)
    for name, value in Encoder(TINY.resolved()).state_dict().items():
        assert torch.equal(loaded.encoder.get_parameter(name), value * factor)
    assert stage_of(loaded.checkpoint) == "vjepa"
    assert str(name_encoders([(str(run), "vjepa")])[0]) == f"vjepa ({run})"


def test_a_checkpoint_and_a_pointer_mean_themselves(tmp_path: Path) -> None:
    checkpoints = write_stage(tmp_path / "run") / "checkpoints"
    assert find_checkpoint(checkpoints / "step-4").step == 4
    assert find_checkpoint(checkpoints / "latest").step == 4
    assert find_checkpoint(checkpoints / "best").step == 2
    moved = tmp_path / "anywhere"
    shutil.copytree(checkpoints / "step-4", moved)
    assert find_checkpoint(moved).path == moved


def test_a_student_without_checkpoint_names_its_teacher(tmp_path: Path) -> None:
    run = write_stage(tmp_path / "run" / "teacher").parent
    (run / "student").mkdir()
    with pytest.raises(WeightsError, match="has no checkpoint yet") as caught:
        find_checkpoint(run)
    assert f"`vsalt resume {run}`" in str(caught.value)
    assert f"--encoder {run / 'teacher'}" in str(caught.value)
    write_stage(run / "assistant")
    with pytest.raises(WeightsError, match="has no checkpoint yet") as caught:
        find_checkpoint(run)
    assert f"--encoder {run / 'assistant'}" in str(caught.value)
    assert find_checkpoint(run / "assistant").path == run / "assistant" / "checkpoints" / "step-2"


def test_nonsense_is_answered_with_what_is_near(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    for wrong in (tmp_path / "rnu", tmp_path / "run" / "studnet", run / "student" / "checkpoints"):
        with pytest.raises(WeightsError, match=f"there is no encoder at {wrong}") as caught:
            find_checkpoint(wrong)
        listed = [line.strip() for line in str(caught.value).splitlines()[1:]]
        assert str(run / "student" / "checkpoints" / "step-2") in listed, wrong
        assert all((Path(path) / "meta.json").is_file() for path in listed)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(WeightsError, match=r"`vsalt salt` or `vsalt pretrain` run"):
        find_checkpoint(empty)
    video = tmp_path / "empty" / "clip.mp4"
    video.write_bytes(b"")
    with pytest.raises(WeightsError, match=f"there is no encoder at {video}"):
        find_checkpoint(video)


def test_a_loaded_encoder_is_the_one_that_was_written(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    loaded = load_encoder(run)
    torch.manual_seed(2)
    expected = Encoder(TINY.resolved())
    for name, param in expected.named_parameters():
        assert torch.equal(loaded.encoder.get_parameter(name), param)
    assert not loaded.encoder.training
    assert loaded.sha256 == weights_hash(expected.state_dict())
    assert loaded.config.stage.encoder == TINY.resolved()
    assert loaded.config.clip.num_frames == 4
    assert loaded.checkpoint.step == 2


def test_the_stage_of_an_encoder_is_read_from_its_run(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    write_stage(run / "assistant")
    # Weights of method pixel throughout: only the folders can say what they are.
    copy = shutil.copytree(run / "teacher" / "checkpoints" / "step-6", run / "student" / "teacher")
    (run / "config.json").write_text('{"kind": "salt"}')
    (run / "student" / "config.json").write_text('{"kind": "stage"}')
    wanted = {run: "student", run / "teacher": "teacher", run / "assistant": "assistant"}
    wanted |= {copy: "teacher", run / "student" / "checkpoints" / "latest": "student"}
    assert {path: stage_of(find_checkpoint(path)) for path in wanted} == wanted


@pytest.mark.parametrize(("method", "stage"), [("pixel", "teacher"), ("salt", "student")])
def test_outside_of_a_salt_run_the_method_is_what_counts(
    method: str, stage: str, tmp_path: Path
) -> None:
    # A name that is that of another stage says nothing where there is no salt run around it.
    run = write_stage(tmp_path / "assistant")
    (run / "config.json").write_text('{"kind": "stage"}')
    meta = run / "checkpoints" / "step-2" / "meta.json"
    record = json.loads(meta.read_text())
    record["config"]["stage"]["method"] = {"name": method}
    meta.write_text(json.dumps(record))
    assert stage_of(find_checkpoint(run)) == stage
    moved = shutil.copytree(meta.parent, tmp_path / "teacher")
    assert stage_of(find_checkpoint(moved)) == stage


def test_rows_that_were_seen_are_found_with_the_teachers(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    student = run / "student"
    assert load_encoder(run).seen == (student / "seen.jsonl",)
    (student / "teacher").mkdir()
    (student / "teacher" / "seen.jsonl").write_text("{}\n")
    assert load_encoder(run).seen == (
        student / "seen.jsonl",
        student / "teacher" / "seen.jsonl",
    )
    (student / "teacher" / "meta.json").write_text("{}")
    assert len(load_encoder(run).seen) == 2
    (student / "teacher" / "seen.jsonl").unlink()  # as of a teacher that was imported
    assert load_encoder(run).seen == ()
    moved = tmp_path / "moved"
    shutil.copytree(student / "checkpoints" / "step-2", moved)
    assert load_encoder(moved).seen == ()
    (moved / "seen.jsonl").write_text("{}\n")
    assert load_encoder(moved).seen == (moved / "seen.jsonl",)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "one")
    meta = json.loads((folder / "meta.json").read_text())

    def with_encoder(**changes: object) -> None:
        changed = json.loads(json.dumps(meta))
        changed["config"]["stage"]["encoder"].update(changes)
        (folder / "meta.json").write_text(json.dumps(changed))

    with_encoder(depth=2)
    with pytest.raises(WeightsError, match=r"missing     blocks\.1\.attn\.proj\.bias"):
        load_encoder(folder)
    with_encoder(mlp_width=24)
    with pytest.raises(
        WeightsError, match=r"misshapen   blocks.0.mlp.fc1.bias \[48\], needed \[24\]"
    ):
        load_encoder(folder)
    with_encoder(depht=2)
    with pytest.raises(ConfigError, match=r"stage\.encoder\.depht is not a setting"):
        load_encoder(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"meta\.json cannot be read"):
        load_encoder(folder)
