"""VideoMAE's step against numbers from its own modules: networks, positions, target and loss.

The expected numbers come from `PretrainVisionTransformer` of MCG-NJU/VideoMAE at 14ef8d8, run in
float64 on clips of whole grey levels under one tube mask, with the parameters that this file makes;
its target is that of its training engine, written out (see test_targets.py). Keys have no bias
there, nor has the map from the encoder to the decoder: ours are 0.
"""

import numpy as np
import torch
from torch import Tensor

from support.fill import det, fill_parameters, swapped_pairs
from vsalt.data.types import Batch
from vsalt.masking.types import MaskBatch
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.objectives.config import PixelConfig
from vsalt.objectives.pixel import PixelObjective

TOLERANCE = 2e-5

# [0, 0, :4]; [1, 5, 20:24]; [-1, -1, -4:]; mean, mean absolute value, mean square
ENCODED = [
    *(2.22573993, -0.94494249, -0.56845868, -1.19694512),
    *(1.5308553, 0.1161944, -0.2545329, 1.02806904),
    *(-0.09527512, 0.47826636, 0.28568914, 1.11961056),
    *(0.0138559, 0.81940835, 1.04859102),
]
PREDICTED = [
    *(0.22484712, 0.42991083, 1.75669112, -0.92944052),
    *(-1.47828107, 0.77198645, 2.74016404, 1.03614591),
    *(-0.88883255, 1.20177628, -1.04502473, -0.38738941),
    *(0.04253892, 0.98753734, 1.55262485),
]
LOSS = 2.55181129


def make_videomae(positions: str = "sincos1d") -> PixelObjective:
    encoder = Encoder(
        EncoderConfig(size="Ti", width=48, depth=3, heads=4, mlp_width=192, positions=positions)
    )
    decoder = PredictorConfig(width=24, depth=2, heads=3, mlp_width=96)
    objective = PixelObjective(PixelConfig(), encoder, decoder, ("tube_1",))
    fill_parameters(objective.trainable)
    without_biases(objective)
    return objective


def without_biases(objective: PixelObjective) -> None:
    """Take away the biases that VideoMAE does not have."""
    with torch.no_grad():
        objective.trainable["predictor"].embed.bias.zero_()
        for name, param in objective.trainable.named_parameters():
            if name.endswith("qkv.bias"):
                param.view(3, -1)[1] = 0


def make_clips() -> Batch:
    """16 frames of 32 x 32 pixels: 8 x 2 x 2 tokens, of which one place is seen at all times."""
    clips = np.rint((det(2, 3, 16, 32, 32).numpy() + 1) * 127.5).astype(np.uint8)
    context = torch.stack([4 * torch.arange(8) + place for place in (1, 2)])
    targets = torch.stack(
        [torch.tensor([id for id in range(32) if id % 4 != place]) for place in (1, 2)]
    )
    return Batch(clips=torch.from_numpy(clips), masks=(MaskBatch(context, targets),), rows=(0, 1))


def off_by(x: Tensor, expected: list[float]) -> float:
    statistics = torch.stack([x.mean(), x.abs().mean(), x.square().mean()])
    numbers = torch.cat([x[0, 0, :4], x[1, 5, 20:24], x[-1, -1, -4:], statistics])
    return (numbers - torch.tensor(expected)).abs().max().item()


@torch.no_grad()
def test_a_step_is_videomaes() -> None:
    output = make_videomae().loss(make_clips())
    assert off_by(output.context["tube_1"], ENCODED) < TOLERANCE
    assert off_by(output.predictions["tube_1"], PREDICTED) < TOLERANCE
    assert abs(output.loss_sum.item() / 2 - LOSS) < 1e-5


@torch.no_grad()
def test_other_positions_and_swapped_parameters_are_noticed() -> None:
    clips = make_clips()
    other = make_videomae("sincos").loss(clips)
    assert off_by(other.context["tube_1"], ENCODED) > 0.01
    objective = make_videomae()
    moved = [
        (pair, off_by(objective.loss(clips).predictions["tube_1"], PREDICTED))
        for pair in swapped_pairs(objective.trainable)
    ]
    assert len(moved) > 100
    assert [pair for pair, off in moved if off < 50 * TOLERANCE] == []
    assert off_by(objective.loss(clips).predictions["tube_1"], PREDICTED) < TOLERANCE
