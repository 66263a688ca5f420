"""Cached frames against the frames of the file, and entries that must not be believed."""

import gc
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from vsalt.data.catalogue import Catalogue
from vsalt.data.clip_table import ClipPlace
from vsalt.data.config import ClipConfig, DataConfig, ReadLimits
from vsalt.data.crop_box import CropBox
from vsalt.data.dataset import ClipDataset
from vsalt.data.decode import Video
from vsalt.data.frame_cache import CachedVideo, FrameCache, make_frame_cache
from vsalt.data.frame_store import DiskStore, RamStore, entry_path
from vsalt.data.loader import ClipLoader
from vsalt.data.media import Media
from vsalt.data.sampling import clip_times, stretch
from vsalt.errors import ConfigError, DecodeError

LIMITS = ReadLimits()
ROOM = 1 << 28


@pytest.fixture(params=["ram", "disk"])
def store(request, tmp_path):
    if request.param == "ram":
        return RamStore(num_rows=8, capacity=ROOM)
    return DiskStore(tmp_path / "cache", LIMITS)


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video):
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", num_frames=40)


def place_of(path, start_s=None, end_s=None):
    return ClipPlace(Media(str(path)), start_s, end_s)


def reads_of(opened, place, box=None):
    """Clips by frame step and by rate, from the first to the last place, or why there is none."""
    found = []
    with opened as video:
        part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
        for clip in (ClipConfig(num_frames=4, frame_step=3), ClipConfig(num_frames=5, fps=7.3)):
            for u in (0.0, 0.31, 0.77, 0.999):
                try:
                    found.append(video.read(clip_times(clip, part, u=u), box))
                except DecodeError as error:
                    found.append(str(error))
        return video.info, found


def reads_or_error(opener, place):
    try:
        return reads_of(opener(), place)
    except DecodeError as error:
        return str(error)


def assert_same(one, other):
    assert one[0] == other[0]
    for a, b in zip(one[1], other[1], strict=True):
        assert type(a) is type(b)
        assert np.array_equal(a, b)


@pytest.mark.parametrize("bounds", [(None, None), (0.5, 1.3), (1.0, None), (None, 0.7)])
def test_cached_frames_are_those_of_the_file(store, video, bounds):
    place, cache = place_of(video, *bounds), FrameCache(store, LIMITS)

    def box(height, width):
        return CropBox(3, 5, height - 10, width - 7)

    for chosen in (None, box):
        opened = cache.open(0, place)
        assert isinstance(opened, CachedVideo)
        assert_same(
            reads_of(opened, place, chosen), reads_of(Video(video, limits=LIMITS), place, chosen)
        )


@pytest.mark.slow
def test_real_and_damaged_files_read_as_without_a_cache(store, test_data):
    cached = 0
    cache = FrameCache(store, LIMITS)
    files = sorted((test_data / "decode_tests").glob("*.*"))
    files += sorted((test_data / "jhmdb" / "videos").rglob("*.*"))[:2]
    for path in files:
        place = place_of(path)
        plain = reads_or_error(lambda path=path: Video(path, limits=LIMITS), place)
        if isinstance(plain, str):
            assert reads_or_error(lambda place=place: cache.open(0, place), place) == plain
            continue
        fresh = RamStore(1, ROOM) if isinstance(store, RamStore) else store
        opened = FrameCache(fresh, LIMITS).open(0, place)
        cached += isinstance(opened, CachedVideo)
        assert_same(reads_of(opened, place), plain)
    assert cached >= 10


def test_times_that_an_entry_lacks_are_read_from_the_file(store, video):
    place = place_of(video, 0.5, 1.0)
    with FrameCache(store, LIMITS).open(0, place) as cached, Video(video, limits=LIMITS) as plain:
        everywhere = [0.02, 0.7, 1.4]
        assert np.array_equal(cached.read(everywhere), plain.read(everywhere))
        with pytest.raises(DecodeError, match="the pictures end"):
            cached.read([0.7, 99.0])


