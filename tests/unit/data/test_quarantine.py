import json

import pytest
import torch

from vsalt.data.quarantine import MIN_READS, Quarantine, ReadCounts
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.errors import DataError, RunFolderError


def batch(size, bad=()):
    clips = torch.zeros(size, 3, 2, 4, 4, dtype=torch.uint8)
    return Batch(clips=clips, masks=(), rows=tuple(range(size)), bad_files=tuple(bad))


def bad(step, path, position=0, attempt=0, error="no"):
    return BadFile(step, position, attempt, path, error)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_file_is_written_once_and_counted_always(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, max_bad_share=1.0)
    quarantine.record(batch(4))
    assert not path.exists()
    quarantine.record(batch(4, [bad(1, "a", position=2, error="first"), bad(1, "b")]))
    quarantine.record(batch(4, [bad(3, "a", error="second")]))
    assert lines(path) == [
        {"step": 1, "position": 2, "attempt": 0, "path": "a", "error": "first", "timed_out": False},
        {"step": 1, "position": 0, "attempt": 0, "path": "b", "error": "no", "timed_out": False},
    ]
    assert quarantine.counts == ReadCounts(reads=12 + 3, bad=3)


def test_too_large_a_share_stops_the_run_but_not_at_once(tmp_path):
    quarantine = Quarantine(tmp_path / "q.jsonl", max_bad_share=0.05)
    quarantine.record(batch(40, [bad(0, f"f{i}") for i in range(10)]))
    quarantine.record(batch(MIN_READS - 51))
    assert quarantine.counts.reads == MIN_READS - 1
    with pytest.raises(DataError, match=r"10 of 100 clips .*max-bad-share 0\.05"):
        quarantine.record(batch(1))


def test_exactly_the_share_is_allowed(tmp_path):
    quarantine = Quarantine(tmp_path / "q.jsonl", max_bad_share=0.01)
    quarantine.record(batch(99, [bad(0, "a")]))
    with pytest.raises(DataError, match="2 of 102"):
        quarantine.record(batch(1, [bad(1, "a")]))


def test_resuming_equals_not_having_stopped(tmp_path):
    undisturbed = Quarantine(tmp_path / "one.jsonl", max_bad_share=1.0)
    batches = [batch(4, [bad(step, f"f{step % 4}"), bad(step, f"g{step}")]) for step in range(8)]
    for one in batches:
        undisturbed.record(one)
    path = tmp_path / "two.jsonl"
    first = Quarantine(path, max_bad_share=1.0)
    for one in batches[:3]:
        first.record(one)
    counts = first.counts
    for one in batches[3:6]:
        first.record(one)
    with path.open("a") as file:
        file.write('{"step": 6, "posi')  # killed while writing
    resumed = Quarantine(path, max_bad_share=1.0, counts=counts)
    resumed.cut(3)
    assert [line["step"] for line in lines(path)] == [0, 0, 1, 1, 2, 2]
    for one in batches[3:]:
        resumed.record(one)
    assert path.read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    assert resumed.counts == undisturbed.counts


def slow(step, path, position=0, attempt=0):
    return BadFile(step, position, attempt, path, f"{path} was slow", timed_out=True)


def test_every_time_out_is_written_once_and_known_again(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, max_bad_share=1.0)
    found = [slow(1, "a"), slow(1, "b", attempt=1), slow(2, "a", position=3), bad(2, "a")]
    quarantine.record(batch(4, [*found, found[0]]))
    assert [BadFile(**line) for line in lines(path)] == found
    assert quarantine.counts == ReadCounts(reads=4 + 5, bad=5)
    expected = {
        SampleKey(1, 0): {0: "a was slow", 1: "b was slow"},
        SampleKey(2, 3): {0: "a was slow"},
    }
    assert quarantine.verdicts() == expected
    assert Quarantine(path, max_bad_share=1.0).verdicts() == expected


def test_time_outs_outlive_a_cut_and_are_not_written_twice(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    first = Quarantine(path, max_bad_share=1.0)
    held_out = slow(-1, "h", position=4)
    first.note(held_out)
    later = [slow(5, "a"), bad(5, "b"), slow(6, "c", position=2)]
    first.record(batch(4, [bad(2, "x"), *later]))
    resumed = Quarantine(path, max_bad_share=1.0, counts=ReadCounts())
    resumed.cut(3)
    assert [line["path"] for line in lines(path)] == ["h", "x", "a", "c"]
    assert set(resumed.verdicts()) == {SampleKey(-1, 4), SampleKey(5, 0), SampleKey(6, 2)}
    resumed.record(batch(4, later))
    assert sorted(line["path"] for line in lines(path)) == ["a", "b", "c", "h", "x"]
    assert resumed.counts == ReadCounts(reads=4 + 3, bad=3)


def test_held_out_clips_are_written_one_by_one_also_of_one_file(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    quarantine = Quarantine(path, max_bad_share=1.0)
    found = [bad(-1, "a", position=2), bad(-1, "a", position=5), bad(-2, "b", position=1)]
    for record in (*found, *found, bad(3, "c", position=7)):
        quarantine.note(record)
    assert len(lines(path)) == 4
    quarantine.cut(0)
    for known in (quarantine, Quarantine(path, max_bad_share=1.0)):
        assert (known.positions(-1), known.positions(-2)) == ({2, 5}, {1})


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    Quarantine(path, max_bad_share=1.0).record(batch(4, [bad(1, "a")]))
    whole = path.read_bytes()
    for damage in (b"nonsense\n", b'{"path": "b"}\n', b"\xff\n", b"[]\n"):
        path.write_bytes(whole + damage)
        with pytest.raises(RunFolderError, match="damaged in line 2"):
            Quarantine(path, max_bad_share=1.0)
