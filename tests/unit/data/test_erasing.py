"""Erased boxes against plain rejection sampling, the noise against its closed form."""

import math
import random
from statistics import NormalDist

import numpy as np
import pytest
import torch

from vsalt.data import erasing
from vsalt.data.erasing import draw_erased_box, random_erasing
from vsalt.models.tokenizer import IMAGENET_MEAN, IMAGENET_STD

GREY = torch.full((3, 4, 48, 64), 7, dtype=torch.uint8)


def plain_box(height, width):
    """(area, height over width, top over room) of a box, drawn until it fits."""
    while True:
        area = random.uniform(0.02, 1 / 3)
        ratio = math.exp(random.uniform(math.log(0.3), math.log(10 / 3)))
        rows = math.sqrt(area * height * width * ratio)
        columns = math.sqrt(area * height * width / ratio)
        if round(rows) < height and round(columns) < width:
            return area, math.log(ratio), random.random()


def test_boxes_have_the_distribution_of_rejection_sampling():
    random.seed(0)
    height, width, count = 700, 1000, 3000
    expected = np.array([plain_box(height, width) for _ in range(count)])
    generator = np.random.default_rng(0)
    boxes = [draw_erased_box(generator, height=height, width=width) for _ in range(count)]
    found = np.array(
        [
            (
                b.height * b.width / (height * width),
                math.log(b.height / b.width),
                b.top / (height - b.height),
            )
            for b in boxes
        ]
    )
    grid = np.linspace(-2, 2, 4001)[:, None]
    for one, other in zip(found.T, expected.T, strict=True):
        gap = np.abs((one < grid).mean(1) - (other < grid).mean(1)).max()
        # Kolmogorov-Smirnov for two samples, 1 in 1000, and the rounding to pixels.
        assert gap < 1.95 * math.sqrt(2 / count) + 0.01


def test_boxes_are_smaller_than_the_frame():
    generator = np.random.default_rng(0)
    for _ in range(500):
        box = draw_erased_box(generator, height=12, width=40)
        assert 0 < box.height < 12
        assert 0 < box.width < 40
        assert 0 <= box.top <= 12 - box.height
        assert 0 <= box.left <= 40 - box.width
    assert draw_erased_box(generator, height=1, width=1) is None


def erased_clips(count, probability):
    for seed in range(count):
        yield random_erasing(GREY, np.random.default_rng(seed), probability=probability)


def test_one_box_for_all_frames_with_noise_of_their_own():
    for clip in erased_clips(20, 1.0):
        changed = (clip != 7).any(0)
        rows, columns = (changed.any(0).any(dim).nonzero().ravel() for dim in (1, 0))
        box = np.s_[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        # Hardly a value of the noise is 7 by chance.
        assert (clip[box] != 7).float().mean() > 0.9
        assert (clip != 7).sum() == (clip[box] != 7).sum()
        assert not torch.equal(clip[box][:, 0], clip[box][:, 1])
        assert clip[box][0, 0].float().std() > 20
    assert torch.all(GREY == 7)


def test_erasing_is_as_frequent_as_asked():
    erased = [not torch.equal(clip, GREY) for clip in erased_clips(1500, 0.25)]
    assert np.mean(erased) == pytest.approx(0.25, abs=4.5 * math.sqrt(0.1875 / 1500))
    assert not any(not torch.equal(clip, GREY) for clip in erased_clips(20, 0.0))


def test_noise_is_normal_about_imagenets_mean_in_grey_levels():
    assert (erasing.NOISE_MEAN, erasing.NOISE_STD) == (IMAGENET_MEAN, IMAGENET_STD)
    big = torch.zeros(3, 2, 200, 200, dtype=torch.uint8)
    clips = [random_erasing(big, np.random.default_rng(seed), probability=1.0) for seed in range(8)]
    # The pixels of the boxes; black ones are too rare to matter.
    values = [clip[:, (clip > 0).any(0)].numpy() for clip in clips]
    for channel in range(3):
        found = np.concatenate([one[channel] for one in values])
        normal = NormalDist(255 * IMAGENET_MEAN[channel], 255 * IMAGENET_STD[channel])
        shares = np.bincount(found, minlength=256).cumsum() / len(found)
        expected = [normal.cdf(value + 0.5) for value in range(255)] + [1.0]
        assert np.abs(shares - expected).max() < 2.5 / math.sqrt(len(found))
