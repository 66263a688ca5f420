"""The size of a cache against frames counted by decoding, and what does not fit."""

import dataclasses
import re

import pytest

from vsalt.data import cache_plan
from vsalt.data.cache_plan import CachePlan, cache_folder, plan_cache
from vsalt.data.catalogue import Catalogue
from vsalt.data.clip_table import ClipPlace
from vsalt.data.config import DataConfig
from vsalt.data.frame_cache import make_frame_cache
from vsalt.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    for index in range(5):
        write_video(folder / f"{index}.mp4", seed=index, num_frames=10 + index)
    (folder / "bad.mp4").write_text("not a video")
    return folder


def config_of(folder, tmp_path, cache):
    return DataConfig(
        sources=(str(folder),), holdout=0.0, cache=cache, cache_dir=str(tmp_path / "cache")
    )


def counted_bytes(folder, decode_all):
    return sum(
        frame.nbytes for path in folder.glob("[0-9].mp4") for frame in decode_all(path).frames
    )


def test_the_plan_is_the_size_of_all_decoded_frames(folder, tmp_path, decode_all):
    config = config_of(folder, tmp_path, "ram")
    plan = plan_cache(Catalogue.load(config, 0).rows, config, seed=0)
    assert plan.num_bytes == counted_bytes(folder, decode_all)
    assert plan.free_bytes > 0
    assert "estimated" not in str(plan)
    plan.check()


@pytest.mark.parametrize(
    ("num_bytes", "says"),
    [(645_120, "0.6 MB"), (99_900_000, "99.9 MB"), (10**8, "0.1 GB"), (2 * 10**12, "2,000.0 GB")],
)
def test_small_caches_are_told_in_megabytes(num_bytes, says):
    plan = CachePlan(num_bytes, num_rows=7, num_sampled=7, free_bytes=10**10, where="memory")
    told = f"the frames of 7 clips' videos take {says} in memory; there is room for 10.0 GB"
    assert str(plan) == told


def test_no_cache_has_no_plan(folder, tmp_path):
    config = config_of(folder, tmp_path, "none")
    assert plan_cache(Catalogue.load(config, 0).rows, config, seed=0) is None
    assert make_frame_cache(config, num_rows=6) is None


def test_many_rows_are_estimated_from_some(folder, tmp_path, decode_all, monkeypatch):
    monkeypatch.setattr(cache_plan, "_MAX_SAMPLED", 60)
    config = config_of(folder, tmp_path, "ram")
    rows = Catalogue.load(config, 0).rows * 40
    plan = plan_cache(rows, config, seed=0)
    assert (plan.num_rows, plan.num_sampled) == (240, 60)
    assert abs(plan.num_bytes / (40 * counted_bytes(folder, decode_all)) - 1) < 0.25
    assert "estimated from 60 of them" in str(plan)


def test_what_does_not_fit_is_refused_with_advice(folder, tmp_path):
    config = config_of(folder, tmp_path, "ram")
    plan = plan_cache(Catalogue.load(config, 0).rows, config, seed=0)
    small = dataclasses.replace(plan, free_bytes=plan.num_bytes - 1)
    with pytest.raises(ConfigError, match=re.escape("--data.cache disk")) as raised:
        small.check()
    assert "vsalt data prepare" in str(raised.value)
    on_disk = dataclasses.replace(small, where="/folder")
    with pytest.raises(ConfigError, match="none") as raised:
        on_disk.check()
    assert "--data.cache disk" not in str(raised.value)


def test_entries_on_disk_need_no_room(folder, tmp_path):
    config = config_of(folder, tmp_path, "disk")
    rows = Catalogue.load(config, 0).rows
    before = plan_cache(rows, config, seed=0)
    cache = make_frame_cache(config, num_rows=len(rows))
    for index, row in enumerate(rows[:2]):
        cache.open(index, ClipPlace(row.media, row.start_s, row.end_s))
    after = plan_cache(rows, config, seed=0)
    stored = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.frames"))
    # An entry is a little more than its frames.
    assert 0 < stored - (before.num_bytes - after.num_bytes) < 2 * 2000


def test_the_folder_is_the_given_one_or_the_users_cache(tmp_path, monkeypatch):
    assert cache_folder(DataConfig(cache_dir=str(tmp_path))) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(DataConfig()) == tmp_path / "xdg" / "vsalt" / "frames"
