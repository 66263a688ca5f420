"""Several views of each decoded clip: what they share, what they do not, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vsalt.config import StageConfig, repeat_problems
from vsalt.data import dataset as dataset_module
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.crop_box import CropBox, bounding_box
from vsalt.data.dataset import ClipDataset
from vsalt.data.decode import Video
from vsalt.data.jobs import Job
from vsalt.data.loader import ClipLoader
from vsalt.data.sampling import clip_times, stretch
from vsalt.data.transforms import random_view
from vsalt.data.types import Batch, SampleKey
from vsalt.errors import ConfigError
from vsalt.randomness import keyed_generator
from vsalt.training.config import LoopConfig
from vsalt.training.division import Division, divide_stage

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))
HERE = Path(__file__).parent
NUM_GOOD = 10
BATCH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for index in range(NUM_GOOD):
        write_video(folder / f"{index}.mp4", seed=index, num_frames=16)
    (folder / "bad.mp4").write_text("not a video")
    return folder


@pytest.fixture
def draw_masks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(HERE / "spawned")
    import clip_masks

    return clip_masks.draw_masks


def make(folder: Path, repeats: int, draw_masks=None, cache=None) -> ClipDataset:
    data = DataConfig(sources=(str(folder),), holdout=0.0, repeats=repeats)
    catalogue = Catalogue.load(data, seed=0)
    return ClipDataset(
        table=catalogue.table(),
        order=catalogue.order(0),
        batch_size=BATCH,
        clip=CLIP,
        data=data,
        seed=0,
        draw_masks=draw_masks,
    )


def read(dataset: ClipDataset, step: int) -> Batch:
    """A whole step."""
    keys = [SampleKey(step, position) for position in range(0, BATCH, dataset.repeats)]
    return dataset.read([dataset.draw(key) for key in keys], Job())


@pytest.mark.parametrize("repeats", [2, 4])
def test_every_view_is_cut_from_the_same_frames(folder: Path, repeats: int) -> None:
    dataset = make(folder, repeats)
    for step in range(3):
        batch = read(dataset, step)
        attempts = {bad.position: bad.attempt + 1 for bad in batch.bad_files}
        for position, (clip, row) in enumerate(zip(batch.clips, batch.rows, strict=True)):
            first = position - position % repeats
            attempt = attempts.get(first, 0)
            leader = keyed_generator("view", 0, step, first, attempt)
            own = keyed_generator("view", 0, step, position, attempt)
            with Video(dataset._table[row].media) as video:
                times_s = clip_times(CLIP, stretch(video.info), u=leader.random())
                frames = video.read(times_s)
            own.random()
            ranges = {"crop_scale": (0.3, 1.0), "crop_ratio": (0.75, 1.35), "flip": 0.5}
            assert torch.equal(clip, random_view(frames, own, size=CLIP.size, **ranges))


def test_views_and_masks_differ_and_rows_do_not(folder: Path, draw_masks) -> None:
    batch = read(make(folder, 2, draw_masks), 1)
    assert batch.clips.shape == (BATCH, 3, 4, 16, 16)
    assert batch.rows[0::2] == batch.rows[1::2]
    assert len(set(batch.rows)) == BATCH // 2
    for one, two in zip(batch.clips[0::2], batch.clips[1::2], strict=True):
        assert not torch.equal(one, two)
    (masks, *_) = batch.masks
    assert not torch.equal(masks.context[0::2], masks.context[1::2])


def test_a_clip_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []

    class Counted(Video):
        def read(self, *args, **options):
            reads.append(self.info.path)
            return super().read(*args, **options)

    monkeypatch.setattr(dataset_module, "Video", Counted)
    found = {}
    for repeats in (1, 2, 4):
        reads.clear()
        batches = [read(make(folder, repeats), step) for step in range(3)]
        assert len(reads) == 3 * BATCH // repeats
        # One pass over the clips is as many reads, whatever is made of them.
        assert sum(batch.num_reads - len(batch.bad_files) for batch in batches) == len(reads)
        found[repeats] = reads.copy()
    assert found[1][: len(found[4])] == found[4]


def test_a_bad_file_is_replaced_for_all_views_and_counted_once(folder: Path) -> None:
    bad = [(step, batch) for step in range(4) if (batch := read(make(folder, 2), step)).bad_files]
    assert bad
    for step, batch in bad:
        (file,) = batch.bad_files
        assert (file.step, file.position % 2, Path(file.path).name) == (step, 0, "bad.mp4")
        assert batch.rows[file.position] == batch.rows[file.position + 1]
        assert batch.num_reads == BATCH // 2 + 1


def test_micro_batches_and_processes_change_nothing(folder: Path, draw_masks) -> None:
    dataset = make(folder, 2, draw_masks)

    def steps(micro: int, world: int, start: int = 0) -> list[torch.Tensor]:
        found: dict[int, list[torch.Tensor]] = {}
        for rank in range(world):
            with ClipLoader(
                dataset,
                start=start,
                stop=2,
                batch_size=BATCH,
                micro_batch_size=micro,
                rank=rank,
                world_size=world,
            ) as loader:
                for item in loader:
                    parts = [item.batch.clips, *(mask.context for mask in item.batch.masks)]
                    flat = torch.cat([part.flatten(1).long() for part in parts], dim=1)
                    found.setdefault(item.step, []).append(flat)
        return [torch.cat(parts) for parts in found.values()]

    whole = steps(BATCH, 1)
    assert [len(step) for step in whole] == [BATCH, BATCH]
    for other in (steps(2, 1), steps(4, 2), steps(2, 4)):
        assert all(map(torch.equal, other, whole))
    (later,) = steps(4, 2, start=1)
    assert torch.equal(later, whole[1])
    with pytest.raises(ConfigError, match=r"must be a multiple of data\.repeats"):
        ClipLoader(dataset, start=0, stop=1, batch_size=BATCH, micro_batch_size=1)


def test_what_does_not_fit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match=r"data\.repeats is 0; it must be at least 1"):
        DataConfig(repeats=0)
    with pytest.raises(ConfigError, match="cached targets, have times of their own"):
        DataConfig(repeats=2, views=3)
    loop = LoopConfig(batch_size=24, micro_batch_size=4).resolved()
    stage = replace(StageConfig(), loop=loop)
    assert repeat_problems(stage, 2) == repeat_problems(stage, 4) == []
    (problem,) = repeat_problems(stage, 3, "student.")
    assert "give --student.loop.micro-batch-size 6" in problem
    (problem,) = repeat_problems(replace(stage, loop=LoopConfig(batch_size=9).resolved()), 2)
    assert "give --batch-size 10" in problem
    assert divide_stage(stage, 3, repeats=4) == Division(8, 4)
    with pytest.raises(ConfigError, match="start a number of processes that leaves each a mult"):
        divide_stage(stage, 12, repeats=4)


def test_a_bounding_box_holds_all_and_no_more() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        boxes = [CropBox(*map(int, random.integers(1, 30, 4))) for _ in range(3)]
        picture = np.zeros((64, 64), dtype=bool)
        for box in boxes:
            picture[box.top : box.top + box.height, box.left : box.left + box.width] = True
        rows, columns = np.flatnonzero(picture.any(1)), np.flatnonzero(picture.any(0))
        whole = bounding_box(boxes)
        assert whole == (
            *(rows[0], columns[0]),
            *(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1),
        )
        assert boxes[0].within(whole) == (
            *(boxes[0].top - whole.top, boxes[0].left - whole.left),
            *boxes[0][2:],
        )
