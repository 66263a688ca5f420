"""Which steps are of images, against counting; and images as clips, against the parts."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.pictures import write_png
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.dataset import ClipDataset, HeldOutClip, HoldoutDataset, ImageClips
from vsalt.data.jobs import Job
from vsalt.data.shapes_by_step import StepShapes, image_share
from vsalt.data.transforms import centre_view, random_view
from vsalt.data.types import SampleKey
from vsalt.masking.types import Mask
from vsalt.randomness import keyed_generator

shares = st.fractions(min_value=0, max_value=1, max_denominator=40)
CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))


@given(share=shares, start=st.integers(0, 10**12), length=st.integers(1, 200))
def test_any_stretch_of_steps_has_the_share_of_images_to_within_one(share, start, length):
    shapes = StepShapes(share)
    found = [shapes.at(step) for step in range(start, start + length)]
    assert abs(found.count("image") - share * length) < 1 or share in (0, 1)
    assert set(found) <= set(shapes.shapes)


@given(share=shares)
def test_steps_before_are_those_that_were_counted(share):
    shapes, seen = StepShapes(share), {"video": 0, "image": 0}
    for step in range(90):
        assert {shape: shapes.before(step, shape) for shape in seen} == seen
        seen[shapes.at(step)] += 1


@given(share=shares, every=st.integers(1, 12), num_steps=st.integers(1, 80))
def test_every_shape_has_its_own_turns_and_its_last_step(share, every, num_steps):
    shapes = StepShapes(share)
    for shape in shapes.shapes:
        steps = [step for step in range(num_steps) if shapes.at(step) == shape]
        expected = {*steps[every - 1 :: every], *steps[-1:]}
        assert {step for step in steps if shapes.due(step, every, num_steps)} == expected


def test_without_images_turns_are_those_of_all_steps():
    for step in range(50):
        assert StepShapes().due(step, 7, 50) == ((step + 1) % 7 == 0 or step == 49)


def test_a_share_beyond_the_whole_is_our_mistake():
    with pytest.raises(ValueError, match="from 0 to 1"):
        StepShapes(Fraction(3, 2))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    """Pictures of noise, wider than high."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    return [
        write_png(folder / f"{index}.png", noise.integers(0, 256, (24, 36, 3), dtype=np.uint8))
        for index in range(12)
    ]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory, pictures, write_video) -> tuple[str, str]:
    """A source of 10 videos, and one of 6 videos and 12 images in turn."""
    folder = tmp_path_factory.mktemp("mixed")
    videos = [write_video(folder / f"{i}.mp4", seed=i, num_frames=12) for i in range(16)]
    first, second = folder / "videos.csv", folder / "both.csv"
    first.write_text("\n".join(["path", *map(str, videos[:10])]) + "\n")
    mixed = [path for i in range(6) for path in (pictures[i], videos[10 + i], pictures[6 + i])]
    second.write_text("\n".join(["path", *map(str, mixed)]) + "\n")
    return str(first), str(second)


def load(sources, **options) -> Catalogue:
    return Catalogue.load(DataConfig(sources=tuple(sources), **options), seed=0)


def test_a_source_of_both_kinds_is_two(manifests):
    first, second = manifests
    catalogue = load([f"{first}@1", f"{second}@3"], holdout=0.0)
    found = [(part.source, part.shape, len(part.rows), part.share) for part in catalogue.parts]
    assert found == [(0, "video", 10, 1), (1, "video", 6, 1), (1, "image", 12, 2)]
    assert catalogue.shapes == StepShapes(Fraction(2, 4))
    assert load([first, second], holdout=0.0).shapes == StepShapes(Fraction(12, 28))
    assert load([first], holdout=0.0).shapes == StepShapes(Fraction(0))
    assert image_share([("image", Fraction(2)), ("image", Fraction(5))]) == 1


def test_steps_draw_rows_of_their_shape_only(manifests):
    catalogue = load(manifests, holdout=0.0)
    order = catalogue.order(0)
    seen = {"video": [], "image": []}
    for step in range(28):
        rows = [order.row(step=step, position=i, batch_size=4) for i in range(4)]
        assert {catalogue.rows[row].is_image for row in rows} == {order.shapes.at(step) == "image"}
        seen[order.shapes.at(step)] += rows
    # 112 clips of 28 rows: every row comes four times, images and videos alike.
    for rows, count in ((seen["video"], 16), (seen["image"], 12)):
        assert sorted(set(rows)) == sorted(rows)[::4]
        assert len(rows) == 4 * count


def test_rows_of_both_kinds_are_held_out_and_left(manifests):
    for seed in range(6):
        data = DataConfig(sources=manifests, holdout=0.02)
        catalogue = Catalogue.load(data, seed=seed)
        assert {catalogue.rows[row].is_image for row in catalogue.holdout} == {False, True}
        assert [part.shape for part in catalogue.parts] == ["video", "video", "image"]


def test_an_image_clip_is_one_view_over_a_tubelet(manifests, decode_all):
    catalogue = load(manifests, holdout=0.0)
    order, drawn = catalogue.order(0), []

    def draw_masks(step, position, clip):
        drawn.append((step, position, tuple(clip.shape)))
        return (Mask(np.arange(1), np.arange(1)),)

    dataset = ClipDataset(
        table=catalogue.table(), order=order, batch_size=4, clip=CLIP, data=DataConfig(), seed=0,
        images=ImageClips(num_frames=2, shapes=catalogue.shapes, draw_masks=draw_masks),
    )  # fmt: skip
    step = next(step for step in range(5) if order.shapes.at(step) == "image")
    keys = [SampleKey(step, position) for position in range(4)]
    batch = dataset.read([dataset.draw(key) for key in keys], Job())
    assert batch.clips.shape == (4, 3, 2, 16, 16)
    for position, row in enumerate(batch.rows):
        generator = keyed_generator("view", 0, step, position, 0)
        generator.random()
        (picture,) = decode_all(Path(catalogue.rows[row].path)).frames
        view = random_view(
            picture[None], generator, size=(16, 16), crop_scale=(0.3, 1.0), crop_ratio=(0.75, 1.35),
            flip=0.5,
        )  # fmt: skip
        assert view.shape == (3, 1, 16, 16)
        assert torch.equal(batch.clips[position], torch.cat([view, view], dim=1))
    assert batch.masks[0].context.shape == (4, 1)
    assert drawn == [(step, position, (3, 2, 16, 16)) for position in range(4)]
    # A step of videos has its own clips, and here no masks.
    videos = dataset.read([dataset.draw(SampleKey(0, 0))], Job())
    assert videos.clips.shape == (1, 3, 4, 16, 16)
    assert videos.masks == ()


def test_held_out_images_are_their_middle(pictures, manifests, decode_all):
    catalogue = load(manifests, holdout=0.0)
    row = next(i for i, row in enumerate(catalogue.rows) if row.path == str(pictures[3]))
    dataset = HoldoutDataset(
        table=catalogue.table(), clip=CLIP, data=DataConfig(), seed=0,
        images=ImageClips(num_frames=3, shapes=StepShapes(Fraction(1))),
    )  # fmt: skip
    assert dataset.step == -2  # apart from held-out videos, whose step is -1
    view = centre_view(np.stack(decode_all(pictures[3]).frames), size=(16, 16))
    batch = dataset.read([HeldOutClip(SampleKey(dataset.step, 0), row)], Job())
    assert torch.equal(batch.clips[0], torch.cat([view] * 3, dim=1))
