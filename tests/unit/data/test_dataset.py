"""Samples against the parts they are made of, and what happens to unreadable files."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch

from vsalt.data.activity import Place
from vsalt.data.clip_table import ClipTable
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import (
    MAX_ATTEMPTS,
    ClipDataset,
    HeldOutClip,
    HoldoutDataset,
)
from vsalt.data.decode import Video
from vsalt.data.jobs import Job
from vsalt.data.manifest import Row
from vsalt.data.order import Order, OrderSource
from vsalt.data.sampling import clip_times, stretch
from vsalt.data.transforms import centre_view, random_view
from vsalt.data.types import BadFile, SampleKey
from vsalt.errors import DataError
from vsalt.masking.types import Mask
from vsalt.randomness import keyed_generator

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


def read(dataset, key):
    """The batch of one training sample."""
    return dataset.read([dataset.draw(key)], Job())


def test_samples_are_functions_of_the_seed_and_the_key(rows):
    keys = [SampleKey(step, position) for step in range(6) for position in range(4)]
    first = {key: read(make(rows), key) for key in keys}
    other = pickle.loads(pickle.dumps(make(rows)))
    for key in reversed(keys):
        again = read(other, key)
        assert torch.equal(again.clips, first[key].clips)
        assert (again.rows, again.bad_files) == (first[key].rows, first[key].bad_files)
        assert again.clips.shape == (1, 3, 4, 16, 16)
    different = make(rows, seed=1)
    assert any(not torch.equal(read(different, key).clips, first[key].clips) for key in keys[:4])


def test_a_clip_is_the_random_view_of_its_whole_frames(rows):
    dataset = make(rows)
    for step in range(4):
        key = SampleKey(step, 1)
        found = read(dataset, key)
        generator = keyed_generator("view", 0, *key, len(found.bad_files))
        row = rows[found.rows[0]]
        with Video(row.path) as video:
            part = stretch(video.info, start_s=row.start_s, end_s=row.end_s)
            frames = video.read(clip_times(CLIP, part, u=generator.random()))
        expected = random_view(
            frames,
            generator,
            size=(16, 16),
            crop_scale=(0.3, 1.0),
            crop_ratio=(0.75, 1.35),
            flip=0.5,
        )
        assert torch.equal(found.clips[0], expected)


def test_a_clip_is_looked_at_anew_in_every_pass(rows):
    dataset = make(rows, indices=[0])
    views = [read(dataset, SampleKey(step, 0)).clips for step in range(4)]
    assert not any(torch.equal(views[0], view) for view in views[1:])


def test_a_stretch_holds_all_frames_of_its_clips(rows, decode_all):
    dataset = make(rows, indices=[NUM_ROWS - 1], crop_scale=(1.0, 1.0), flip=0.0)
    inside = decode_all(rows[-1].path).frames[10:18]
    # A crop of the whole picture is impossible at a ratio below 1.35; compare mean colours.
    expected = [frame[:, 2:-2].mean() for frame in inside]
    for step in range(5):
        clip = read(dataset, SampleKey(step, 0)).clips[0].double()
        for frame in clip.unbind(1):
            assert min(abs(float(frame.mean()) - mean) for mean in expected) < 4.0


def test_unreadable_files_are_named_and_replaced_by_the_next_attempt(rows):
    dataset, order = make(rows), order_of(list(range(NUM_ROWS)))
    replaced = 0
    for step in range(9):
        for position in range(4):
            batch = read(dataset, SampleKey(step, position))
            tried = [
                order.row(step=step, position=position, batch_size=4, attempt=attempt)
                for attempt in range(MAX_ATTEMPTS)
            ]
            good = next(attempt for attempt, row in enumerate(tried) if row not in BAD)
            assert batch.rows == (tried[good],)
            assert [(bad.step, bad.position, bad.attempt, bad.path) for bad in batch.bad_files] == [
                (step, position, i, rows[tried[i]].path) for i in range(good)
            ]
            assert all(bad.path in bad.error for bad in batch.bad_files)
            replaced += good > 0
    assert replaced >= 6  # three passes over two bad files


def test_a_replacement_has_a_view_of_its_own(rows):
    class Fixed:
        def row(self, *, step, position, batch_size, attempt=0):
            return BAD[0] if attempt == 0 and step == 1 else 0

    dataset = make(rows)
    dataset._order = Fixed()
    plain, replacement = read(dataset, SampleKey(0, 0)), read(dataset, SampleKey(1, 0))
    assert replacement.bad_files
    assert plain.rows == replacement.rows == (0,)
    assert not torch.equal(plain.clips, replacement.clips)


def test_too_many_unreadable_files_in_a_row_are_an_error(rows):
    with pytest.raises(DataError, match=r"8 clips in a row .* step 5, position 2.*mp4"):
        read(make(rows, indices=BAD), SampleKey(5, 2))


def test_held_out_samples_are_the_middle_of_their_clips(rows, decode_all):
    steps = []

    def draw_masks(step, position, clip):
        steps.append((step, position))
        return ()

    dataset = held_out(rows, draw_masks)
    for position, row in enumerate((5, 2)):
        batch = dataset.read([HeldOutClip(SampleKey(-1, position), row)], Job())
        # Of 20 frames the window has 8, so its middle place starts at 6 of 0 … 12.
        middle = np.stack([decode_all(rows[row].path).frames[i] for i in (6, 8, 10, 12)])
        assert batch.rows == (row,)
        assert torch.equal(batch.clips[0], centre_view(middle, size=(16, 16)))
    assert steps == [(-1, 0), (-1, 1)]


def held_out(rows, draw_masks=None):
    return HoldoutDataset(
        table=ClipTable(rows), clip=CLIP, data=DataConfig(), seed=0, draw_masks=draw_masks
    )


def test_held_out_files_that_cannot_be_read_are_zeros_and_named(rows):
    wanted = [HeldOutClip(SampleKey(-1, i), row, tries=3) for i, row in enumerate((2, BAD[0], 4))]
    batch = held_out(rows).read(wanted, Job())
    assert batch.rows == (2, BAD[0], 4)
    assert [bool(clip.any()) for clip in batch.clips] == [True, False, True]
    (bad,) = batch.bad_files
    assert bad[:4] == (-1, 1, 0, rows[BAD[0]].path)


@pytest.mark.parametrize(("tries", "good"), [(1, False), (2, False), (3, True)])
def test_held_out_files_that_time_out_are_tried_again(rows, tries, good):
    verdicts = {Place(1, 0): "too slow", Place(1, 1): "still too slow"}
    wanted = [HeldOutClip(SampleKey(-1, 5), 2), HeldOutClip(SampleKey(-1, 6), 4, tries)]
    batch = held_out(rows).read(wanted, Job(verdicts))
    assert bool(batch.clips[1].any()) is good
    last = BadFile(-1, 6, tries - 1, rows[4].path, verdicts.get(Place(1, tries - 1)), True)
    assert batch.bad_files == (() if good else (last,))


def test_a_verdict_is_a_time_out_without_a_look_at_the_file(rows):
    dataset = make(rows)
    keys = [SampleKey(0, position) for position in range(4)]
    drawn = [dataset.draw(key) for key in keys]
    batch = dataset.read(drawn, Job({Place(2, 0): "too slow"}))
    usual = dataset.read(drawn, Job())
    assert batch.rows[:2] + batch.rows[3:] == usual.rows[:2] + usual.rows[3:]
    replacement = order_of(range(NUM_ROWS)).row(step=0, position=2, batch_size=4, attempt=1)
    assert batch.rows[2] == replacement
    bad = next(bad for bad in batch.bad_files if bad.position == 2)
    assert bad == BadFile(0, 2, 0, rows[drawn[2].row].path, "too slow", timed_out=True)


def test_batches_are_stacked_in_order(rows):
    def draw_masks(step, position, clip):
        ids = np.arange(5) + position
        return Mask(ids[:3], ids), Mask(ids[:2], ids[:4])

    dataset = make(rows)
    dataset._draw_masks = draw_masks
    drawn = [dataset.draw(SampleKey(3, position)) for position in (1, 0)]
    batch = dataset.read(drawn, Job())
    # The channels of a pixel are neighbours.
    assert batch.clips.permute(0, 2, 3, 4, 1).is_contiguous()
    for i, position in enumerate((1, 0)):
        assert torch.equal(batch.clips[i], read(dataset, SampleKey(3, position)).clips[0])
    assert [mask.context.tolist() for mask in batch.masks] == [
        [[1, 2, 3], [0, 1, 2]],
        [[1, 2], [0, 1]],
    ]
    assert batch.masks[0].targets.tolist()[0] == [1, 2, 3, 4, 5]


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


def test_still_clips_are_one_frame_of_the_clip_drawn_by_key(rows):
    clips = make(rows)
    still = ClipDataset(
        table=ClipTable(rows),
        order=order_of(range(NUM_ROWS)),
        batch_size=4,
        clip=CLIP,
        data=DataConfig(),
        seed=0,
        still=True,
    )
    shown = []
    for step in range(12):
        key = SampleKey(step, 2)
        moving, held = read(clips, key).clips[0], read(still, key).clips[0]
        assert all(torch.equal(frame, held[:, 0]) for frame in held.unbind(1))
        (index,) = [n for n in range(4) if torch.equal(moving[:, n], held[:, 0])]
        expected = keyed_generator("still", 0, *key).integers(4)
        assert index == expected
        shown.append(index)
    assert {*shown} == {0, 1, 2, 3}

    middle = held_out_clip(rows, still=False)
    fixed = held_out_clip(rows, still=True)
    assert any(torch.equal(fixed, middle[:, [n]].expand(-1, 4, -1, -1)) for n in range(4))


def held_out_clip(rows, *, still):
    dataset = HoldoutDataset(
        table=ClipTable(rows), clip=CLIP, data=DataConfig(), seed=0, still=still
    )
    return dataset.read([HeldOutClip(SampleKey(dataset.step, 0), 5)], Job()).clips[0]
