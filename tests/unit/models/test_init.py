"""Initial weights: what V-JEPA 2's rule says about every kind of parameter."""

import math

import pytest
import torch

from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder


@pytest.fixture(scope="module")
def parts() -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(size="Ti", depth=4))
    head = PredictorConfig(width=192, depth=3, heads=4, mlp_width=512)
    return {
        "encoder": encoder,
        "predictor": Predictor(head, in_width=192, out_width=256, positions="vjepa2"),
    }


def expected_std(name: str) -> float:
    """0.02, over sqrt(2 i) for the last map of both sub-layers of block i = 1, 2, ..."""
    if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
        return 0.02 / math.sqrt(2 * (int(name.split(".")[1]) + 1))
    return 0.02


@pytest.mark.parametrize("part", ["encoder", "predictor"])
def test_every_parameter_starts_as_vjepa2s(part: str, parts: dict[str, torch.nn.Module]) -> None:
    kinds = set()
    for name, param in parts[part].named_parameters():
        values = param.detach()
        if param.ndim >= 2:
            kinds.add("matrix")
            spread = 4 / math.sqrt(2 * values.numel())  # four deviations of a normal's estimate
            assert values.std() == pytest.approx(expected_std(name), rel=spread)
            assert abs(values.mean()) < 4 * expected_std(name) / math.sqrt(values.numel())
            # A normal distribution, not a uniform one of the same deviation (kurtosis 1.8).
            kurtosis = (values / values.std()).pow(4).mean()
            assert kurtosis == pytest.approx(3, abs=0.2)
        elif "norm" in name and name.endswith("weight"):
            kinds.add("norm")
            assert (values == 1).all()
        else:
            kinds.add("mask_token" if name == "mask_token" else "bias")
            assert (values == 0).all()
    expected = {"matrix", "norm", "bias"} | ({"mask_token"} if part == "predictor" else set())
    assert kinds == expected
