"""Crops against their distribution, resizes against a reference in 64-bit floats."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vsalt.data import transforms
from vsalt.data.crop_box import CropBox
from vsalt.data.transforms import (
    centre_view,
    draw_crop,
    multi_view,
    random_view,
    resize,
    write_view,
)


def noise(frames=3, height=40, width=56, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, size=(frames, height, width, 3))
    return values.astype(np.uint8)


def bilinear(frames, size):
    """Plain bilinear sampling with pixel centres at half integers, pixel by pixel."""

    def taps(out, source):
        places = np.clip((np.arange(out) + 0.5) * source / out - 0.5, 0, source - 1)
        low = np.floor(places).astype(int)
        return low, np.minimum(low + 1, source - 1), places - low

    top, bottom, down = taps(size[0], frames.shape[1])
    left, right, across = taps(size[1], frames.shape[2])
    x = frames.astype(np.float64)
    rows = x[:, top] * (1 - down)[:, None, None] + x[:, bottom] * down[:, None, None]
    return rows[:, :, left] * (1 - across)[:, None] + rows[:, :, right] * across[:, None]


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (33, 17), (40, 20), (100, 56)])
def test_resize_is_within_a_grey_level_of_plain_bilinear(size):
    frames = noise()
    found = resize(frames, size=size, antialias=False).permute(0, 2, 3, 1).double().numpy()
    error = found - bilinear(frames, size)
    assert np.abs(error).max() <= 1.0 + 1e-9
    assert abs(error.mean()) < 0.3


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (33, 17)])
def test_antialiased_resize_is_within_a_grey_level_of_floats(size):
    frames = noise()
    exact = F.interpolate(
        torch.from_numpy(frames).permute(0, 3, 1, 2).double(),
        size=size,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    error = resize(frames, size=size, antialias=True).double() - exact
    assert error.abs().max() <= 1.0
    assert abs(error.mean()) < 0.1


def test_antialiasing_averages_what_shrinking_would_skip():
    stripes = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    stripes[:, :, ::4] = 255
    smooth = resize(stripes, size=(16, 16), antialias=True).double()
    assert (smooth - 255 / 4).abs().max() < 32
    assert resize(stripes, size=(16, 16), antialias=False).max() == 0


def boxes(count, height=90, width=120, scale=(0.3, 1.0), ratio=(0.75, 1.35)):
    generator = np.random.default_rng(0)
    return [
        draw_crop(generator, height=height, width=width, scale=scale, ratio=ratio)
        for _ in range(count)
    ]


def test_boxes_fit_and_keep_their_ranges():
    for box in boxes(2000):
        assert 0 <= box.top <= 90 - box.height
        assert 0 <= box.left <= 120 - box.width
        share = box.height * box.width / (90 * 120)
        assert 0.29 < share <= 1
        assert 0.74 < box.width / box.height < 1.37


def test_area_is_uniform_and_ratio_log_uniform():
    # Boxes this small always fit, so nothing is drawn again.
    found = boxes(4000, 1000, 1000, scale=(0.1, 0.4), ratio=(0.5, 2.0))
    areas = np.sort([box.height * box.width / 1e6 for box in found])
    ratios = np.sort([math.log(box.width / box.height) for box in found])
    ranks = (np.arange(4000) + 0.5) / 4000
    # The Kolmogorov-Smirnov distance stays below 1.95 / sqrt(n) in 999 of 1000 samples.
    assert np.abs((areas - 0.1) / 0.3 - ranks).max() < 1.95 / math.sqrt(4000)
    assert np.abs((ratios / math.log(2) + 1) / 2 - ranks).max() < 1.95 / math.sqrt(4000)
    lefts = [box.left / (1000 - box.width) for box in found]
    assert np.abs(np.sort(lefts) - ranks).max() < 1.95 / math.sqrt(4000)


def test_the_fallback_is_the_largest_box_in_the_middle():
    wide = draw_crop(
        np.random.default_rng(0), height=10, width=100, scale=(0.9, 1.0), ratio=(0.75, 1.35)
    )
    assert wide == CropBox(0, 43, 10, 14)
    tall = draw_crop(
        np.random.default_rng(0), height=100, width=12, scale=(0.9, 1.0), ratio=(0.75, 1.35)
    )
    assert tall == CropBox(42, 0, 16, 12)
    inside = draw_crop(
        np.random.default_rng(0), height=50, width=50, scale=(1.0, 1.0), ratio=(1.0, 1.0)
    )
    assert inside == CropBox(0, 0, 50, 50)


VIEW = {"size": (24, 32), "crop_scale": (0.3, 1.0), "crop_ratio": (0.75, 1.35)}


def test_a_view_has_one_crop_and_flip_for_all_frames():
    still = np.repeat(noise(frames=1), 5, axis=0)
    for seed in range(8):
        view = random_view(still, np.random.default_rng(seed), **VIEW, flip=0.5)
        assert view.shape == (3, 5, 24, 32)
        assert view.dtype == torch.uint8
        assert view.is_contiguous()
        assert torch.equal(view, view[:, :1].expand_as(view))


def test_a_view_is_the_crop_of_its_box_flipped_or_not():
    frames = noise()
    for seed in range(6):
        box = draw_crop(
            np.random.default_rng(seed), height=40, width=56, scale=(0.3, 1.0), ratio=(0.75, 1.35)
        )
        region = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
        expected = bilinear(region, (24, 32)).transpose(3, 0, 1, 2)
        for flip in (0.0, 1.0):
            view = random_view(
                frames, np.random.default_rng(seed), **VIEW, flip=flip, antialias=False
            )
            found = view.numpy()[..., ::-1] if flip else view.numpy()
            assert np.abs(found - expected).max() <= 1.0 + 1e-9


def test_a_view_written_into_a_batch_is_the_view_of_the_cut_region():
    frames = noise()
    batch = torch.zeros((3, 3, 3, 24, 32), dtype=torch.uint8)
    for seed, flip in ((3, 0.0), (4, 1.0)):
        box = draw_crop(
            np.random.default_rng(seed), height=40, width=56, scale=(0.3, 1.0), ratio=(0.75, 1.35)
        )
        region = frames[:, box.top : box.top + box.height, box.left : box.left + box.width]
        write_view(np.ascontiguousarray(region), batch[1], flipped=bool(flip))
        expected = random_view(frames, np.random.default_rng(seed), **VIEW, flip=flip)
        assert torch.equal(batch[1], expected)
        plain = resize(region, size=(24, 32), antialias=True).numpy()
        plain = plain[..., ::-1] if flip else plain
        assert np.array_equal(batch[1].numpy(), plain.transpose(1, 0, 2, 3))
    assert not batch[0].any()
    assert not batch[2].any()


@pytest.mark.parametrize(
    ("shape", "size", "resized"),
    [
        ((33, 50), (32, 32), (36, 54)),  # 54.5 and 88.5: other rules round up
        ((37, 91), (32, 32), (36, 88)),
        ((91, 37), (32, 32), (88, 36)),
        ((40, 48), (32, 32), (36, 43)),
        ((37, 91), (16, 64), (29, 73)),
        ((36, 36), (32, 32), (36, 36)),
    ],
)
def test_the_long_side_of_a_centre_view_is_rounded_down(shape, size, resized, monkeypatch):
    sizes = []

    def spy(frames, *, size, antialias):
        sizes.append(size)
        return resize(frames, size=size, antialias=antialias)

    monkeypatch.setattr(transforms, "resize", spy)
    assert centre_view(noise(2, *shape), size=size).shape == (3, 2, *size)
    assert sizes == [resized]


def test_the_centre_view_of_a_ramp():
    # Brightness is the column, so the crop can be read off.
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, None, :, None], (2, 100, 200, 3))
    view = centre_view(ramp, size=(56, 56)).double()
    assert view.shape == (3, 2, 56, 56)
    # The short side goes from 100 to 64 pixels, so 56 of them are 87.5 columns about the middle.
    columns = 99.5 + (np.arange(56) - 27.5) * 100 / 64
    assert np.abs(view[0, 0, 0].numpy() - columns).max() <= 1.0


@pytest.mark.parametrize("shape", [(128, 170), (170, 128), (30, 300), (20, 20)])
@pytest.mark.parametrize("size", [(64, 64), (32, 96), (17, 23)])
def test_centre_views_of_any_shape(shape, size):
    view = centre_view(noise(2, *shape), size=size)
    assert view.shape == (3, 2, *size)
    assert view.is_contiguous()


def test_a_rotated_frame_can_be_resized():
    turned = np.rot90(noise(), 1, axes=(1, 2))
    assert resize(turned, size=(10, 12), antialias=True).shape == (3, 3, 10, 12)


def plain_views(frames, size, num_views):
    """Crops of a plainly resized clip, whose starts are evenly spaced whole pixels."""
    height, width = frames.shape[1:3]
    zoom = max(size[0] / height, size[1] / width)
    # The small number stands for the product of two rounded floats.
    scaled = [int(height * zoom + 1e-9), int(width * zoom + 1e-9)]
    whole = bilinear(frames, scaled).transpose(3, 0, 1, 2)
    views = []
    for view in range(num_views):
        top, left = (view * ((scaled[i] - size[i]) // (num_views - 1)) for i in (0, 1))
        views.append(whole[:, :, top : top + size[0], left : left + size[1]])
    return np.stack(views)


@pytest.mark.parametrize("shape", [(40, 56), (56, 40), (40, 41), (24, 90), (30, 30)])
@pytest.mark.parametrize("size", [(24, 24), (48, 48), (16, 40), (40, 16)])
@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_views_are_slices_of_the_resized_clip(shape, size, num_views):
    frames = noise(2, *shape)
    found = multi_view(frames, size=size, num_views=num_views, antialias=False)
    expected = plain_views(frames, size, num_views)
    assert found.shape == (num_views, 3, 2, *size)
    assert found.is_contiguous()
    assert np.abs(found.double().numpy() - expected).max() <= 1.0 + 1e-9


def test_three_views_of_a_ramp_lie_left_middle_and_right():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, None, :, None], (2, 100, 200, 3))
    left, middle, right = multi_view(ramp, size=(100, 100), num_views=3)[:, 0, 0, 0]
    assert (left[0], left[-1]) == (0, 99)
    assert (middle[0], middle[-1]) == (50, 149)
    assert (right[0], right[-1]) == (100, 199)
    upright = multi_view(ramp.transpose(0, 2, 1, 3), size=(100, 100), num_views=3)
    assert [int(view[0, 0, 0, 0]) for view in upright] == [0, 50, 100]


def test_a_square_clip_has_equal_views_and_one_view_is_the_centre():
    views = multi_view(noise(2, 40, 40), size=(24, 24), num_views=3)
    assert torch.equal(views[0], views[1])
    assert torch.equal(views[0], views[2])
    one = multi_view(noise(), size=(24, 24), num_views=1)
    assert torch.equal(one, centre_view(noise(), size=(24, 24))[None])
