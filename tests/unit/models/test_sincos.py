"""Fixed positions against a loop over channels."""

import math

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import make_clips, make_encoder
from vsalt.models.sincos import sincos_table, sinusoid

GRID = (3, 4, 5)


@pytest.mark.parametrize("width", [1, 24, 40, 192])
def test_every_channel_is_the_formula(width: int) -> None:
    ids = torch.stack([torch.arange(60), torch.randperm(60)])
    ours = sincos_table(ids, GRID, width)
    assert ours.dtype == torch.float32
    for clip in range(2):
        for n, token in enumerate(ids[clip].tolist()):
            expected = slow.sincos(width, slow.position(token, GRID))
            np.testing.assert_allclose(ours[clip, n], expected, atol=1e-7)


def test_far_positions_are_as_exact_as_near_ones() -> None:
    """Angles of hundreds of radians would lose digits in float32."""
    ours = sincos_table(torch.tensor([[999]]), (1000, 1, 1), 48)
    np.testing.assert_allclose(ours[0, 0], slow.sincos(48, (999, 0, 0)), atol=1e-7)


def test_a_position_does_not_depend_on_the_grid() -> None:
    """Nothing is interpolated: (2, 1, 3) is the same place in a clip of any size."""
    near, far = torch.tensor([[2 * 20 + 5 + 3]]), torch.tensor([[2 * 63 + 9 + 3]])
    assert torch.equal(sincos_table(near, GRID, 48), sincos_table(far, (8, 7, 9), 48))


def test_sincos_tokens_know_their_place_and_blocks_do_not_rotate() -> None:
    encoder = make_encoder(positions="sincos")
    clips = make_clips(1)
    # A clip of which every cube is the same: without positions all tokens would be alike.
    clips = clips[:, :, :2, :8, :8].repeat(1, 1, 2, 2, 3)
    with torch.no_grad():
        tokens = encoder(clips)[0]
        plain = encoder.tokenizer(clips)[0]
    assert torch.equal(plain, plain[:1].expand_as(plain))
    assert torch.cdist(tokens, tokens)[~torch.eye(12, dtype=torch.bool)].min() > 0.01


def test_half_precision_tokens_stay_half_precision() -> None:
    encoder = make_encoder(positions="sincos").bfloat16()
    clips = torch.zeros(1, 3, 4, 16, 24, dtype=torch.bfloat16)
    assert encoder(clips).dtype == torch.bfloat16


@pytest.mark.parametrize("width", [1, 7, 24, 192])
def test_the_flat_sinusoid_is_the_formula(width: int) -> None:
    ids = torch.stack([torch.arange(1568), torch.randperm(1568)])[:, ::7]
    ours = sinusoid(ids, width)
    assert ours.dtype == torch.float32
    for clip, tokens in enumerate(ids.tolist()):
        for n, token in enumerate(tokens):
            for channel in range(width):
                angle = token / 10_000 ** (2 * (channel // 2) / width)
                expected = math.cos(angle) if channel % 2 else math.sin(angle)
                assert abs(ours[clip, n, channel].item() - expected) < 1e-7


def test_flat_positions_are_added_in_encoder_and_predictor() -> None:
    encoder = make_encoder(positions="sincos1d")
    clips = make_clips(1)
    with torch.no_grad():
        x, table = encoder._tokens(clips, None)
        plain = encoder.tokenizer(clips)
    assert table is None
    torch.testing.assert_close(x - plain, sinusoid(torch.arange(12)[None], 24), atol=1e-6, rtol=0)
