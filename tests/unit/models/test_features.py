"""Features of any blocks: against hooks on the blocks, and over every size."""

import jaxtyping
import pytest
import torch
from torch import Tensor

from support.tiny import make_clips, make_encoder, make_masks
from vsalt.models.config import ENCODERS, EncoderConfig, SizeName
from vsalt.models.vit import Encoder


def block_outputs(encoder: Encoder, clips: Tensor, ids: Tensor | None = None) -> list[Tensor]:
    """What every block puts out, overheard while the encoder runs as in training."""
    heard: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda _, __, output: heard.append(output))
        for block in encoder.blocks
    ]
    with torch.no_grad():
        encoder(clips, ids)
    for handle in handles:
        handle.remove()
    return heard


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_features_are_what_the_blocks_put_out(masked: bool, norm: bool) -> None:
    encoder, clips = make_encoder(depth=4), make_clips(2)
    ids = make_masks(2, (2, 2, 3), 5, 1).context if masked else None
    heard = block_outputs(encoder, clips, ids)
    with torch.no_grad():
        expected = [encoder.norm(output) if norm else output for output in heard]
        ours = encoder.features(clips, layers=(2, -4, -1, 2), ids=ids, norm=norm)
    assert len(ours) == 4
    for one, layer in zip(ours, (2, 0, 3, 2), strict=True):
        assert torch.equal(one, expected[layer])
    if norm and not masked:
        assert torch.equal(ours[2], encoder(clips))


def test_one_pass_and_no_block_too_many() -> None:
    encoder, clips = make_encoder(depth=4), make_clips(2)
    calls: list[int] = []
    for index, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda _, __, ___, index=index: calls.append(index))
    with torch.no_grad():
        encoder.features(clips, layers=(2, 0, 1))
    assert calls == [0, 1, 2]


def test_pooling_is_a_loop_over_tokens() -> None:
    encoder, clips = make_encoder(), make_clips(2)
    with torch.no_grad():
        tokens = encoder.features(clips, layers=(0, 1))
        means = encoder.features(clips, layers=(0, 1), pooling="mean")
        by_time = encoder.features(clips, layers=(0, 1), pooling="mean_space")
    for layer in range(2):
        assert means[layer].shape == (2, 24)
        assert by_time[layer].shape == (2, 48)
        for clip in range(2):
            rows = list(tokens[layer][clip])  # the grid is (2, 2, 3)
            steps = [sum(rows[6 * time : 6 * time + 6]) / 6 for time in range(2)]
            torch.testing.assert_close(by_time[layer][clip], torch.cat(steps))
            torch.testing.assert_close(means[layer][clip], sum(rows) / 12)


def test_masked_tokens_can_be_averaged_but_have_no_time_steps() -> None:
    encoder, clips = make_encoder(), make_clips(2)
    ids = make_masks(2, (2, 2, 3), 6, 1).context
    with torch.no_grad():
        (mean,) = encoder.features(clips, pooling="mean", ids=ids)
        torch.testing.assert_close(mean, encoder(clips, ids).mean(dim=1))
    with pytest.raises(ValueError, match="mean_space needs all tokens"):
        encoder.features(clips, pooling="mean_space", ids=ids)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((0, 2), r"\[2\] are no blocks; the encoder has 2 blocks: layers are from 0 to 1"),
        ((-3, 5, 1), r"\[-3, 5\] are no blocks.*from -1 to -2"),
        ((), "no layer is given"),
    ],
)
def test_layers_that_do_not_exist_are_refused(layers: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_encoder().features(make_clips(1), layers=layers)


def test_another_pooling_is_refused() -> None:
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match="pooling is 'max'; it can be tokens, mean or mean_sp"):
            make_encoder().features(make_clips(1), pooling="max")  # type: ignore[arg-type]
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("size", ["Ti", "S"])
def test_small_sizes_run(size: SizeName) -> None:
    torch.manual_seed(0)
    encoder, clips = Encoder(EncoderConfig(size=size)), make_clips(2, 4, (32, 16))
    width, depth = ENCODERS[size].width, ENCODERS[size].depth
    with torch.no_grad():
        outputs = encoder.features(clips, layers=range(depth))
        (pooled,) = encoder.features(clips, pooling="mean_space")
        assert torch.equal(outputs[-1], encoder(clips))
    assert {output.shape for output in outputs} == {(2, 4, width)}
    assert pooled.shape == (2, 2 * width)
    # Every token of every normed output has mean 0 and variance 1.
    stacked = torch.stack(outputs)
    assert stacked.mean(dim=-1).abs().max() < 1e-4
    torch.testing.assert_close(
        stacked.var(dim=-1, correction=0), torch.ones(depth, 2, 4), atol=1e-2, rtol=0
    )
    assert (stacked[1:] - stacked[:-1]).abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("size", ENCODERS)
def test_every_size_has_features(size: SizeName) -> None:
    width, depth, _, _ = ENCODERS[size]
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig(size=size))
        clips = torch.empty(1, 3, 16, 224, 224, dtype=torch.uint8)
        ids = torch.empty(1, 392, dtype=torch.int64)
    every, half = (0, depth // 2, -depth, -1), (-1, 1)
    assert [out.shape for out in encoder.features(clips, layers=every)] == [(1, 1568, width)] * 4
    assert [out.shape for out in encoder.features(clips, layers=half, ids=ids)] == [
        (1, 392, width)
    ] * 2
    assert encoder.features(clips, pooling="mean")[0].shape == (1, width)
    assert encoder.features(clips, pooling="mean_space")[0].shape == (1, 8 * width)
    with pytest.raises(ValueError, match=rf"\[{depth}\] are no blocks"):
        encoder.features(clips, layers=(depth,))
