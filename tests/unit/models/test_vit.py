"""The encoder against a slow float64 reference, and what masking and order must not change."""

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import TUBELET, make_clips, make_encoder, make_masks
from vsalt.errors import ConfigError
from vsalt.models.config import Positions, grid_of


@pytest.mark.parametrize(
    ("num_frames", "size", "heads", "positions"),
    [
        (4, (16, 24), 2, "vjepa2"),
        (2, (40, 8), 4, "vjepa2"),
        (6, (16, 16), 3, "interleaved"),
        (6, (16, 24), 8, "sincos"),
    ],
)
def test_a_masked_forward_pass_is_the_formula(
    num_frames: int, size: tuple[int, int], heads: int, positions: Positions
) -> None:
    encoder = make_encoder(heads=heads, positions=positions)
    clips = make_clips(2, num_frames, size)
    ids = make_masks(2, grid_of(num_frames, size, TUBELET), 4, 1).context
    with torch.no_grad():
        ours = encoder(clips, ids)
    for clip in range(2):
        expected = slow.encode(
            slow.params_of(encoder),
            clips[clip].numpy(),
            ids[clip].tolist(),
            tubelet=TUBELET,
            heads=heads,
            mode=positions,
        )
        np.testing.assert_allclose(ours[clip], expected, atol=3e-5)
    assert ours.abs().mean() > 0.3


def test_all_tokens_are_the_default() -> None:
    encoder, clips = make_encoder(), make_clips(2)
    everything = torch.arange(12).expand(2, 12)
    with torch.no_grad():
        torch.testing.assert_close(encoder(clips), encoder(clips, everything))


def test_permuted_ids_permute_the_output() -> None:
    encoder, clips = make_encoder(), make_clips(3)
    ids = make_masks(3, (2, 2, 3), 7, 1).context
    order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(clips, ids[:, order]), encoder(clips, ids)[:, order], atol=2e-5, rtol=1e-5
        )


def test_hidden_pixels_are_not_seen() -> None:
    encoder, clips = make_encoder(), make_clips(2)
    ids = make_masks(2, (2, 2, 3), 6, 6).context
    changed = torch.zeros_like(clips)
    for clip, row in enumerate(ids.tolist()):
        for token in row:
            cube = slow.cube(clips[clip].numpy(), token, TUBELET, (2, 2, 3))
            slow.cube(changed[clip].numpy(), token, TUBELET, (2, 2, 3))[:] = cube
    assert not torch.equal(changed, clips)
    with torch.no_grad():
        assert torch.equal(encoder(changed, ids), encoder(clips, ids))
        assert not torch.allclose(encoder(changed), encoder(clips), atol=0.01)


def test_clips_of_a_batch_do_not_meet() -> None:
    encoder, clips = make_encoder(), make_clips(3)
    ids = make_masks(3, (2, 2, 3), 5, 1).context
    with torch.no_grad():
        together = encoder(clips, ids)
        for clip in range(3):
            alone = encoder(clips[clip : clip + 1], ids[clip : clip + 1])
            torch.testing.assert_close(together[clip : clip + 1], alone, atol=2e-5, rtol=1e-5)


def test_a_clip_that_does_not_divide_into_tubelets_is_refused() -> None:
    with pytest.raises(ConfigError, match="5 frames of 16x24 pixels does not divide"):
        make_encoder()(make_clips(1, 5))


@pytest.mark.parametrize("positions", ["vjepa2", "interleaved", "sincos"])
def test_an_image_is_the_first_time_step_of_a_clip(positions: Positions) -> None:
    """One network takes both shapes in turn; its positions are those of the grid at hand."""
    encoder, clips = make_encoder(positions=positions), make_clips(2, num_frames=6)
    image = clips[:, :, :2]
    first = torch.arange(6).expand(2, 6)
    with torch.no_grad():
        before = encoder(image)
        seen = encoder(clips, first)
        again = encoder(image)
    torch.testing.assert_close(before, seen, atol=2e-5, rtol=1e-5)
    assert torch.equal(before, again)
