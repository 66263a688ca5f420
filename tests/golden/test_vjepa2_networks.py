"""Encoder and predictor against numbers from V-JEPA 2's own modules.

The expected numbers come from `VisionTransformer` and `VisionTransformerPredictor` of
facebookresearch/vjepa2 at c2963a4 (one mask token; rotary positions, or sin-cos positions of
uniform power), run in float64 with the parameters and inputs that this file makes. Ours run in
float32. Two things had to be handed to the original on the grid that is not square: its predictor
does not tell its rotary blocks the grid's height and width, and its sin-cos table is square, so
that the rows of a larger square were taken.
"""

from typing import Literal

import pytest
import torch
from torch import Tensor

from support.fill import det, fill_parameters, swapped_pairs
from vsalt.models.config import EncoderConfig, Positions, PredictorConfig
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder

TOLERANCE = 2e-5

Size = tuple[int, int]
SQUARE, WIDE = (32, 32), (32, 48)
CONTEXT = {
    SQUARE: [[2, 13, 17, 24, 26, 30, 35, 48, 51, 53], [6, 15, 18, 19, 23, 28, 39, 41, 54, 62]],
    WIDE: [[1, 30, 34, 35, 45, 55, 64, 81, 88, 94], [20, 24, 27, 39, 43, 48, 56, 83, 85, 86]],
}
TARGETS = {
    SQUARE: [
        [6, 7, 11, 12, 16, 23, 32, 38, 43, 47, 55, 57],
        [13, 16, 17, 26, 32, 34, 43, 47, 48, 49, 55, 56],
    ],
    WIDE: [
        [2, 5, 17, 23, 31, 37, 44, 52, 67, 73, 80, 95],
        [3, 8, 12, 19, 33, 41, 50, 62, 70, 77, 88, 91],
    ],
}

# [0, 0, :4]; [1, 5, 20:24]; [-1, -1, -4:]; mean, mean absolute value, mean square
ENCODED = {
    ("vjepa2", SQUARE, "masked"): [
        *(0.48574409, -0.7118934, 1.37416784, -0.10421381),
        *(-1.59872076, -0.38831687, 0.19839169, -0.0702256),
        *(-0.30019581, 1.18924604, -1.34155943, 1.33185688),
        *(-0.00583937, 0.8299302, 1.0973788),
    ],
    ("vjepa2", SQUARE, "full"): [
        *(1.29055779, -0.81205369, 1.80182239, -0.34233982),
        *(-0.70004874, -0.20020717, 1.60074395, -1.14044881),
        *(2.22842136, -0.42835996, 0.5243985, 0.26234107),
        *(0.01123222, 0.82850714, 1.08233772),
    ],
    ("vjepa2", WIDE, "masked"): [
        *(1.39438968, 0.30834566, 0.65697009, -0.86340957),
        *(-0.7189983, 0.1773706, 1.26974665, -0.16087353),
        *(0.74238497, 0.93025852, -2.06426015, -1.30963278),
        *(0.0126508, 0.83982664, 1.12350528),
    ],
    ("vjepa2", WIDE, "full"): [
        *(1.07672728, -0.71689445, 1.13806432, -1.02056998),
        *(0.51618034, -1.08689833, -0.20362102, -0.39157569),
        *(0.71428428, 1.25463341, -1.8547434, -1.02810332),
        *(0.00790829, 0.84509162, 1.10040355),
    ],
    ("sincos", SQUARE, "masked"): [
        *(0.32254535, -0.91782875, 1.19323508, -0.4003616),
        *(-1.31111225, -0.36198868, 0.0059613, -0.92629672),
        *(0.06792722, 1.33237705, -0.80519206, 1.49751418),
        *(-0.01499041, 0.82893646, 1.06586609),
    ],
    ("sincos", SQUARE, "full"): [
        *(1.55621236, -0.9564976, 1.73367, -0.69926619),
        *(-0.87559454, 0.04086094, 0.49392874, -1.14946637),
        *(2.20814474, 0.06985752, 0.78090802, 1.01989899),
        *(-0.00261441, 0.84967979, 1.07409985),
    ],
    ("sincos", WIDE, "masked"): [
        *(1.19427942, 0.10295465, -0.5476752, -1.34143305),
        *(-0.51370935, 0.52549934, 0.87787509, -0.41274315),
        *(1.68479318, 0.50463586, -1.73837419, -0.60695758),
        *(-0.00520845, 0.85227345, 1.11210278),
    ],
    ("sincos", WIDE, "full"): [
        *(1.42578031, -1.21651784, 0.82651434, -1.27463199),
        *(0.67676023, -1.24406756, -0.4212386, -0.60979188),
        *(1.5355232, 0.78170659, -1.77432034, -0.26752847),
        *(-0.00644533, 0.85127244, 1.09950217),
    ],
}
FIRST_BLOCK = {
    "vjepa2": [
        *(1.04079749, -1.27783561, 1.64215899, 0.49733179),
        *(-1.15448521, 0.41649016, 1.35987035, -0.25473791),
        *(0.19230378, 0.46929814, -1.4509137, 0.97439801),
        *(0.00195449, 0.83438785, 1.07706734),
    ],
    "sincos": [
        *(1.00175434, -1.35166276, 1.38481814, 0.3460087),
        *(-1.27915439, 0.58912569, 1.02993465, -0.93145283),
        *(0.1098084, 0.73598626, -1.10334034, 1.31248879),
        *(0.00500148, 0.84043449, 1.03159717),
    ],
}
PREDICTED = {
    ("vjepa2", SQUARE): [
        *(0.1117739, 1.10785619, 0.73637475, -1.36417654),
        *(1.68551548, -1.47865775, 0.91737268, -0.51964363),
        *(-0.18486729, -0.99342777, 0.80586632, 0.26879699),
        *(0.16763818, 0.8299823, 1.00987503),
    ],
    ("vjepa2", WIDE): [
        *(-0.12827779, -0.39527512, 1.22489418, -1.56774344),
        *(1.98280868, -0.67871962, 1.13250997, -1.10990711),
        *(-0.34357847, -0.90832815, 0.20789596, 0.10623222),
        *(0.16618957, 0.77691757, 0.96204106),
    ],
    ("sincos", SQUARE): [
        *(-0.26751653, -1.28274701, 1.04662998, -3.27109489),
        *(1.76681436, -1.29941751, 0.91668087, 0.36081275),
        *(0.23794118, -0.32256897, -0.16889767, -0.41119858),
        *(0.16395474, 0.71182579, 0.85150041),
    ],
    ("sincos", WIDE): [
        *(-0.33033716, -1.74113502, 1.40452972, -2.73538755),
        *(2.21383508, -0.41036029, 0.23475438, -0.38645035),
        *(0.07852285, -0.65406423, -1.21039905, 0.40189129),
        *(0.17584696, 0.72445085, 0.88669541),
    ],
}


