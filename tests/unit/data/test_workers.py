"""The pool: order, memory of batches, and workers that hang, crash or are killed."""

import gc
import itertools
import multiprocessing
import pickle
import subprocess
import sys
import time
from multiprocessing import context, reduction
from pathlib import Path

import numpy as np
import pytest

from vsalt.data import workers as workers_module
from vsalt.data.activity import Place, hard_limit_s
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Task
from vsalt.data.shared_memory import SharedArray
from vsalt.data.workers import WorkerPool
from vsalt.errors import DataError

HERE = Path(__file__).parent
HARD_LIMIT_S = 0.5


@pytest.fixture
def faulty(monkeypatch):
    monkeypatch.syspath_prepend(HERE / "spawned")
    import faulty_readers

    return faulty_readers


@pytest.fixture
def pools(monkeypatch):
    """Makes pools with a short limit, and closes them."""
    monkeypatch.setattr(workers_module, "hard_limit_s", lambda limits: HARD_LIMIT_S)
    made = []

    def make(reader, workers=2, prefetch=2):
        made.append(
            WorkerPool(
                reader, workers=workers, prefetch=prefetch, pin_memory=False, limits=ReadLimits()
            )
        )
        return made[-1]

    yield make
    for pool in made:
        pool.close()
    assert not multiprocessing.active_children()


def tasks(count, size=4, verdicts=None):
    return [
        Task(list(range(first, first + size)), dict(verdicts or {}) if not first else {})
        for first in range(0, count * size, size)
    ]


def contents(batches):
    return [(b.values.tolist(), b.squares.tolist(), b.errors) for b in batches]


def test_the_limit_is_far_beyond_the_videos_own():
    assert hard_limit_s(ReadLimits(timeout_s=60.0)) == 125


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_come_in_order_and_can_all_be_held(faulty, pools, workers):
    expected = contents(pools(faulty.Reader(), workers=0).batches(tasks(20)))
    pool = pools(faulty.Reader({(4, 0): "slow", (20, 0): "slow"}), workers=workers)
    for _ in range(2):
        held = list(pool.batches(tasks(20)))
        assert contents(held) == expected
    assert len({pid for batch in held for pid in batch.pids}) == workers


def test_memory_is_used_again_once_nobody_holds_a_batch(faulty, pools):
    pool = pools(faulty.Reader(shape=(100, 100)), workers=1)
    places = set()
    for batch in pool.batches(tasks(12)):
        places.add(batch.values.data_ptr())
        del batch
    assert len(places) <= 4
    kept = []
    for number, batch in enumerate(pool.batches(tasks(12))):
        if number % 3 == 0:
            kept.append((number, batch.values[1]))
        del batch
    # A part of a batch is enough to hold it.
    assert all((values == 4 * number + 1).all() for number, values in kept)
    in_slots = [values for _, values in kept if values.data_ptr() - 40_000 in places]
    assert len(in_slots) == 2
    del kept, in_slots
    gc.collect()
    assert len(pool._workers[0].free_slots) == 4


def test_a_batch_outlives_its_pool(faulty, pools):
    pool = pools(faulty.Reader(), workers=1)
    (batch,) = pool.batches(tasks(1))
    pool.close()
    assert batch.values[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_slots_grow_with_the_batches(faulty, pools):
    expected = contents(pools(faulty.Growing(), workers=0).batches(tasks(8)))
    assert contents(pools(faulty.Growing(), workers=1).batches(tasks(8))) == expected


def test_an_iteration_that_is_not_finished_does_not_disturb_the_next(faulty, pools):
    pool = pools(faulty.Reader({(6, 0): "slow"}), workers=1)
    expected = contents(pools(faulty.Reader(), workers=0).batches(tasks(5)))
    for stop in (1, 2, 3):
        list(itertools.islice(pool.batches(tasks(9)), stop))
        assert contents(pool.batches(tasks(5))) == expected


FAULTS = {
    (5, 0): ("sleep", "went on for more than 0.5 s"),
    (9, 0): ("hold_the_interpreter", "went on for more than 0.5 s"),
    (9, 1): ("abort", "by SIGABRT"),
    (10, 0): ("bad", "not a video"),
    (21, 0): ("segfault", "by SIGSEGV"),
}


def test_workers_that_hang_or_crash_are_replaced_and_the_run_goes_on(faulty, pools):
    reader = faulty.Reader({place: fault for place, (fault, _) in FAULTS.items()})
    pool = pools(reader)
    began = time.monotonic()
    found = list(pool.batches(tasks(8)))
    assert time.monotonic() - began < 200
    assert len(multiprocessing.active_children()) == 2
    assert len({pid for batch in found for pid in batch.pids}) >= 3
    errors = {(item, attempt): e for batch in found for item, attempt, e in batch.errors}
    assert errors.keys() == FAULTS.keys()
    assert all(text in errors[place] for place, (_, text) in FAULTS.items())
    # The same verdicts beforehand give the same batches, and no fault happens.
    again = tasks(8)
    for (item, attempt), error in errors.items():
        if item != 10:
            again[item // 4].verdicts[Place(item % 4, attempt)] = error
    plain = pools(reader, workers=0)
    assert contents(plain.batches(again)) == contents(found)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("size", "prefetch"), [(20_000, 8), (1, 400)])
def test_more_requests_than_a_pipe_holds_do_not_block(faulty, pools, size, prefetch):
    # The first worker hangs in its first file, and takes nothing out of its pipe meanwhile.
    pool = pools(faulty.Reader({(1 << 20, 0): "sleep"}, shape=(1,)), workers=1, prefetch=prefetch)
    asked = [
        Task(list(range(first, first + size)))
        for first in range(1 << 20, (1 << 20) + prefetch * size, size)
    ]
    found = list(pool.batches(asked))
    assert [batch.values[0].item() for batch in found[1:]] == [task.items[0] for task in asked[1:]]
    assert [(item, attempt) for item, attempt, _ in found[0].errors] == [(1 << 20, 0)]


@pytest.mark.slow
def test_one_sample_may_not_fail_for_ever(faulty, pools):
    faults = {(5, 0): "abort", (5, 1): "bad", (5, 2): "sleep"}
    with pytest.raises(DataError, match="3 attempts at 5"):
        list(pools(faulty.Reader(faults), workers=1).batches(tasks(3)))


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (lambda module: module.CrashingAtStart(), "by SIGABRT"),
        (lambda module: module.CrashingOutside(), "by SIGABRT"),
        (lambda module: module.Reader({(5, 0): "kill"}), "by SIGKILL"),
    ],
)
def test_a_death_that_no_file_explains_ends_the_run(faulty, pools, make, how):
    pool = pools(make(faulty), workers=1)
    with pytest.raises(DataError, match=rf"ended unexpectedly, {how}.*--data\.workers"):
        list(pool.batches(tasks(8)))


LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import faulty_readers
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Task
from vsalt.data.shared_memory import SharedArray
from vsalt.data.workers import WorkerPool
from vsalt.errors import DataError

if __name__ == "__main__":
    # Also a limit on the size of memory without a name.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    reader = faulty_readers.Reader(shape=(1 << 20,))
    pool = WorkerPool(reader, workers=1, prefetch=1, pin_memory=False, limits=ReadLimits())
    try:
        list(pool.batches([Task([1])]))
    except DataError as error:
        print(error)
    pool.close()
"""


def test_too_little_memory_is_an_error_with_numbers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LIMITED)
    words = [sys.executable, script, HERE / "spawned"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4.2 MB of memory that data workers share cannot be had (File too large)" in done.stdout
    assert "--data.workers" in done.stdout


@pytest.mark.parametrize("num_rows", [30_000, pytest.param(2_000_000, marks=pytest.mark.slow)])
def test_rows_are_shared_with_workers_not_copied(faulty, pools, num_rows):
    private, sent = {}, {}
    for size in (1000, num_rows):
        reader = faulty.Rows(size)
        pool = pools(reader, workers=1)
        (found,) = pool.batches([Task([size])])
        assert found.paths == [f"/videos/folder/{i:09d}.mp4" for i in (0, size // 2, size - 1)]
        assert found.drawn < size
        private[size] = found.private_bytes
        pool.close()
        sent[size] = len(sent_bytes(reader))
    # Each worker has looked at all rows: 24 bytes of order and 67 of table for each.
    assert private[num_rows] - private[1000] < 1e6
    assert sent[num_rows] < sent[1000] + 100 < 10_000


def sent_bytes(reader):
    """What a starting worker is sent, beside file descriptors."""

    class Starting:
        def duplicate_for_child(self, fd):
            return fd

        DupFd = staticmethod(lambda fd: fd)

    context.set_spawning_popen(Starting())
    try:
        return bytes(reduction.ForkingPickler.dumps(reader))
    finally:
        context.set_spawning_popen(None)


def test_shared_arrays_pickle_by_value_elsewhere():
    array = pickle.loads(pickle.dumps(SharedArray(np.arange(10))))
    assert array.values.tolist() == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        array.values[0] = 1


ORPHAN = """
import sys
sys.path.insert(0, sys.argv[1])
import faulty_readers
from vsalt.data.config import ReadLimits
from vsalt.data.jobs import Task
from vsalt.data.workers import WorkerPool

if __name__ == "__main__":
    reader = faulty_readers.Reader({(2, 0): "hold_the_interpreter"})
    pool = WorkerPool(reader, workers=1, prefetch=2, pin_memory=False, limits=ReadLimits())
    batches = pool.batches([Task([1]), Task([2])])
    print(next(batches).pids[0], flush=True)
    next(batches)
"""


def test_a_worker_that_hangs_dies_with_its_parent(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(ORPHAN)
    words = [sys.executable, script, HERE / "spawned"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        worker = Path("/proc", parent.stdout.readline().strip())
        time.sleep(0.5)
        # It has begun to hang: no thread of it is running.
        assert worker.exists()
        parent.kill()
    deadline = time.monotonic() + 20
    while running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(worker)


def running(process):
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
