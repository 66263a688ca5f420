"""What is shown is what val_loss is computed on; other clips only when asked, and it is said."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support.pictures import write_png
from vsalt.config import PretrainConfig, from_dict
from vsalt.data.catalogue import Catalogue
from vsalt.data.dataset import MAX_ATTEMPTS
from vsalt.data.decode import read_frames
from vsalt.data.manifest import read_source
from vsalt.data.synthetic import synthesise
from vsalt.errors import DataError
from vsalt.masking.config import MultiblockConfig
from vsalt.report.shown_clips import ShownClips, read_clips
from vsalt.training.build import resolve, with_image_masks
from vsalt.training.checkpoint import Checkpoint
from vsalt.training.data import StageData
from vsalt.training.locate import find_checkpoint


@pytest.fixture(scope="module")
def checkpoint(run: Path) -> Checkpoint:
    return find_checkpoint(run / "teacher")


def config_of(checkpoint: Checkpoint) -> PretrainConfig:
    return from_dict(PretrainConfig, checkpoint.meta["config"])


def assert_equal(shown: ShownClips, config: PretrainConfig, catalogue: Catalogue) -> None:
    """Compare with the batches of validation, at positions spread evenly."""
    loader = StageData(config, catalogue, pin_memory=False).holdout()["video"]
    all_batches = list(loader)
    loader.close()
    clips = torch.cat([batch.clips for batch in all_batches])
    rows = [row for batch in all_batches for row in batch.rows]
    count = len(shown.batches)
    for index, batch in enumerate(shown.batches):
        position = index * len(clips) // count
        assert torch.equal(batch.clips[0], clips[position])
        assert batch.rows == (rows[position],)
        assert shown.names[index] == catalogue.rows[rows[position]].relative_path
        for kind, mask in enumerate(batch.masks):
            found = [clip for of in all_batches for clip in zip(of.masks[kind].context,
                     of.masks[kind].targets, strict=True)]  # fmt: skip
            assert torch.equal(mask.context[0], found[position][0])
            assert torch.equal(mask.targets[0], found[position][1])


def test_held_out_clips_have_the_views_and_masks_of_validation(checkpoint: Checkpoint) -> None:
    config = config_of(checkpoint)
    catalogue = Catalogue.load(config.data, config.seed)
    assert len(catalogue.holdout) > 3
    shown = read_clips(config, checkpoint, num_clips=3, data=None)
    assert len(shown.batches) == 3
    assert_equal(shown, config, catalogue)
    assert "held out" in shown.origin
    everything = read_clips(config, checkpoint, num_clips=1000, data=None)
    assert len(everything.batches) == len(catalogue.holdout)


def test_masks_of_groups(checkpoint: Checkpoint) -> None:
    config = config_of(checkpoint)
    masks = MultiblockConfig(policy="batch_min", group_size=3)
    loop = replace(config.stage.loop, batch_size=3, micro_batch_size=3)
    config = resolve(replace(config, stage=replace(config.stage, masks=masks, loop=loop)))
    shown = read_clips(config, checkpoint, num_clips=5, data=None)
    assert len({batch.masks[0].context.shape[1] for batch in shown.batches}) > 1
    assert_equal(shown, config, Catalogue.load(config.data, config.seed))


def test_clips_that_were_left_out_have_no_position(checkpoint: Checkpoint, tmp_path: Path) -> None:
    config = config_of(checkpoint)
    catalogue = Catalogue.load(config.data, config.seed)
    bad = {"step": -1, "position": 1, "attempt": 0, "path": "x", "error": "y", "timed_out": False}
    (tmp_path / "quarantine.jsonl").write_text(json.dumps(bad) + "\n")
    moved = replace(checkpoint, path=tmp_path / "checkpoints" / "step-1")
    shown = read_clips(config, moved, num_clips=1000, data=None)
    left = [row for place, row in enumerate(catalogue.holdout) if place != 1]
    assert [batch.rows[0] for batch in shown.batches] == left
    assert_equal(shown, config, replace(catalogue, holdout=tuple(left)))


def test_videos_that_have_moved_are_still_the_held_out_ones(
    checkpoint: Checkpoint, source: Path, tmp_path: Path
) -> None:
    shutil.copytree(source.parent, tmp_path / "moved")
    config = config_of(checkpoint)
    gone = replace(config, data=replace(config.data, sources=(str(tmp_path / "gone.csv"),)))
    with pytest.raises(DataError, match=r"no such file.*gone\.csv.*--data SOURCE"):
        read_clips(gone, checkpoint, num_clips=2, data=None)
    there = str(tmp_path / "moved" / "labels.csv")
    shown = read_clips(gone, checkpoint, num_clips=2, data=there)
    expected = read_clips(config, checkpoint, num_clips=2, data=None)
    assert shown.origin == expected.origin
    assert shown.names == expected.names
    for one, other in zip(shown.batches, expected.batches, strict=True):
        assert torch.equal(one.clips, other.clips)


def test_a_changed_set_is_refused(checkpoint: Checkpoint, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "set")
    manifest = tmp_path / "set" / "labels.csv"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:-1]) + "\n")
    config = config_of(checkpoint)
    changed = replace(config, data=replace(config.data, sources=(str(manifest),)))
    with pytest.raises(DataError, match=r"has changed since the run began.*--data SOURCE"):
        read_clips(changed, checkpoint, num_clips=2, data=None)
    shown = read_clips(changed, checkpoint, num_clips=2, data=str(manifest))
    assert shown.origin.startswith("The first clips of ")


def test_another_source_gives_its_first_readable_clips_in_the_centre_view(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    synthesise(tmp_path / "other", num_clips=4, num_frames=24, fps=12, seed=9)
    folder = tmp_path / "other" / "videos"
    names = sorted(path.name for path in folder.iterdir())
    (folder / names[0]).write_bytes(b"no video")
    config = config_of(checkpoint)
    shown = read_clips(config, checkpoint, num_clips=2, data=str(folder))
    assert list(shown.names) == names[1:3]
    assert "not those of val_loss" in shown.origin
    # 8 frames, every second one, in the middle of 24 at 12 per second; 36 of 64 pixels' view.
    times = (4 + 2 * np.arange(8)) / 12
    frames = read_frames(folder / names[1], times).mean(axis=(1, 2, 3))
    pixels = shown.batches[0].clips[0].float().mean(dim=(0, 2, 3)).numpy()
    assert np.abs(frames - pixels).max() < 12


def test_images_where_there_are_no_videos(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.full((40, 40, 3), 60 * index, dtype=np.uint8)
        write_png(tmp_path / f"{index}.png", pixels)
    config = config_of(checkpoint)
    assert config.stage.image_masks is None
    shown = read_clips(config, checkpoint, num_clips=3, data=str(tmp_path))
    assert [batch.clips.shape for batch in shown.batches] == [(1, 3, 2, 32, 32)] * 3
    assert [int(batch.clips.max()) for batch in shown.batches] == [0, 60, 120]
    assert all(int(mask.targets.max()) < 16 for batch in shown.batches for mask in batch.masks)


def test_videos_where_both_are_held_out(
    checkpoint: Checkpoint, source: Path, tmp_path: Path
) -> None:
    for index in range(8):
        write_png(tmp_path / f"{index}.png", np.full((40, 40, 3), 30 * index, dtype=np.uint8))
    config = config_of(checkpoint)
    sources = (str(tmp_path), *config.data.sources)
    config = with_image_masks(replace(config, data=replace(config.data, sources=sources)))
    catalogue = Catalogue.load(config.data, config.seed)
    assert {catalogue.rows[row].is_image for row in catalogue.holdout} == {False, True}
    mixed = replace(checkpoint, meta={"manifest_sha256": catalogue.manifest_hash})
    shown = read_clips(config, mixed, num_clips=3, data=None)
    assert_equal(shown, config, catalogue)


def test_without_held_out_clips_it_is_said_that_the_run_has_trained_on_them(
    checkpoint: Checkpoint,
) -> None:
    config = config_of(checkpoint)
    config = replace(config, data=replace(config.data, holdout=0.0))
    shown = read_clips(config, checkpoint, num_clips=2, data=None)
    rows = [row for row in read_source(Path(config.data.sources[0])).rows if row.split == "train"]
    assert list(shown.names) == [row.relative_path for row in rows[:2]]
    assert "has trained on these clips" in shown.origin


def test_clips_that_cannot_be_read_are_named(
    checkpoint: Checkpoint, source: Path, tmp_path: Path
) -> None:
    shutil.copytree(source.parent, tmp_path / "set")
    for path in (tmp_path / "set" / "videos").iterdir():
        path.write_bytes(b"no video")
    config = config_of(checkpoint)
    broken = str(tmp_path / "set" / "labels.csv")
    with pytest.raises(DataError, match=r"held-out clip .*\.mp4 cannot be read any more.*--data"):
        read_clips(config, checkpoint, num_clips=2, data=broken)
    bare = str(tmp_path / "set" / "videos")
    with pytest.raises(DataError, match=rf"none of the first {2 + MAX_ATTEMPTS} clips.*--data"):
        read_clips(config, checkpoint, num_clips=2, data=bare)
    with pytest.raises(DataError, match=r"no such file or folder"):
        read_clips(config, checkpoint, num_clips=2, data=str(tmp_path / "nowhere"))
