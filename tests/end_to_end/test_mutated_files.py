"""Damaged files, hundreds of them by seed: refused one by one, and no crash, hang or leak."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from support import mutate
from support.processes import children
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig, ReadLimits
from vsalt.data.dataset import ClipDataset
from vsalt.data.loader import ClipLoader, MicroBatch

READ_EACH = Path(mutate.__file__).with_name("read_each.py")
CLIP = ClipConfig(num_frames=8, frame_step=2, size=(32, 32))
BATCH_SIZE, MICRO_BATCH_SIZE = 8, 4
HANG_S = 120
# A damaged count or size makes FFmpeg fill memory; the worst of 20 thousand files took 1.8 GB.
MOST_MEMORY = 3 << 30

few_and_many = pytest.mark.parametrize(
    "count",
    [
        pytest.param(40, marks=pytest.mark.timeout(HANG_S)),
        pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(4 * HANG_S)]),
    ],
)


class Mixture(NamedTuple):
    """A folder of sound and damaged files."""

    folder: Path
    good: frozenset[str]
    damaged: frozenset[str]


def read_each(folder: Path, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What became of each file, all read by one process."""
    listed, results = folder / "listed.txt", folder / "results.jsonl"
    listed.write_text("".join(f"{path}\n" for path in paths))
    done = subprocess.run(
        [sys.executable, READ_EACH, listed, results, str(HANG_S)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert done.returncode == 0, f"died in {lines[-1]['path']}: {done.stderr}"
    return [line for line in lines if "error" in line]


def check_outcomes(outcomes: list[dict[str, Any]], good: Sequence[Path]) -> None:
    sound = {str(path) for path in good}
    for outcome in outcomes:
        assert not outcome["defect"], (outcome["path"], outcome["defect"])
        if outcome["path"] in sound:
            assert outcome["error"] is None
        if outcome["error"] is None:
            assert outcome["shape"][0] == 8
            assert outcome["shape"][3] == 3
        else:
            # The message names the file and says something of it.
            assert outcome["error"].startswith(outcome["path"])
            assert len(outcome["error"]) > len(outcome["path"]) + 5
        assert outcome["rss"] < MOST_MEMORY, outcome


@few_and_many
def test_each_file_alone(tmp_path: Path, count: int) -> None:
    good = mutate.write_videos(tmp_path / "videos") + mutate.write_images(tmp_path / "images")
    mutants = mutate.write_mutants(tmp_path / "damaged", good, count=count)
    outcomes = read_each(tmp_path, [*good, *(mutant.path for mutant in mutants)])
    assert len(outcomes) == len(good) + count
    check_outcomes(outcomes, good)
    refused = sum(outcome["error"] is not None for outcome in outcomes)
    assert count / 4 < refused < 3 * count / 4


@pytest.mark.slow
@pytest.mark.timeout(4 * HANG_S)
def test_each_real_file_alone(test_data: Path, tmp_path: Path) -> None:
    listed = sorted((test_data / "decode_tests").iterdir())
    videos = [path for path in listed if path.suffix != ".md"]
    mutants = mutate.write_mutants(tmp_path / "damaged", videos, count=200, seed=1)
    outcomes = read_each(tmp_path, [mutant.path for mutant in mutants])
    assert len(outcomes) == 200
    check_outcomes(outcomes, [])


def mix(folder: Path, count: int) -> Mixture:
    """Damaged files, and so many sound ones that a replacement is soon found."""
    bases = mutate.write_videos(folder / "bases")
    mutants = mutate.write_mutants(folder / "mixture", bases, count=count)
    good = [
        folder / "mixture" / f"good-{i}{bases[i % len(bases)].suffix}" for i in range(2 * count)
    ]
    for number, path in enumerate(good):
        shutil.copyfile(bases[number % len(bases)], path)
    damaged = frozenset(str(mutant.path) for mutant in mutants)
    return Mixture(folder / "mixture", frozenset(map(str, good)), damaged)


def read_all(mixture: Mixture, workers: int) -> tuple[list[MicroBatch], list[str]]:
    """One pass over all files, and the file of each row."""
    data = DataConfig(
        sources=(str(mixture.folder),),
        holdout=0.0,
        max_bad_share=1.0,
        workers=workers,
        limits=ReadLimits(timeout_s=5.0),
    )
    catalogue = Catalogue.load(data, seed=0)
    dataset = ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(0),
        batch_size=BATCH_SIZE,
        clip=CLIP,
        data=data,
        seed=0,
    )
    stop = -(-len(catalogue.rows) // BATCH_SIZE)
    with ClipLoader(
        dataset,
        start=0,
        stop=stop,
        batch_size=BATCH_SIZE,
        micro_batch_size=MICRO_BATCH_SIZE,
        workers=workers,
    ) as loader:
        items = [copied(item) for item in loader]
    return items, [row.path for row in catalogue.rows]


def copied(item: MicroBatch) -> MicroBatch:
    """A loader may use a batch's memory again."""
    batch = item.batch
    return item._replace(batch=type(batch)(batch.clips.clone(), (), batch.rows, batch.bad_files))


def timed_out(item: MicroBatch) -> bool:
    return any(bad.timed_out for bad in item.batch.bad_files)


@few_and_many
def test_a_loader_outlives_them(tmp_path: Path, count: int) -> None:
    mixture = mix(tmp_path, count)
    items, paths = read_all(mixture, workers=2)
    assert not children()
    tried: set[str] = set()
    for item in items:
        assert item.batch.clips.shape == (MICRO_BATCH_SIZE, 3, 8, 32, 32)
        assert item.batch.clips.dtype == torch.uint8
        assert len(item.batch.rows) == MICRO_BATCH_SIZE
        tried |= {paths[row] for row in item.batch.rows}
        for bad in item.batch.bad_files:
            assert bad.path in mixture.damaged
            assert bad.path in bad.error
            assert len(bad.error) > len(bad.path) + 5
            tried.add(bad.path)
    assert tried == mixture.damaged | mixture.good
    alone, _ = read_all(mixture, workers=0)
    for one, other in zip(items, alone, strict=True):
        assert (one.step, one.part) == (other.step, other.part)
        # How long a file takes may differ from run to run; nothing else may.
        if not timed_out(one) and not timed_out(other):
            assert one.batch.rows == other.batch.rows
            assert one.batch.bad_files == other.batch.bad_files
            assert torch.equal(one.batch.clips, other.batch.clips)


def test_damage_is_a_function_of_the_seed(tmp_path: Path) -> None:
    bases = mutate.write_videos(tmp_path / "bases")
    one, again, other = (
        mutate.write_mutants(tmp_path / name, bases, count=46, seed=seed)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    contents = [[mutant.path.read_bytes() for mutant in made] for made in (one, again, other)]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert {mutant.mutation for mutant in one} == set(mutate.MUTATIONS)
    whole = {path.name: path.read_bytes() for path in bases}
    unchanged = [mutant for mutant in one if mutant.path.read_bytes() == whole[mutant.base]]
    # A field may have been at its extreme before.
    assert len(unchanged) <= 6
    assert any(mutant.mutation == "wrong_suffix" for mutant in unchanged)
