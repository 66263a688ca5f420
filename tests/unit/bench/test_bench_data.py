"""Rates of the loader and of the masks, by clocks that the tests turn."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from vsalt.bench import loader
from vsalt.bench.loader import make_videos, measure_loader
from vsalt.bench.masks import all_masks, measure_masks
from vsalt.bench.setup import bench_data
from vsalt.data.manifest import read_source
from vsalt.data.video_info import probe
from vsalt.errors import ConfigError, DataError

CLIPS = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("videos")
    return str(make_videos(folder / "set", bench_data("demo", CLIPS)))


def test_clips_by_the_seconds_of_the_timed_batches(videos: str) -> None:
    """The clock moves by a second whenever it is read, before and after what is timed."""
    ticks = count()
    slept: list[float] = []
    found = measure_loader(
        bench_data("demo", CLIPS),
        [videos],
        workers=(0, 1),
        batches=3,
        step_s=0.25,
        clock=lambda: float(next(ticks)),
        sleep=slept.append,
    )
    assert [row["workers"] for row in found["rows"]] == [0, 1]
    for row in found["rows"]:
        assert row["clips_per_s"] == 3 * CLIPS
        assert row["first_batch_s"] == 1
        assert row["bad_files"] == 0
    # Without workers all of the reading is waited for: real seconds, by one second of the clock.
    assert found["rows"][0]["data_wait"] > 0
    assert slept == [0.25] * 6
    assert found["settings"]["clips"] == CLIPS


def test_files_that_cannot_be_read_are_counted(videos: str, tmp_path: Path) -> None:
    good = read_source(Path(videos), source=0).rows[0].media
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    manifest = tmp_path / "clips.csv"
    manifest.write_text(f"path\n{good}\n{bad}\n")
    found = measure_loader(bench_data("demo", CLIPS), [str(manifest)], workers=(0,), batches=3)
    # Half of the rows, in the first batch and three more.
    assert found["rows"][0]["bad_files"] >= 4
    assert found["rows"][0]["data_wait"] is None


def test_sources_and_numbers_that_cannot_be_are_refused(videos: str) -> None:
    config = bench_data("demo", CLIPS)
    with pytest.raises(ConfigError) as error:
        measure_loader(config, [videos], workers=(2, -1), batches=0, step_s=0.0)
    assert len(error.value.problems) == 3
    with pytest.raises(ConfigError, match="--workers has no number"):
        measure_loader(config, [videos], workers=())
    with pytest.raises(ConfigError, match="take --workers 0, without --step-s"):
        measure_loader(config, [videos], workers=(0, 1), processor_time=True)
    with pytest.raises(DataError):
        measure_loader(config, ["/nowhere"], workers=(0,))


def test_videos_are_as_large_as_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "SYNTHETIC_CLIPS", 8)
    config = bench_data("small-gpu", CLIPS)
    rows = read_source(make_videos(tmp_path / "set", config), source=0).rows
    info = probe(rows[0].media)
    assert (info.height, info.width) == (112, 112)
    assert info.num_frames >= 16 * 4


def test_masks_by_the_seconds_that_they_take() -> None:
    """One batch of each family, before the clock has moved by a second."""
    ticks = count()
    config = bench_data("tiny-cpu", CLIPS)
    found = measure_masks(config, seconds=0.5, clock=lambda: float(next(ticks)))
    names = [(row["family"], row["policy"]) for row in found["rows"]]
    assert names == [
        ("multiblock", "budget"),
        ("multiblock", "batch_min"),
        ("tube", None),
        ("random", None),
        ("causal", None),
    ]
    for row, masks in zip(found["rows"], all_masks(CLIPS), strict=True):
        assert row["kinds"] == list(masks.kind_names)
        assert row["masks_per_s"] == CLIPS * len(row["kinds"])
        assert len(row["counts"]) == len(row["kinds"])
        assert row["refused"] is None
    assert found["settings"]["grid"] == [8, 4, 4]


def test_a_family_that_the_grid_does_not_allow_says_why() -> None:
    config = bench_data("tiny-cpu", CLIPS)
    config = replace(config, clip=replace(config.clip, num_frames=2, size=(32, 32)))
    found = measure_masks(config, seconds=0.001)
    rows = {row["family"]: row for row in found["rows"]}
    assert rows["random"]["masks_per_s"] is None
    assert "masks.ratio is 0.9" in rows["random"]["refused"]


def test_no_time_for_masks_is_refused() -> None:
    with pytest.raises(ConfigError, match="--seconds is 0"):
        measure_masks(bench_data("demo", CLIPS), seconds=0.0)


def test_repeats_decode_less_and_what_does_not_fit_is_refused(videos: str) -> None:
    config = bench_data("demo", CLIPS)
    found = measure_loader(
        config, [videos], workers=(0,), batches=1, repeats=2, processor_time=True
    )
    assert found["settings"]["repeats"] == 2
    assert found["settings"]["clock"] == "processor"
    assert found["rows"][0]["clips_per_s"] > 0
    with pytest.raises(ConfigError, match="all views of a decoded clip are in one micro-batch"):
        measure_loader(config, [videos], workers=(0,), repeats=CLIPS + 1)
    with pytest.raises(ConfigError, match="counts what this process does"):
        measure_loader(config, [videos], workers=(0, 1), processor_time=True)
