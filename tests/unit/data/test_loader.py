"""The same batches for any number of workers, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from support.processes import children
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import ClipDataset, HoldoutDataset
from vsalt.data.loader import ClipLoader, HoldoutLoader
from vsalt.data.types import SampleKey
from vsalt.errors import ConfigError, DataError

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    for index in range(10):
        write_video(folder / f"{index}.mp4", seed=index, num_frames=16)
    (folder / "bad.mp4").write_text("not a video")
    return folder


@pytest.fixture
def clip_masks(monkeypatch):
    monkeypatch.syspath_prepend(HERE / "spawned")
    import clip_masks

    return clip_masks


def make(folder, draw_masks, cls=ClipDataset, batch_size=8):
    data = DataConfig(sources=(str(folder),), holdout=0.3)
    catalogue = Catalogue.load(data, seed=0)
    common = {"table": catalogue.table(), "clip": CLIP, "data": data, "seed": 0}
    if cls is HoldoutDataset:
        return HoldoutDataset(draw_masks=draw_masks, **common), catalogue.holdout
    return ClipDataset(
        order=catalogue.order(0), batch_size=batch_size, draw_masks=draw_masks, **common
    )


def same(one, other):
    tensors = [(one.clips, other.clips)]
    for a, b in zip(one.masks, other.masks, strict=True):
        tensors += [(a.context, b.context), (a.targets, b.targets)]
    return (
        all(torch.equal(a, b) for a, b in tensors)
        and one.rows == other.rows
        and one.bad_files == other.bad_files
    )


def steps(loader):
    return [(item.step, item.part) for item in loader]


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_identical_batches(folder, clip_masks, workers):
    dataset = make(folder, clip_masks.draw_masks)
    options = {"start": 3, "stop": 7, "batch_size": 8, "micro_batch_size": 4}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with ClipLoader(dataset, **options) as loader:
        expected = list(loader)
    with ClipLoader(dataset, **options, workers=workers) as loader:
        found = list(loader)
        assert loader.wait_s > 0
    assert [(item.step, item.part) for item in found] == [
        (s, p) for s in range(3, 7) for p in (0, 1)
    ]
    assert all(same(a.batch, b.batch) for a, b in zip(found, expected, strict=True))
    assert any(item.batch.bad_files for item in expected)
    assert torch.equal(torch.get_rng_state(), state)
    assert not children()


def test_micro_batches_and_ranks_cut_the_same_global_batch(folder, clip_masks):
    dataset = make(folder, clip_masks.draw_masks)

    def clips(step, micro, world):
        parts = []
        for rank in range(world):
            with ClipLoader(
                dataset, start=step, stop=step + 1, batch_size=8, micro_batch_size=micro,
                rank=rank, world_size=world,
            ) as loader:  # fmt: skip
                parts += [item.batch.clips for item in loader]
        return torch.cat(parts)

    whole = clips(2, 8, 1)
    assert len(whole) == 8
    for micro, world in ((4, 1), (1, 1), (4, 2), (1, 4), (2, 4)):
        assert torch.equal(clips(2, micro, world), whole)


def test_starting_later_is_the_rest(folder, clip_masks):
    dataset = make(folder, clip_masks.draw_masks)
    options = {"stop": 5, "batch_size": 4, "micro_batch_size": 2}
    with ClipLoader(dataset, start=0, **options) as loader:
        all_items = list(loader)
    with ClipLoader(dataset, start=3, **options) as loader:
        rest = list(loader)
    assert [(a.step, a.part) for a in rest] == [(a.step, a.part) for a in all_items[6:]]
    assert all(same(a.batch, b.batch) for a, b in zip(rest, all_items[6:], strict=True))


def test_sizes_that_do_not_divide(folder, clip_masks):
    dataset = make(folder, clip_masks.draw_masks)
    for micro, world in ((3, 1), (4, 4), (8, 2)):
        with pytest.raises(ConfigError, match="batch size 8 must be a multiple"):
            ClipLoader(
                dataset, start=0, stop=1, batch_size=8, micro_batch_size=micro, world_size=world
            )


def test_held_out_batches_repeat(folder, clip_masks):
    dataset, held_out = make(folder, clip_masks.draw_masks, HoldoutDataset)
    with HoldoutLoader(dataset, rows=held_out, batch_size=2) as loader:
        expected = list(loader)
    assert sum(len(batch.rows) for batch in expected) == len(held_out) == 4
    with HoldoutLoader(dataset, rows=held_out, batch_size=2, workers=1) as loader:
        first = list(loader)
        (worker,) = children()
        second = list(loader)
        assert children() == [worker]
    assert not children()
    for batches in (first, second):
        assert all(same(a, b) for a, b in zip(batches, expected, strict=True))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_held_out_batches_are_dealt_out(folder, clip_masks, batch_size):
    dataset, held_out = make(folder, clip_masks.draw_masks, HoldoutDataset)
    with HoldoutLoader(dataset, rows=held_out, batch_size=batch_size) as loader:
        expected = list(loader)
        assert loader.num_own == len(expected) == {1: 4, 3: 2}[batch_size]
    for size in (2, 3, 5):
        loaders = [
            HoldoutLoader(dataset, rows=held_out, batch_size=batch_size, rank=rank, world_size=size)
            for rank in range(size)
        ]
        dealt = [list(loader) for loader in loaders]
        # Equally many, as no process may be missing where networks are sharded; the rest repeats.
        assert {len(batches) for batches in dealt} == {-(-len(expected) // size)}
        for rank, (loader, batches) in enumerate(zip(loaders, dealt, strict=True)):
            own = expected[rank::size]
            assert loader.num_own == len(own)
            for batch, other in zip(batches, [*own, expected[-1]], strict=False):
                assert same(batch, other)
        unread = [loader.unreadable(passed_over=(), tries=1) for loader in loaders]
        assert unread == [[]] * size


@pytest.mark.parametrize("workers", [0, 1])
def test_known_time_outs_are_had_again_without_reading(folder, clip_masks, workers):
    dataset = make(folder, clip_masks.draw_masks)
    options = {"start": 3, "stop": 5, "batch_size": 8, "micro_batch_size": 4}
    verdicts = {SampleKey(3, 1): {0: "slow", 1: "slow again"}, SampleKey(4, 6): {0: "slow, too"}}
    with ClipLoader(dataset, **options) as loader:
        plain = list(loader)
    with ClipLoader(dataset, **options, workers=workers, verdicts=verdicts) as loader:
        found = list(loader)
    timed_out = [bad for item in found for bad in item.batch.bad_files if bad.timed_out]
    assert [(*bad[:3], bad.error) for bad in timed_out] == [
        (3, 1, 0, "slow"), (3, 1, 1, "slow again"), (4, 6, 0, "slow, too"),
    ]  # fmt: skip
    for item, other in zip(found, plain, strict=True):
        for index in range(4):
            key = SampleKey(item.step, 4 * item.part + index)
            same_clip = torch.equal(item.batch.clips[index], other.batch.clips[index])
            assert same_clip is (key not in verdicts)


@pytest.mark.parametrize("workers", [0, 1])
def test_held_out_clips_that_cannot_be_read_any_more_end_the_run(tmp_path, folder, workers):
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    data = DataConfig(sources=(str(tmp_path),), holdout=0.0)
    table = Catalogue.load(data, seed=0).table()
    dataset = HoldoutDataset(table=table, clip=CLIP, data=data, seed=0)
    with HoldoutLoader(dataset, rows=[2, 0, 1], batch_size=2, workers=workers) as loader:
        assert [batch.rows for batch in loader] == [(2, 0), (1,)]
        (tmp_path / "0.mp4").write_text("not a video")
        (bad,) = loader.unreadable(passed_over=[2], tries=1)
        assert bad[:4] == (-1, 1, 0, str(tmp_path / "0.mp4"))
        assert loader.unreadable(passed_over=[1], tries=1) == []
        with pytest.raises(DataError, match=r"0\.mp4 could be read before, and cannot any more"):
            list(loader)


@pytest.mark.filterwarnings("error")
def test_closing_early_leaves_no_process(folder, clip_masks):
    loader = ClipLoader(
        make(folder, clip_masks.draw_masks),
        start=0, stop=1000, batch_size=8, micro_batch_size=4, workers=2,
    )  # fmt: skip
    next(iter(loader))
    assert len(children()) == 2
    began = time.perf_counter()
    loader.close()
    loader.close()
    assert time.perf_counter() - began < 5
    assert not children()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_keep_their_type_and_message(folder, tmp_path, clip_masks, workers):
    for index in range(4):
        (tmp_path / f"{index}.mp4").write_text("not a video")
    dataset = make(tmp_path, clip_masks.draw_masks)
    with (
        pytest.raises(DataError) as caught,
        ClipLoader(
            dataset, start=0, stop=9, batch_size=2, micro_batch_size=2, workers=workers
        ) as loader,
    ):
        list(loader)
    assert str(caught.value).startswith("8 clips in a row could not be read for step 0, position 0")
    assert not children()


def test_a_defect_in_a_worker_keeps_its_traceback(folder, clip_masks):
    with (
        pytest.raises(ZeroDivisionError, match="defect_at_step_2"),
        ClipLoader(
            make(folder, clip_masks.defect_at_step_2),
            start=0, stop=9, batch_size=2, micro_batch_size=2, workers=1,
        ) as loader,
    ):  # fmt: skip
        list(loader)
    assert not children()


def test_a_killed_worker_is_a_clear_error(folder, clip_masks):
    with (
        pytest.raises(DataError, match=r"worker ended unexpectedly.*--data\.workers"),
        ClipLoader(
            make(folder, clip_masks.killed_at_step_2),
            start=0, stop=9, batch_size=2, micro_batch_size=2, workers=2,
        ) as loader,
    ):  # fmt: skip
        list(loader)
    assert not children()


SCRIPT = """
import signal, sys, time
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import ClipDataset
from vsalt.data.loader import ClipLoader