def numbers_of(x: Tensor) -> Tensor:
    statistics = torch.stack([x.mean(), x.abs().mean(), x.square().mean()])
    return torch.cat([x[0, 0, :4], x[1, 5, 20:24], x[-1, -1, -4:], statistics])


def filled_encoder(positions: Positions = "vjepa2") -> Encoder:
    config = EncoderConfig(
        size="Ti", width=48, depth=2, heads=3, mlp_width=144, tubelet=(2, 8, 8), positions=positions
    )
    encoder = Encoder(config)
    fill_parameters(encoder)
    return encoder.requires_grad_(False)


def filled_predictor(positions: Positions = "vjepa2") -> Predictor:
    config = PredictorConfig(width=40, depth=2, heads=2, mlp_width=80)
    predictor = Predictor(config, in_width=48, out_width=48, positions=positions)
    fill_parameters(predictor)
    return predictor.requires_grad_(False)


def clips_of(size: Size) -> Tensor:
    return det(2, 3, 8, *size, k=1.7)


def encode(encoder: Encoder, size: Size, masked: bool = True) -> Tensor:
    return encoder(clips_of(size), torch.tensor(CONTEXT[size]) if masked else None)


def predict(predictor: Predictor, latents: Tensor, size: Size) -> Tensor:
    context, targets = torch.tensor(CONTEXT[size]), torch.tensor(TARGETS[size])
    return predictor(latents, context, targets, (4, size[0] // 8, size[1] // 8))


def off_by(x: Tensor, expected: list[float]) -> float:
    return (numbers_of(x) - torch.tensor(expected)).abs().max().item()


@pytest.mark.parametrize(("positions", "size", "seen"), ENCODED)
def test_the_encoder_is_vjepa2s(
    positions: Positions, size: Size, seen: Literal["masked", "full"]
) -> None:
    tokens = encode(filled_encoder(positions), size, seen == "masked")
    assert off_by(tokens, ENCODED[positions, size, seen]) < TOLERANCE


@pytest.mark.parametrize("positions", FIRST_BLOCK)
def test_the_layers_are_vjepa2s_out_layers(positions: Positions) -> None:
    last, first = filled_encoder(positions).features(
        clips_of(SQUARE), layers=(-1, 0), ids=torch.tensor(CONTEXT[SQUARE])
    )
    assert off_by(last, ENCODED[positions, SQUARE, "masked"]) < TOLERANCE
    assert off_by(first, FIRST_BLOCK[positions]) < TOLERANCE


@pytest.mark.parametrize(("positions", "size"), PREDICTED)
def test_the_predictor_is_vjepa2s(positions: Positions, size: Size) -> None:
    latents = encode(filled_encoder(positions), size)
    predicted = predict(filled_predictor(positions), latents, size)
    assert off_by(predicted, PREDICTED[positions, size]) < TOLERANCE


def test_the_other_rotary_mode_is_not_vjepa2s() -> None:
    tokens = encode(filled_encoder("interleaved"), SQUARE)
    assert off_by(tokens, ENCODED["vjepa2", SQUARE, "masked"]) > 0.01


@pytest.mark.parametrize("positions", ["vjepa2", "sincos"])
def test_any_two_swapped_parameters_are_noticed(positions: Positions) -> None:
    encoder, predictor = filled_encoder(positions), filled_predictor(positions)
    latents = encode(encoder, SQUARE)
    expected = ENCODED[positions, SQUARE, "masked"]
    pairs = [(pair, off_by(encode(encoder, SQUARE), expected)) for pair in swapped_pairs(encoder)]
    assert off_by(encode(encoder, SQUARE), expected) < TOLERANCE  # every swap was undone
    expected = PREDICTED[positions, SQUARE]
    pairs += [
        (pair, off_by(predict(predictor, latents, SQUARE), expected))
        for pair in swapped_pairs(predictor)
    ]
    assert len(pairs) > 50
    assert [pair for pair, off in pairs if off < 50 * TOLERANCE] == []
