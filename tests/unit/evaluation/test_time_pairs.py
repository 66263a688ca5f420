"""Which tubelets and tokens make a pair, and what directions of tubelets look like."""

import numpy as np
import pytest
import torch

from vsalt.errors import ConfigError
from vsalt.evaluation.time_pairs import PairGrid, pixel_pairs, shrunk_tubelet, token_pairs
from vsalt.evaluation.tubelet_looks import looks
from vsalt.models.config import EncoderConfig
from vsalt.training.random_encoder import random_encoder

TUBELET = (2, 8, 8)


def random_clips() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 8, 16, 24), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(("lag", "steps"), [(1, [(1, 2)]), (2, [(0, 2), (1, 3)]), (3, [(0, 3)])])
def test_pairs_lie_across_the_middle(lag: int, steps: list[tuple[int, int]]) -> None:
    clips = random_clips()
    pairs = PairGrid.of(8, (16, 24), TUBELET, lag=lag)
    x, y, repeats = pairs.unpack(pixel_pairs(pairs, TUBELET, 8)(clips))
    assert pairs.num_pairs == 6 * len(steps)
    assert not repeats.any()
    number = 0
    for clip in clips:
        for t, later in steps:
            for row in range(2):
                for column in range(3):
                    for found, time in ((x, t), (y, later)):
                        area = clip[:, 2 * time : 2 * time + 2, 8 * row : 8 * row + 8]
                        expected = area[..., 8 * column : 8 * column + 8].flatten() / 255
                        torch.testing.assert_close(found[number], expected)
                    number += 1
    assert number == len(x) == len(y)


def test_tubelets_are_averaged_and_repeats_seen() -> None:
    clips = random_clips()
    clips[1, :, -1] = clips[1, :, -2]
    pairs = PairGrid.of(8, (16, 24), TUBELET, lag=1)
    x, _, repeats = pairs.unpack(pixel_pairs(pairs, TUBELET, 5)(clips))
    assert shrunk_tubelet(TUBELET, 5) == (2, 4, 4)
    assert x.shape[1] == 3 * 2 * 4 * 4
    assert repeats.tolist() == [False, True]
    expected = clips[0, 0, 2, :2, :2].float().mean() / 255
    assert float(x[0, 0]) == pytest.approx(float(expected), abs=1e-6)


def test_context_tokens_know_nothing_of_what_comes_later() -> None:
    config = EncoderConfig(size="Ti", width=48, depth=1, heads=4, mlp_width=48, tubelet=TUBELET)
    encoder = random_encoder(config, seed=0)
    pairs = PairGrid.of(8, (16, 24), TUBELET, lag=1)
    function = token_pairs(pairs, encoder, layer=-1, device="cpu")
    clips = random_clips()
    x, y, _ = pairs.unpack(function(clips))
    assert x.shape == y.shape == (12, 48)
    (whole,) = encoder.features(clips)
    torch.testing.assert_close(y.reshape(2, 6, 48), whole[:, 12:18])
    clips[:, :, 4:] = 0
    other_x, other_y, _ = pairs.unpack(function(clips))
    torch.testing.assert_close(other_x, x)
    assert not torch.allclose(other_y, y)


def test_what_makes_no_pairs() -> None:
    with pytest.raises(ConfigError, match="has 1 time step of 8 frames"):
        PairGrid.of(8, (16, 16), (8, 8, 8), lag=1)
    with pytest.raises(ConfigError, match="--lag is 4; with 4 time steps it must be from 1 to 3"):
        PairGrid.of(8, (16, 16), TUBELET, lag=4)
    with pytest.raises(ConfigError, match="--tubelet"):
        PairGrid.of(8, (15, 16), TUBELET, lag=1)


def test_looks_of_known_directions() -> None:
    still_grey_even = np.ones((3, 2, 4, 4))
    blinking = still_grey_even * np.array([1.0, -1.0])[None, :, None, None]
    red_green = still_grey_even * np.array([1.0, -1.0, 0.0])[:, None, None, None]
    # One full cycle down the tubelet is cosine number 2.
    wave = still_grey_even * np.cos(2 * np.pi * (np.arange(4) + 0.5) / 4)[:, None]
    columns = [part.flatten() for part in (still_grey_even, blinking, red_green, wave)]
    basis = np.stack([column / np.linalg.norm(column) for column in columns], axis=1)
    found = looks(basis, (2, 4, 4))
    assert found.change == pytest.approx([0, 1, 0, 0], abs=1e-12)
    assert found.colour == pytest.approx([0, 0, 1, 0], abs=1e-12)
    assert found.cycles == pytest.approx([0, 0, 0, 1], abs=1e-12)
