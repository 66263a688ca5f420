"""Rotary positions against a loop over channels, and what makes them positions."""

import numpy as np
import pytest
import torch

from support import slow
from vsalt.models.config import Rope
from vsalt.models.rope import apply_rope, rope_table, rotary_axis_dim

GRID = (3, 4, 5)
MODES = ["vjepa2", "interleaved"]


def turned(x: torch.Tensor, ids: torch.Tensor, mode: Rope) -> torch.Tensor:
    return apply_rope(x, rope_table(ids, GRID, x.shape[-1], mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("head_dim", [6, 16, 24, 28])
def test_every_channel_is_turned_as_the_formula_says(mode: Rope, head_dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, head_dim, generator=generator)
    ids = torch.randint(60, (2, 7), generator=generator)
    ours = turned(x, ids, mode)
    for clip in range(2):
        for head in range(3):
            for n in range(7):
                place = slow.position(int(ids[clip, n]), GRID)
                expected = slow.turn(x[clip, head, n].double().numpy(), place, mode)
                np.testing.assert_allclose(ours[clip, head, n], expected, atol=2e-6)


@pytest.mark.parametrize(
    ("head_dim", "expected"),
    # Rotated channels per axis of SALT's encoders (64, 80, 88, 104) and predictor (24)
    [(64, 20), (80, 26), (88, 28), (104, 34), (24, 8), (6, 2)],
)
def test_channels_per_axis(head_dim: int, expected: int) -> None:
    assert rotary_axis_dim(head_dim) == expected


@pytest.mark.parametrize("mode", MODES)
def test_the_rest_of_a_head_and_position_zero_are_not_turned(mode: Rope) -> None:
    x = torch.randn(1, 2, 5, 16, generator=torch.Generator().manual_seed(0))
    ours = turned(x, torch.tensor([[0, 1, 7, 33, 59]]), mode)
    assert torch.equal(ours[..., 12:], x[..., 12:])
    assert torch.equal(ours[:, :, 0], x[:, :, 0])
    assert not torch.allclose(ours[:, :, 4, :12], x[:, :, 4, :12], atol=0.01)


def test_interleaved_is_a_rotation_and_the_released_layout_is_not() -> None:
    x = torch.randn(1, 4, 60, 24, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(60)[None]
    norms = x.norm(dim=-1)
    torch.testing.assert_close(turned(x, ids, "interleaved").norm(dim=-1), norms)
    assert (turned(x, ids, "vjepa2").norm(dim=-1) - norms).abs().max() > 0.1


def test_interleaved_logits_depend_on_relative_positions_alone() -> None:
    """Shift queries and keys by one frame, one row and one column: the logits stay."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, 6, 24, generator=generator)
    places = torch.tensor([[0, 0, 0], [0, 1, 2], [1, 2, 3], [1, 0, 1], [0, 2, 0], [1, 1, 2]])
    shifted = places + torch.tensor([1, 1, 1])
    size = torch.tensor([GRID[1] * GRID[2], GRID[2], 1])

    def logits(mode: Rope, at: torch.Tensor) -> torch.Tensor:
        ids = (at * size).sum(dim=1)[None]
        return turned(q, ids, mode) @ turned(k, ids, mode).mT

    kept = logits("interleaved", places)
    torch.testing.assert_close(logits("interleaved", shifted), kept, atol=1e-5, rtol=1e-5)
    assert (kept - q @ k.mT).abs().max() > 0.1
    assert (logits("vjepa2", shifted) - logits("vjepa2", places)).abs().max() > 0.1


def test_half_precision_stays_half_precision() -> None:
    x = torch.randn(1, 2, 60, 24, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(60)[None]
    ours = turned(x.bfloat16(), ids, "vjepa2")
    assert ours.dtype == torch.bfloat16
    # Angles are computed in float32: only the rounding of in- and output is seen.
    exact = turned(x.bfloat16().float(), ids, "vjepa2")
    torch.testing.assert_close(ours, exact.bfloat16(), atol=0, rtol=2**-7)
