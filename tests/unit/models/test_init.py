"""Initial weights: what V-JEPA 2's rule says about every kind of parameter, in every size."""

import math

import pytest
import torch
from torch import nn

from vsalt.models.config import ENCODERS, EncoderConfig, PredictorConfig, SizeName
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder

DEPTHS: dict[SizeName, int] = {"Ti": 12, "S": 3}
"""Blocks that are made; of larger sizes the first alone, to save time."""


def build(size: SizeName, depth: int) -> dict[str, nn.Module]:
    encoder = EncoderConfig(size=size, depth=depth)
    predictor = PredictorConfig(depth=3).resolved(size)
    width = ENCODERS[size].width
    return {
        "encoder": Encoder(encoder),
        "predictor": Predictor(predictor, in_width=width, out_width=256, positions="vjepa2"),
    }


def expected_std(name: str) -> float:
    """0.02, over sqrt(2 i) for the last map of both sub-layers of block i = 1, 2, ..."""
    if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
        return 0.02 / math.sqrt(2 * (int(name.split(".")[1]) + 1))
    return 0.02


def assert_normal(name: str, param: torch.Tensor) -> None:
    """Mean, deviation and kurtosis of a normal, within four deviations of their estimates."""
    values = param.flatten()
    assert values.abs().max() < 10 * expected_std(name), name  # V-JEPA 2's sampler has a few -2
    values = values[:: max(1, len(values) // 300_000)]
    estimate = 4 / math.sqrt(len(values))
    assert values.std() == pytest.approx(expected_std(name), rel=estimate / math.sqrt(2)), name
    assert abs(values.mean()) < expected_std(name) * estimate, name
    # A uniform distribution of the same deviation has 1.8.
    kurtosis = (values / values.std()).pow(4).mean()
    assert kurtosis == pytest.approx(3, abs=math.sqrt(24) * estimate + 0.01), name


@pytest.mark.parametrize("size", ENCODERS)
def test_every_parameter_starts_as_vjepa2s(size: SizeName) -> None:
    torch.manual_seed(0)
    for part, module in build(size, DEPTHS.get(size, 1)).items():
        kinds = set()
        for name, param in module.named_parameters():
            if param.ndim >= 2:
                kinds.add("matrix")
                assert_normal(name, param.detach())
            elif "norm" in name and name.endswith("weight"):
                kinds.add("norm")
                assert (param == 1).all(), name
            else:
                kinds.add("mask_token" if name == "mask_token" else "bias")
                assert (param == 0).all(), name
        mask_token = {"mask_token"} if part == "predictor" else set()
        assert kinds == {"matrix", "norm", "bias"} | mask_token


@pytest.mark.parametrize("size", ENCODERS)
def test_all_norms_have_vjepa2s_eps(size: SizeName) -> None:
    with torch.device("meta"):
        parts = build(size, ENCODERS[size].depth)
    for part, count in (("encoder", 2 * ENCODERS[size].depth + 1), ("predictor", 2 * 3 + 1)):
        norms = [module for module in parts[part].modules() if isinstance(module, nn.LayerNorm)]
        assert len(norms) == count
        assert {norm.eps for norm in norms} == {1e-6}