def main():
    data = DataConfig(sources=(sys.argv[1],), holdout=0.0)
    catalogue = Catalogue.load(data, seed=0)
    dataset = ClipDataset(
        table=catalogue.table(), order=catalogue.order(0), batch_size=4,
        clip=ClipConfig(num_frames=4, frame_step=2, size=(16, 16)), data=data, seed=0,
    )
    loader = ClipLoader(
        dataset, start=0, stop=10**6, batch_size=4, micro_batch_size=4, workers=2
    )
    BODY

if __name__ == "__main__":
    main()
"""
WITH = """with loader:
        for item in loader:
            print("batch", flush=True)
            time.sleep(0.01)
"""
FORGOTTEN = """next(iter(loader))
    print("batch", flush=True)
"""


@pytest.fixture
def start(folder, tmp_path, request):
    return lambda body: run_script(folder, tmp_path, request, body)


def run_script(folder, tmp_path, request, body):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("BODY", body))
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    request.addfinalizer(lambda: end(process))
    assert process.stdout is not None
    assert process.stdout.readline() == "batch\n", process.stderr.read()
    return process


def end(process):
    process.kill()
    process.communicate()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids):
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_ctrl_c_ends_the_workers_without_a_word_from_them(start):
    process = start(WITH)
    workers = children(process.pid)
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "Warning" not in errors
    assert gone(workers)


def test_workers_survive_a_termination_of_the_whole_group(start):
    process = start(f"signal.signal(signal.SIGTERM, lambda *_: None)\n    {WITH}")
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGTERM)
    for _ in range(20):
        assert process.stdout.readline() == "batch\n"
    assert children(process.pid) == workers
    process.kill()
    process.communicate(timeout=20)
    assert gone(workers)


def test_a_forgotten_loader_does_not_hang_the_exit(start):
    process = start(FORGOTTEN)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")
