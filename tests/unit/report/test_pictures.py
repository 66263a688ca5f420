"""The pictures of a real, tiny run."""

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from vsalt.errors import ConfigError, DataError, WeightsError
from vsalt.models.weights import weights_hash
from vsalt.report import pictures
from vsalt.report.layout import layouts
from vsalt.report.picture import Picture
from vsalt.report.pictures import render, stage_pictures
from vsalt.report.sheet import Sheet


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check(found: list[Picture]) -> None:
    for picture in found:
        with Image.open(io.BytesIO(picture.png)) as image:
            assert image.size == (picture.width, picture.height)
            assert np.asarray(image).std() > 10
        assert len(picture.png) <= pictures.MAX_BYTES
        assert picture.caption.strip() == picture.caption
        assert picture.alt
        assert (picture.height + 2) % len(picture.rows) == 0  # rows of one height, and gaps


def test_a_teacher_and_nothing_is_written(run: Path) -> None:
    before = files_of(run)
    found = stage_pictures(run / "teacher")
    assert files_of(run) == before
    check(found)
    assert [picture.title for picture in found] == [
        "Masks, clip 1",
        "Masks, clip 2",
        "Reconstruction, clip 1",
        "Reconstruction, clip 2",
        "Tokens, clip 1",
        "Tokens, clip 2",
    ]
    assert found[0].rows == ("clip", "mask short", "mask long")
    assert found[4].rows == ("clip", "teacher", "untrained")
    captions = [picture.caption for picture in found]
    assert "4 x 4 x 4 = 64 tokens" in captions[0]
    assert "uses the true mean and deviation of every patch" in captions[2]
    assert "Share of the variance" in captions[4]
    # How to read a picture is said above the first of its kind, and what it shows of each.
    assert "uses the true mean" not in captions[3]
    assert all("File: videos/" in caption for caption in captions)
    # The same once more, to the byte.
    assert [picture.png for picture in stage_pictures(run / "teacher")] == [
        picture.png for picture in found
    ]


def test_a_student_beside_its_teacher(run: Path) -> None:
    found = stage_pictures(run / "student", num_clips=1)
    check(found)
    assert [picture.title for picture in found] == ["Masks", "Tokens"]
    assert found[1].rows == ("clip", "student", "frozen teacher", "untrained")


def test_the_weights_that_are_shown_are_those_of_the_best_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    colour = pictures.token_colours

    def noted(encoder, clips, grid):
        seen[weights_hash(encoder.state_dict())] = encoder
        assert not encoder.training
        assert torch.is_inference_mode_enabled()
        return colour(encoder, clips, grid)

    monkeypatch.setattr(pictures, "token_colours", noted)
    stage_pictures(run / "student", num_clips=1)
    checkpoints = run / "student" / "checkpoints"
    best = load_file(checkpoints / (checkpoints / "best").read_text().strip() / "model.safetensors")
    teacher = load_file(run / "student" / "teacher" / "model.safetensors")
    for tensors in (best, teacher):
        own = {
            name.removeprefix("encoder."): value
            for name, value in tensors.items()
            if name.startswith("encoder.")
        }
        assert weights_hash(own) in seen
    assert len(seen) == 3


def test_what_stands_in_the_way_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clips is 0"):
        stage_pictures(run / "teacher", num_clips=0)
    with pytest.raises(WeightsError, match="does not exist"):
        stage_pictures(tmp_path / "nothing")
    with pytest.raises(DataError, match="no such file or folder"):
        stage_pictures(run / "teacher", data=str(tmp_path / "nothing"))


def test_weights_are_loaded_strictly(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "teacher", tmp_path / "teacher")
    for folder in (tmp_path / "teacher" / "checkpoints").glob("step-*"):
        tensors = load_file(folder / "model.safetensors")
        del tensors["predictor.mask_token"]
        save_file(tensors, folder / "model.safetensors")
        meta = json.loads((folder / "meta.json").read_text())
        meta["weights_sha256"] = weights_hash(tensors)
        (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(WeightsError, match=r"missing +predictor\.mask_token"):
        stage_pictures(tmp_path / "teacher")


def noisy_sheet(side: int) -> Sheet:
    clip = np.random.default_rng(0).integers(0, 256, size=(3, 32, side, side), dtype=np.uint8)
    return Sheet(
        title="t",
        explanation="How.",
        details="What.",
        alt="a",
        rows=("a", "b", "c"),
        draw=lambda layout: [layout.frames(clip)] * 3,
    )


def test_large_frames_of_noise_are_drawn_smaller() -> None:
    sizes = list(layouts((16, 14, 14), (2, 16, 16)))
    picture = render(noisy_sheet(224), sizes)
    assert len(picture.png) <= pictures.MAX_BYTES
    # 3 bytes a pixel do not shrink: the first size to fit is taken, and the caption tells.
    fitting = [
        layout
        for layout in sizes
        if 3 * 3 * len(layout.steps) * (224 // layout.reduce) ** 2 < 0.95 * pictures.MAX_BYTES
    ]
    steps = len(fitting[0].steps)
    assert f"{steps} of 16" in picture.caption
    assert picture.width == 3 + steps * (224 // fitting[0].reduce + 2 + 3)


def test_small_frames_keep_all_steps_and_what_was_explained_is_left_out() -> None:
    sizes = list(layouts((16, 4, 4), (2, 8, 8)))
    flat = replace(
        noisy_sheet(32), draw=lambda of: [np.zeros((len(of.steps), 128, 128, 3), np.uint8)]
    )
    assert render(flat, sizes).caption.startswith("How. Columns: time steps")
    assert render(flat, sizes, explained=True).caption.startswith("Columns: time steps")
    one = list(layouts((1, 4, 4), (2, 8, 8)))
    assert render(flat, one).caption == "How. What."
