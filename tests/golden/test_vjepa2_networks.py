"""Encoder and predictor against numbers from V-JEPA 2's own modules.

The expected numbers come from `VisionTransformer` and `VisionTransformerPredictor` of
facebookresearch/vjepa2 at c2963a4 (rotary positions, one mask token), run in float64 with the
parameters and inputs that this file makes. Ours run in float32.
"""

import pytest
import torch
from torch import Tensor

from support.fill import det, fill_parameters, swapped_pairs
from vsalt.models.config import EncoderConfig, PredictorConfig, Rope
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder

TOLERANCE = 2e-5

SQUARE, WIDE = (32, 32), (32, 48)
CONTEXT = {
    SQUARE: [[2, 13, 17, 24, 26, 30, 35, 48, 51, 53], [6, 15, 18, 19, 23, 28, 39, 41, 54, 62]],
    WIDE: [[1, 30, 34, 35, 45, 55, 64, 81, 88, 94], [20, 24, 27, 39, 43, 48, 56, 83, 85, 86]],
}
TARGETS = [
    [6, 7, 11, 12, 16, 23, 32, 38, 43, 47, 55, 57],
    [13, 16, 17, 26, 32, 34, 43, 47, 48, 49, 55, 56],
]

# [0, 0, :4]; [1, 5, 20:24]; [-1, -1, -4:]; mean, mean absolute value, mean square
MASKED_SQUARE = [
    *(0.4857441, -0.7118934, 1.3741678, -0.1042138),
    *(-1.5987208, -0.3883169, 0.1983917, -0.0702256),
    *(-0.3001958, 1.189246, -1.3415594, 1.3318569),
    *(-0.00583937, 0.8299302, 1.0973788),
]
FULL_SQUARE = [
    *(1.2905578, -0.8120537, 1.8018224, -0.3423398),
    *(-0.7000487, -0.2002072, 1.600744, -1.1404488),
    *(2.2284214, -0.42836, 0.5243985, 0.2623411),
    *(0.01123222, 0.82850714, 1.08233772),
]
MASKED_WIDE = [
    *(1.3943897, 0.3083457, 0.6569701, -0.8634096),
    *(-0.7189983, 0.1773706, 1.2697467, -0.1608735),
    *(0.742385, 0.9302585, -2.0642601, -1.3096328),
    *(0.0126508, 0.83982664, 1.12350528),
]
FULL_WIDE = [
    *(1.0767273, -0.7168945, 1.1380643, -1.02057),
    *(0.5161803, -1.0868983, -0.203621, -0.3915757),
    *(0.7142843, 1.2546334, -1.8547434, -1.0281033),
    *(0.00790829, 0.84509162, 1.10040355),
]
PREDICTED = [
    *(0.1117739, 1.1078562, 0.7363747, -1.3641765),
    *(1.6855155, -1.4786578, 0.9173727, -0.5196436),
    *(-0.1848673, -0.9934278, 0.8058663, 0.268797),
    *(0.16763818, 0.8299823, 1.00987503),
]


def numbers_of(x: Tensor) -> Tensor:
    statistics = torch.stack([x.mean(), x.abs().mean(), x.square().mean()])
    return torch.cat([x[0, 0, :4], x[1, 5, 20:24], x[-1, -1, -4:], statistics])


def filled_encoder(rope: Rope = "vjepa2") -> Encoder:
    config = EncoderConfig(
        size="Ti", width=48, depth=2, heads=3, mlp_width=144, tubelet=(2, 8, 8), rope=rope
    )
    encoder = Encoder(config)
    fill_parameters(encoder)
    return encoder


def filled_predictor() -> Predictor:
    config = PredictorConfig(width=40, depth=2, heads=2, mlp_width=80)
    predictor = Predictor(config, in_width=48, out_width=48, rope="vjepa2")
    fill_parameters(predictor)
    return predictor


def encode(encoder: Encoder, size: tuple[int, int], masked: bool = True) -> Tensor:
    clips = det(2, 3, 8, *size, k=1.7)
    with torch.no_grad():
        return encoder(clips, torch.tensor(CONTEXT[size]) if masked else None)


def predict(predictor: Predictor, latents: Tensor) -> Tensor:
    with torch.no_grad():
        context, targets = torch.tensor(CONTEXT[SQUARE]), torch.tensor(TARGETS)
        return predictor(latents, context, targets, (4, 4, 4))


def assert_golden(x: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(numbers_of(x), torch.tensor(expected), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("size", "masked", "expected"),
    [
        (SQUARE, True, MASKED_SQUARE),
        (SQUARE, False, FULL_SQUARE),
        (WIDE, True, MASKED_WIDE),
        (WIDE, False, FULL_WIDE),
    ],
)
def test_the_encoder_is_vjepa2s(size: tuple[int, int], masked: bool, expected: list[float]) -> None:
    assert_golden(encode(filled_encoder(), size, masked), expected)


def test_the_predictor_is_vjepa2s() -> None:
    assert_golden(predict(filled_predictor(), encode(filled_encoder(), SQUARE)), PREDICTED)


def test_the_other_rotary_mode_is_not_vjepa2s() -> None:
    off = numbers_of(encode(filled_encoder("interleaved"), SQUARE)) - torch.tensor(MASKED_SQUARE)
    assert off.abs().max() > 0.01


def test_any_two_swapped_parameters_are_noticed() -> None:
    encoder, predictor = filled_encoder(), filled_predictor()
    latents = encode(encoder, SQUARE)
    expected = torch.tensor(MASKED_SQUARE)
    unnoticed = [
        pair
        for pair in swapped_pairs(encoder)
        if (numbers_of(encode(encoder, SQUARE)) - expected).abs().max() < 50 * TOLERANCE
    ]
    expected = torch.tensor(PREDICTED)
    unnoticed += [
        pair
        for pair in swapped_pairs(predictor)
        if (numbers_of(predict(predictor, latents)) - expected).abs().max() < 50 * TOLERANCE
    ]
    assert unnoticed == []
    assert_golden(encode(encoder, SQUARE), MASKED_SQUARE)  # every swap was undone
