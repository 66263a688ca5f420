"""Tokens against torch's own 3-D convolution over the whole clip."""

import pytest
import torch

from support import slow
from support.tiny import TUBELET, make_clips, make_encoder, make_masks, randomise
from vsalt.models.config import grid_of
from vsalt.models.tokenizer import Tokenizer, gather_tubelets, image_clips, split_ids

SIZES = [(4, (16, 24)), (6, (24, 16)), (2, (8, 8))]


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(20, TUBELET)
    randomise(tokenizer, 0)
    return tokenizer


@pytest.mark.parametrize(("num_frames", "size"), SIZES)
def test_tokens_are_a_convolution_then_a_gather(num_frames: int, size: tuple[int, int]) -> None:
    tokenizer = make_tokenizer()
    grid = grid_of(num_frames, size, TUBELET)
    clips = torch.randn(3, 3, num_frames, *size, generator=torch.Generator().manual_seed(1))
    weight, bias = tokenizer.projection.weight, tokenizer.projection.bias
    whole = torch.nn.functional.conv3d(clips, weight, bias, stride=TUBELET).flatten(2).mT
    torch.testing.assert_close(tokenizer(clips), whole, atol=2e-5, rtol=1e-5)

    num_tokens = grid[0] * grid[1] * grid[2]
    ids = torch.stack([torch.randperm(num_tokens)[: max(1, num_tokens // 2)] for _ in range(3)])
    for clip, row in enumerate(ids.tolist()):
        torch.testing.assert_close(
            tokenizer(clips, ids)[clip], whole[clip, row], atol=2e-5, rtol=1e-5
        )


def test_uint8_frames_are_standardised_as_by_hand() -> None:
    tokenizer, clips = make_tokenizer(), make_clips(2)
    ids = make_masks(2, (2, 2, 3), 5, 1).context
    by_hand = torch.empty(clips.shape)
    for colour, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        by_hand[:, colour] = (clips[:, colour].double() / 255 - mean).div(std).float()
    torch.testing.assert_close(tokenizer(clips, ids), tokenizer(by_hand, ids), atol=2e-5, rtol=1e-5)
    assert not torch.allclose(tokenizer(clips.float(), ids), tokenizer(by_hand, ids), atol=0.1)


def test_gathered_tubelets_are_the_cubes_of_the_clip() -> None:
    clips = make_clips(2, 4, (24, 16))
    grid = (2, 3, 2)
    ids = torch.tensor([[11, 0, 7], [5, 5, 2]])
    gathered, everything = gather_tubelets(clips, TUBELET, ids), gather_tubelets(clips, TUBELET)
    assert gathered.dtype == torch.uint8
    for clip in range(2):
        for place, token in enumerate(ids[clip].tolist()):
            expected = torch.from_numpy(slow.cube(clips[clip].numpy(), token, TUBELET, grid))
            assert torch.equal(gathered[clip, place], expected)
            assert torch.equal(everything[clip, token], expected)


def test_ids_run_over_columns_then_rows_then_time() -> None:
    grid = (2, 3, 5)
    time, row, column = split_ids(torch.arange(30), grid)
    places = torch.stack([time, row, column], dim=1).tolist()
    assert places == [[t, r, c] for t in range(2) for r in range(3) for c in range(5)]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_an_image_is_a_clip_of_one_time_step(frames: int) -> None:
    encoder = make_encoder(tubelet=(frames, 8, 8))
    images = make_clips(2, 1)[:, :, 0]
    clips = image_clips(images, encoder.config.tubelet)
    assert clips.shape == (2, 3, frames, 16, 24)
    repeated = torch.stack([images] * frames, dim=2)
    with torch.no_grad():
        tokens = encoder(clips)
        assert tokens.shape == (2, 6, 24)  # the grid is (1, 2, 3)
        assert torch.equal(tokens, encoder(repeated))
        by_time = encoder.features(clips, pooling="mean_space")[0]
        assert torch.equal(by_time, encoder.features(clips, pooling="mean")[0])
