"""Fixed views: which one comes is drawn by the sample, what it shows by row and number alone."""

from collections import Counter

import pytest
import torch

from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import (
    FIXED_VIEW_STEP,
    ClipDataset,
    HeldOutClip,
    ViewDataset,
)
from vsalt.data.jobs import Job
from vsalt.data.synthetic import synthesise
from vsalt.data.types import SampleKey
from vsalt.errors import ConfigError

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))
VIEWS = 3
SEED = 5


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    manifest = synthesise(folder / "videos", num_clips=6, seed=1, size=32, num_frames=14)
    bad = manifest.parent / "videos" / "000002.mp4"
    assert bad.is_file()
    bad.write_bytes(b"not a video")
    return Catalogue.load(DataConfig(sources=(str(manifest),), holdout=0.0, use_test=True), SEED)


def training(catalogue, views):
    return ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(SEED),
        batch_size=4,
        clip=CLIP,
        data=DataConfig(views=views),
        seed=SEED,
    )


def batches(dataset, steps):
    for step in range(steps):
        keys = [SampleKey(step, position) for position in range(4)]
        yield step, dataset.read([dataset.draw(key) for key in keys], Job())


def fixed_views(catalogue, rows):
    """What a teacher is shown: every view of some rows, by (row, view)."""
    dataset = ViewDataset(
        table=catalogue.table(), clip=CLIP, data=DataConfig(views=VIEWS), seed=SEED
    )
    wanted = [
        HeldOutClip(SampleKey(FIXED_VIEW_STEP, place), rows[place // VIEWS])
        for place in range(len(rows) * VIEWS)
    ]
    batch = dataset.read(wanted, Job())
    bad = {rows[item.position // VIEWS] for item in batch.bad_files}
    views = {
        (item.row, item.key.position % VIEWS): clip
        for item, clip in zip(wanted, batch.clips, strict=True)
        if item.row not in bad
    }
    return views, bad


def test_training_sees_the_fixed_views_and_all_of_them(catalogue):
    views, bad = fixed_views(catalogue, list(range(6)))
    assert bad == {2}
    assert len(views) == 5 * VIEWS
    seen = Counter()
    for _, batch in batches(training(catalogue, VIEWS), 40):
        for row, clip in zip(batch.rows, batch.clips, strict=True):
            equal = [view for view in range(VIEWS) if torch.equal(clip, views[row, view])]
            assert len(equal) == 1
            seen[row, equal[0]] += 1
    # 160 samples of 15 views: each is missed with a probability of 2e-5.
    assert set(seen) == set(views)


def test_order_and_replacements_stay_as_they_were(catalogue):
    fixed, drawn = training(catalogue, VIEWS), training(catalogue, None)
    for (_, one), (_, other) in zip(batches(fixed, 10), batches(drawn, 10), strict=True):
        assert one.rows == other.rows
        assert one.bad_files == other.bad_files
        assert not torch.equal(one.clips, other.clips)


def test_one_view_is_the_same_clip_every_time(catalogue):
    found: dict[int, torch.Tensor] = {}
    for _, batch in batches(training(catalogue, 1), 6):
        for row, clip in zip(batch.rows, batch.clips, strict=True):
            assert torch.equal(found.setdefault(row, clip.clone()), clip)
    assert len(found) == 5


def test_no_views_are_no_setting():
    with pytest.raises(ConfigError, match=r"data\.views is 0; it must be at least 1"):
        DataConfig(views=0)
