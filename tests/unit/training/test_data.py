"""Which held-out clips are left out, when a run begins and when it is resumed."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import HoldoutDataset
from vsalt.data.loader import HoldoutLoader
from vsalt.data.quarantine import Quarantine
from vsalt.data.synthetic import synthesise
from vsalt.data.types import BadFile
from vsalt.errors import DataError
from vsalt.training.data import leave_out_unreadable


@pytest.fixture
def catalogue(tmp_path):
    manifest = synthesise(tmp_path / "videos", num_clips=4, seed=1, size=32, num_frames=10)
    return Catalogue.load(DataConfig(sources=(str(manifest),), holdout=0.0), seed=0)


@pytest.fixture
def begin(catalogue, tmp_path):
    """Begins or resumes with all rows held out; returns the rows that are kept."""

    def start(resumed):
        dataset = HoldoutDataset(
            table=catalogue.table(),
            clip=ClipConfig(num_frames=4, frame_step=2, size=(16, 16)),
            data=DataConfig(),
            seed=0,
        )
        loader = HoldoutLoader(dataset, rows=range(4), batch_size=3)
        quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_bad_share=1.0)
        leave_out_unreadable(loader, quarantine, Console(quiet=True), resumed=resumed)
        assert torch.cat([batch.clips for batch in loader]).any(1).any(1).any(1).any(1).all()
        return loader.rows

    return start


def spoil(catalogue, row):
    with open(catalogue.rows[row].path, "wb") as file:
        file.write(b"not a video")


def test_what_cannot_be_read_at_the_start_stays_left_out(catalogue, begin):
    assert begin(resumed=False) == (0, 1, 2, 3)
    spoil(catalogue, 2)
    assert begin(resumed=False) == (0, 1, 3)
    assert begin(resumed=True) == (0, 1, 3)


def test_what_timed_out_stays_left_out_though_it_could_be_read_now(catalogue, begin, tmp_path):
    path = catalogue.rows[1].path
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_bad_share=1.0)
    quarantine.note(BadFile(-1, 1, 0, path, "slow", timed_out=True))
    assert begin(resumed=False) == (0, 2, 3)
    assert begin(resumed=True) == (0, 2, 3)


def test_what_has_been_mended_stays_left_out(catalogue, begin):
    whole = Path(catalogue.rows[2].path).read_bytes()
    spoil(catalogue, 2)
    assert begin(resumed=False) == (0, 1, 3)
    Path(catalogue.rows[2].path).write_bytes(whole)
    assert begin(resumed=True) == (0, 1, 3)


def test_what_has_become_unreadable_ends_a_resumed_run(catalogue, begin):
    begin(resumed=False)
    spoil(catalogue, 3)
    with pytest.raises(DataError, match="could be read before, and cannot any more"):
        begin(resumed=True)


def test_nothing_that_can_be_read(catalogue, begin):
    for row in range(4):
        spoil(catalogue, row)
    with pytest.raises(DataError, match=r"none of the 4 held-out clips can be read.*--data\.hold"):
        begin(resumed=False)