def test_the_second_reader_does_not_decode(store, tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", num_frames=12)
    place, status = place_of(path), path.stat()
    first = reads_of(FrameCache(store, LIMITS).open(0, place), place)
    path.write_bytes(b"?" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = pickle.loads(pickle.dumps(store)) if isinstance(store, DiskStore) else store
    assert_same(reads_of(FrameCache(again, LIMITS).open(0, place), place), first)


def test_a_file_on_disk_is_keyed_by_all_that_its_frames_depend_on(tmp_path, video):
    folder = tmp_path / "cache"
    base = entry_path(folder, place_of(video), LIMITS)
    link = tmp_path / "link.mp4"
    link.symlink_to(video)
    same = [(place_of(link), LIMITS), (place_of(video), ReadLimits(timeout_s=1.0))]
    assert {entry_path(folder, *one) for one in same} == {base}
    other = [
        entry_path(folder, place_of(video, 0.5), LIMITS),
        entry_path(folder, place_of(video, None, 0.5), LIMITS),
        entry_path(folder, ClipPlace(Media(str(video), 0, 100), None, None), LIMITS),
        entry_path(folder, ClipPlace(Media(str(video), 100), None, None), LIMITS),
        entry_path(folder, place_of(video), ReadLimits(max_pixels=100)),
    ]
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(video.read_bytes())
    other.append(entry_path(folder, place_of(copy), LIMITS))
    os.utime(copy, ns=(0, 1))
    other.append(entry_path(folder, place_of(copy), LIMITS))
    assert len({base, *other}) == len(other) + 1


def test_a_full_store_leaves_rows_to_their_files(video):
    frame = 3 * 48 * 64
    small = RamStore(num_rows=2, capacity=10 * frame)
    cache = FrameCache(small, LIMITS)
    place = place_of(video)
    short = place_of(video, 0.0, 0.2)
    assert isinstance(cache.open(1, short), CachedVideo)
    assert not cache.lacks_room
    assert isinstance(cache.open(0, place), Video)
    assert cache.lacks_room


def test_what_does_not_fit_is_not_gathered_in_memory(video):
    store = RamStore(num_rows=1, capacity=10_500)
    taken = []

    def endless():
        while len(taken) < 1000:
            taken.append(1)
            yield memoryview(bytes(1000))

    assert not store.save(0, place_of(video), endless())
    assert len(taken) == 11
    assert store.load(0, place_of(video)) is None


def test_a_full_disk_leaves_rows_to_their_files(tmp_path, video):
    """A limit on the size of files fails in the middle of an entry, as a full disk does."""
    cache = FrameCache(DiskStore(tmp_path / "cache", LIMITS), LIMITS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        assert isinstance(cache.open(0, place_of(video)), Video)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.lacks_room
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


class _Killed(BaseException):
    """Ends a writer between two frames, where nothing else runs."""


def half_an_entry(chunks):
    yield from chunks
    raise _Killed


def test_half_an_entry_is_not_there(store, video):
    place = place_of(video)
    with pytest.raises(_Killed):
        store.save(0, place, half_an_entry(iter([memoryview(b"x" * 100)])))
    assert store.load(0, place) is None
    assert isinstance(FrameCache(store, LIMITS).open(0, place), CachedVideo)


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path, video):
    folder = tmp_path / "cache"
    store, place = DiskStore(folder, LIMITS), place_of(video)
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from vsalt.data.clip_table import ClipPlace
        from vsalt.data.config import ReadLimits
        from vsalt.data.frame_store import DiskStore
        from vsalt.data.media import Media

        def slow():
            yield memoryview(b"x" * (1 << 20))
            print("writing", flush=True)
            time.sleep(60)

        store = DiskStore(Path({str(folder)!r}), ReadLimits())
        store.save(0, ClipPlace(Media({str(video)!r}), None, None), slow())
        """
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"writing\n"
    DiskStore(folder, LIMITS)
    assert len(list(folder.glob("partial-*"))) == 1
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert store.load(0, place) is None
    DiskStore(folder, LIMITS)
    assert not list(folder.glob("partial-*"))


def batches_of(sources, cache_config, tmp_path, workers, steps=6):
    data = DataConfig(
        sources=(str(sources),), holdout=0.0, cache=cache_config, cache_dir=str(tmp_path / "c")
    )
    catalogue = Catalogue.load(data, seed=0)
    dataset = ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(0),
        batch_size=4,
        clip=ClipConfig(num_frames=4, frame_step=2, size=(16, 16)),
        data=data,
        seed=0,
        cache=make_frame_cache(data, num_rows=len(catalogue.rows)),
    )
    loader = ClipLoader(
        dataset, start=0, stop=steps, batch_size=4, micro_batch_size=2, workers=workers
    )
    with loader:
        return [micro.batch for micro in loader]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    for index in range(6):
        write_video(folder / f"{index}.mp4", seed=index, num_frames=16)
    (folder / "bad.mp4").write_text("not a video")
    return folder


@pytest.mark.parametrize(("cache", "workers"), [("ram", 0), ("disk", 0), ("ram", 2)])
def test_batches_are_the_same_with_and_without_a_cache(folder, tmp_path, cache, workers):
    plain = batches_of(folder, "none", tmp_path, 0)
    before = set(os.listdir("/proc/self/fd"))
    found = batches_of(folder, cache, tmp_path, workers)
    for one, other in zip(plain, found, strict=True):
        assert torch.equal(one.clips, other.clips)
        assert (one.rows, one.bad_files) == (other.rows, other.bad_files)
    gc.collect()
    assert not memory_files(before)
    if cache == "disk":
        assert len(list((tmp_path / "c").rglob("*.frames"))) == 6


def memory_files(before):
    now = set(os.listdir("/proc/self/fd")) - before
    links = []
    for number in now:
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [link for link in links if "vsalt-frames" in link]


def fill_row(store, video, go):
    go.wait()
    FrameCache(store, LIMITS).open(0, place_of(video))


def open_row(cache, video):
    cache.open(0, place_of(video))


def test_that_a_worker_lacks_room_is_known_to_its_parent(video):
    cache = FrameCache(RamStore(num_rows=1, capacity=1000), LIMITS)
    worker = multiprocessing.get_context("spawn").Process(target=open_row, args=(cache, video))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert cache.lacks_room


@pytest.mark.slow
def test_two_processes_that_fill_a_row_at_once_do_no_harm(store, video):
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    writers = [context.Process(target=fill_row, args=(store, video, go)) for _ in range(2)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    place = place_of(video)
    entry = store.load(0, place)
    assert entry is not None
    assert_same(
        reads_of(FrameCache(store, LIMITS).open(0, place), place),
        reads_of(Video(video, limits=LIMITS), place),
    )


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name another folder"):
        DiskStore(tmp_path / "file" / "cache", LIMITS)


def test_a_truncated_entry_is_not_believed(tmp_path, video):
    place = place_of(video)
    store = DiskStore(tmp_path / "cache", LIMITS)
    FrameCache(store, LIMITS).open(0, place)
    path = entry_path(tmp_path / "cache", place, LIMITS)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:-3] + b"abc", whole[8:]):
        path.write_bytes(content)
        assert_same(
            reads_of(FrameCache(store, LIMITS).open(0, place), place),
            reads_of(Video(video, limits=LIMITS), place),
        )
        assert path.read_bytes() == whole
