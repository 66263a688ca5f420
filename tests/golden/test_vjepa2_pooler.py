"""The attentive pooler and classifier against numbers from V-JEPA 2's own module.

The expected numbers come from `AttentiveClassifier` of facebookresearch/vjepa2 at c2963a4 (width
24, 2 heads, 7 classes), run in float64 with the parameters and inputs that this file makes. Ours
run in float32.
"""

import pytest
import torch
from torch import Tensor

from support.fill import det, fill_parameters, swapped_pairs
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler

TOLERANCE = 2e-5

# [0, :4]; [1, -4:]; mean, mean absolute value, mean square; by depth and scale of the tokens.
# At the small scale a token's variance is below the layer norms' eps.
LARGE, SMALL = 1.7, 0.003
POOLED = {
    (4, LARGE): [
        *(0.71706104, -1.75443979, -1.82168149, -0.51400696),
        *(-1.70745773, 0.00454812, 0.13117883, -0.10501388),
        *(0.07191791, 0.8976886, 1.27211415),
    ],
    (4, SMALL): [
        *(0.99550237, -1.23456715, -2.53238997, 0.42766588),
        *(-2.30676771, 1.01196666, -0.2336936, 0.07621826),
        *(0.02060497, 0.89349855, 1.18307128),
    ],
    (1, LARGE): [
        *(3.51895521, 0.67742843, 0.94333258, -0.341217),
        *(0.0780661, -1.43693427, 1.2266937, 1.22066535),
        *(0.24823712, 0.86537622, 1.27998274),
    ],
    (1, SMALL): [
        *(3.17029154, 1.17231329, 1.59019933, -0.04392594),
        *(-0.2646466, -1.3087322, 0.76626639, 1.09874225),
        *(0.29215351, 0.83410034, 1.13379752),
    ],
}
SCORES = {
    4: [
        *(1.63139892, 2.27403694, 0.6708434, -1.72765705),
        *(-1.80189128, -0.6488507, 1.57818595, 0.36263432),
        *(0.57923637, 1.30657722, 2.09209799),
    ],
    1: [
        *(2.30191463, -1.28982773, -1.7098766, -1.14416148),
        *(-0.41500721, -1.09153754, 0.42809264, -0.43819884),
        *(-0.43571969, 1.24955192, 2.02337443),
    ],
}


def numbers_of(x: Tensor) -> Tensor:
    statistics = torch.stack([x.mean(), x.abs().mean(), x.square().mean()])
    return torch.cat([x[0, :4], x[1, -4:], statistics])


def filled_classifier(depth: int, **settings: float) -> AttentiveClassifier:
    classifier = AttentiveClassifier(AttentivePooler(24, 2, depth, **settings), 7)
    fill_parameters(classifier)
    return classifier.requires_grad_(False)


def off_by(x: Tensor, expected: list[float]) -> float:
    return (numbers_of(x) - torch.tensor(expected)).abs().max().item()


@pytest.mark.parametrize(("depth", "scale"), POOLED)
def test_the_pooler_is_vjepa2s(depth: int, scale: float) -> None:
    pooled = filled_classifier(depth).pooler(det(2, 9, 24, k=scale))
    assert off_by(pooled, POOLED[depth, scale]) < TOLERANCE


@pytest.mark.parametrize("depth", SCORES)
def test_the_classifier_is_vjepa2s(depth: int) -> None:
    assert off_by(filled_classifier(depth)(det(2, 9, 24, k=LARGE)), SCORES[depth]) < TOLERANCE


@pytest.mark.parametrize("depth", SCORES)
def test_another_eps_of_the_norms_is_noticed(depth: int) -> None:
    pooled = filled_classifier(depth, eps=1e-6).pooler(det(2, 9, 24, k=SMALL))
    assert off_by(pooled, POOLED[depth, SMALL]) > 0.01


@pytest.mark.parametrize("depth", SCORES)
def test_any_two_swapped_parameters_are_noticed(depth: int) -> None:
    classifier, tokens = filled_classifier(depth), det(2, 9, 24, k=LARGE)
    pairs = [
        (pair, off_by(classifier(tokens), SCORES[depth])) for pair in swapped_pairs(classifier)
    ]
    assert len(pairs) > 10
    assert [pair for pair, off in pairs if off < 50 * TOLERANCE] == []
    assert off_by(classifier(tokens), SCORES[depth]) < TOLERANCE  # every swap was undone
