"""Samples against the parts they are made of, and what happens to unreadable files."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

from vsalt.data.clip_table import ClipTable
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import (
    MAX_ATTEMPTS,
    ClipDataset,
    Failure,
    HoldoutDataset,
    Sample,
    collate,
)
from vsalt.data.manifest import Row
from vsalt.data.order import Order, OrderSource
from vsalt.data.transforms import centre_view
from vsalt.data.types import SampleKey
from vsalt.errors import DataError
from vsalt.masking.types import Mask

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))
NUM_ROWS = 12
BAD = (3, 7)


@pytest.fixture(scope="module")
def rows(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("videos")
    made = []
    for index in range(NUM_ROWS):
        path = folder / f"{index}.mp4"
        if index in BAD:
            path.write_text("not a video")
        else:
            write_video(path, seed=index, num_frames=20)
        # The last row is a stretch of its video.
        bounds = {"start_s": 1.0, "end_s": 1.8} if index == NUM_ROWS - 1 else {}
        made.append(Row(path=str(path), relative_path=path.name, source=0, columns={}, **bounds))
    return made


def order_of(indices, seed=0):
    source = OrderSource(rows=np.array(indices, dtype=np.int64), share=Fraction(1))
    return Order(seed=seed, sources=[source])


def make(rows, indices=range(NUM_ROWS), seed=0, **options):
    return ClipDataset(
        table=ClipTable(rows),
        order=order_of(list(indices), seed),
        batch_size=4,
        clip=CLIP,
        data=DataConfig(**options),
        seed=seed,
    )


def test_samples_are_functions_of_the_seed_and_the_key(rows):
    keys = [SampleKey(step, position) for step in range(6) for position in range(4)]
    first = {key: make(rows)[key] for key in keys}
    other = pickle.loads(pickle.dumps(make(rows)))
    for key in reversed(keys):
        again = other[key]
        assert torch.equal(again.clip, first[key].clip)
        assert (again.row, again.bad_files) == (first[key].row, first[key].bad_files)
        assert again.clip.shape == (3, 4, 16, 16)
    different = make(rows, seed=1)
    assert any(not torch.equal(different[key].clip, first[key].clip) for key in keys[:4])


def test_a_clip_is_looked_at_anew_in_every_pass(rows):
    dataset = make(rows, indices=[0])
    views = [dataset[SampleKey(step, 0)].clip for step in range(4)]
    assert not any(torch.equal(views[0], view) for view in views[1:])


def test_a_stretch_holds_all_frames_of_its_clips(rows, decode_all):
    dataset = make(rows, indices=[NUM_ROWS - 1], crop_scale=(1.0, 1.0), flip=0.0)
    inside = decode_all(rows[-1].path).frames[10:18]
    # A crop of the whole picture is impossible at a ratio below 1.35; compare mean colours.
    expected = [frame[:, 2:-2].mean() for frame in inside]
    for step in range(5):
        clip = dataset[SampleKey(step, 0)].clip.double()
        for frame in clip.unbind(1):
            assert min(abs(float(frame.mean()) - mean) for mean in expected) < 4.0


def test_unreadable_files_are_named_and_replaced_by_the_next_attempt(rows):
    dataset, order = make(rows), order_of(list(range(NUM_ROWS)))
    replaced = 0
    for step in range(9):
        for position in range(4):
            sample = dataset[SampleKey(step, position)]
            tried = [
                order.row(step=step, position=position, batch_size=4, attempt=attempt)
                for attempt in range(MAX_ATTEMPTS)
            ]
            good = next(attempt for attempt, row in enumerate(tried) if row not in BAD)
            assert sample.row == tried[good]
            assert [
                (bad.step, bad.position, bad.attempt, bad.path) for bad in sample.bad_files
            ] == [(step, position, i, rows[tried[i]].path) for i in range(good)]
            assert all(bad.path in bad.error for bad in sample.bad_files)
            replaced += good > 0
    assert replaced >= 6  # three passes over two bad files


def test_a_replacement_has_a_view_of_its_own(rows):
    class Fixed:
        def row(self, *, step, position, batch_size, attempt=0):
            return BAD[0] if attempt == 0 and step == 1 else 0

    dataset = make(rows)
    dataset._order = Fixed()
    plain, replacement = dataset[SampleKey(0, 0)], dataset[SampleKey(1, 0)]
    assert replacement.bad_files
    assert plain.row == replacement.row == 0
    assert not torch.equal(plain.clip, replacement.clip)


def test_too_many_unreadable_files_in_a_row_are_an_error(rows):
    with pytest.raises(DataError, match=r"8 clips in a row .* step 5, position 2.*mp4"):
        make(rows, indices=BAD)[SampleKey(5, 2)]
    failure = make(rows, indices=BAD).__getitems__([SampleKey(5, 2)])
    assert isinstance(failure, Failure)
    assert failure.kind is DataError
    assert collate(failure) is failure


def test_held_out_samples_are_the_middle_of_their_clips(rows, decode_all):
    steps = []

    def draw_masks(step, position, clip):
        steps.append((step, position))
        return ()

    dataset = HoldoutDataset(
        table=ClipTable(rows), rows=[5, 2], clip=CLIP, data=DataConfig(), seed=0,
        draw_masks=draw_masks,
    )  # fmt: skip
    assert len(dataset) == 2
    for position, row in enumerate((5, 2)):
        sample = dataset[SampleKey(-1, position)]
        # Of 20 frames the window has 8, so its middle place starts at 6 of 0 … 12.
        middle = np.stack([decode_all(rows[row].path).frames[i] for i in (6, 8, 10, 12)])
        assert sample.row == row
        assert torch.equal(sample.clip, centre_view(middle, size=(16, 16)))
    assert steps == [(-1, 0), (-1, 1)]


def test_held_out_files_that_cannot_be_read_are_told_apart_and_never_replaced(rows):
    dataset = HoldoutDataset(
        table=ClipTable(rows), rows=[BAD[0], 2, 4], clip=CLIP, data=DataConfig(), seed=0
    )
    found = [dataset.try_read(position) for position in range(3)]
    assert [bad is None for bad in found] == [False, True, True]
    assert found[0].step == -1
    assert found[0].path == rows[BAD[0]].path
    with pytest.raises(DataError, match="could be read before"):
        dataset[SampleKey(-1, 0)]


def test_collate_stacks_in_order(rows):
    def sample(index):
        masks = (
            Mask(np.arange(3) + index, np.arange(5) + index),
            Mask(np.arange(2) + index, np.arange(4) + index),
        )
        return Sample(torch.full((3, 2, 4, 4), index, dtype=torch.uint8), masks, index, ())

    batch = collate([sample(4), sample(9)])
    assert batch.rows == (4, 9)
    assert batch.clips.is_contiguous()
    assert batch.clips[:, 0, 0, 0, 0].tolist() == [4, 9]
    assert [mask.context.tolist() for mask in batch.masks] == [
        [[4, 5, 6], [9, 10, 11]],
        [[4, 5], [9, 10]],
    ]
    assert batch.masks[0].targets.tolist()[1] == [9, 10, 11, 12, 13]


def test_a_table_gives_back_its_rows():
    rows = [
        Row(path="/a/b.mp4", relative_path="b.mp4", source=0, columns={}),
        Row(path="/ä/\udcff.mp4", relative_path="c", source=0, start_s=0.0, end_s=2.5, columns={}),
    ]
    table = pickle.loads(pickle.dumps(ClipTable(rows)))
    assert [tuple(table[i]) for i in range(len(table))] == [
        (row.media, row.start_s, row.end_s) for row in rows
    ]
    with pytest.raises(IndexError):
        table[2]
