"""Sizes: parameter counts against the paper's tables, and what a config refuses."""

import pytest
import torch

from vsalt.errors import ConfigError, collect_problems
from vsalt.models.config import ENCODERS, EncoderConfig, PredictorConfig, SizeName, grid_of
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder
from vsalt.objectives.masked_prediction import count_params


def count_encoder(width: int, depth: int, mlp_width: int) -> int:
    """Tokenizer, blocks (norms, qkv, projection, MLP) and final norm, biases included."""
    tokenizer = 3 * 2 * 16 * 16 * width + width
    norms = 2 * 2 * width
    attention = 3 * width * width + 3 * width + width * width + width
    mlp = 2 * width * mlp_width + mlp_width + width
    return tokenizer + depth * (norms + attention + mlp) + 2 * width


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        # Ti and S have no published count; the others are SALT's table of encoders, with decimals.
        ("Ti", None),
        ("S", None),
        ("B", "86.24"),
        ("L", "303.89"),
        ("H", "631.65"),
        ("g", "1012.17"),
        ("G", "1843.92"),
    ],
)
def test_encoders_have_the_published_number_of_parameters(
    size: SizeName, millions: str | None
) -> None:
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig(size=size))
    width, depth, _, mlp_width = ENCODERS[size]
    assert count_params(encoder) == count_encoder(width, depth, mlp_width)
    if millions is not None:
        assert f"{count_params(encoder) / 1e6:.2f}" == millions


@pytest.mark.parametrize(
    ("student", "teacher", "millions"),
    [
        ("B", "B", "21.88"),
        ("L", "L", "22.08"),
        ("H", "L", "22.18"),
        ("g", "L", "22.23"),
        ("G", "L", "22.32"),
    ],
)
def test_predictors_have_the_published_number_of_parameters(
    student: SizeName, teacher: SizeName, millions: str
) -> None:
    with torch.device("meta"):
        predictor = Predictor(
            PredictorConfig().resolved(student),
            in_width=ENCODERS[student].width,
            out_width=ENCODERS[teacher].width,
            positions="vjepa2",
        )
    in_width, out_width = ENCODERS[student].width, ENCODERS[teacher].width
    # Blocks and final norm of width 384 as in the encoder, linear in and out, one mask token.
    blocks = count_encoder(384, 12, 1536) - (3 * 2 * 16 * 16 * 384 + 384)
    ends = in_width * 384 + 384 + 384 * out_width + out_width + 384
    assert count_params(predictor) == blocks + ends
    assert f"{count_params(predictor) // 10_000 / 100:.2f}" == millions  # printed without rounding


@pytest.mark.parametrize(
    ("size", "expected"),
    [("Ti", (192, 4, 6, 768)), ("S", (256, 6, 8, 1024)), ("B", (384, 12, 16, 1536))],
)
def test_predictors_follow_the_encoders_size(
    size: SizeName, expected: tuple[int, int, int, int]
) -> None:
    assert PredictorConfig().resolved(size).architecture == expected


def test_settings_override_parts_of_a_size() -> None:
    assert EncoderConfig(size="S", depth=3).architecture == (384, 3, 6, 1536)
    resolved = EncoderConfig(size="S", depth=3).resolved()
    assert (resolved.width, resolved.depth, resolved.heads, resolved.mlp_width) == (384, 3, 6, 1536)
    assert resolved.resolved() == resolved
    # A predictor's own width takes its MLP along; its own MLP width stays.
    assert PredictorConfig(width=96).resolved("S").architecture == (96, 6, 8, 384)
    assert PredictorConfig(width=96, mlp_width=7).resolved("S").architecture == (96, 6, 8, 7)
    with pytest.raises(ValueError, match="resolve the predictor"):
        _ = PredictorConfig(width=96).architecture


def test_sizes_that_do_not_fit_are_refused_with_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"width 192 cannot be divided among 5 heads.*--encoder"):
        EncoderConfig(size="Ti", heads=5)
    with pytest.raises(ConfigError, match="leave 4 per head; 3-D rotary positions need at least 6"):
        EncoderConfig(size="Ti", heads=48)
    with pytest.raises(ConfigError, match=r"63 channels in 3 heads leave 21 per head.*even"):
        EncoderConfig(size="Ti", width=63)
    with pytest.raises(ConfigError, match=r"12 heads leave 5 per head.*positions sincos"):
        PredictorConfig(width=60, heads=12).resolved("B")
    with pytest.raises(ConfigError, match=r"predictor\.depth is 0; it must be at least 1"):
        PredictorConfig(depth=0).resolved("B")
    with pytest.raises(ConfigError) as caught, collect_problems():
        EncoderConfig(depth=0, tubelet=(0, 16, 16))
    assert len(caught.value.problems) == 2


def test_rules_for_rotary_heads_bind_rotary_positions_alone() -> None:
    assert EncoderConfig(size="Ti", heads=48, positions="sincos").architecture.heads == 48
    assert EncoderConfig(size="Ti", width=63, positions="sincos").architecture.width == 63
    resolved = PredictorConfig(width=60, heads=12).resolved("B", "sincos")
    assert resolved.architecture == (60, 12, 12, 240)
    for positions in ("vjepa2", "interleaved"):
        with pytest.raises(ConfigError, match="leave 5 per head"):
            PredictorConfig(width=60, heads=12).resolved("B", positions)
    with pytest.raises(ConfigError, match="width 192 cannot be divided among 5 heads"):
        EncoderConfig(size="Ti", heads=5, positions="sincos")


def test_a_grid_is_the_clip_in_tubelets() -> None:
    assert grid_of(16, (224, 112), (2, 16, 8)) == (8, 14, 14)
    for frames, size in ((15, (32, 32)), (16, (33, 32)), (16, (32, 40))):
        with pytest.raises(ConfigError, match=f"{frames} frames of {size[0]}x{size[1]}.*--my-flag"):
            grid_of(frames, size, (2, 16, 16), flag="--my-flag")
