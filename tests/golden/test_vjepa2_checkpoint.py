"""A checkpoint of V-JEPA 2's own modules is read as what they compute.

Names, shapes and expected numbers come from `VisionTransformer` and `VisionTransformerPredictor` of
facebookresearch/vjepa2 at c2963a4, inside of the wrappers and with the entries that its train.py
saves, run in float64 with mask token number 1. Ours run in float32.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from support.fill import chirp, filled
from vsalt.interop.original import OriginalSettings, read_original

TOLERANCE = 2e-5
GRID = (2, 4, 4)
CONTEXT = torch.tensor([[0, 3, 8, 9, 14, 21, 30], [1, 2, 5, 17, 19, 26, 31]])
TARGETS = torch.tensor([[1, 7, 12, 18, 29], [0, 4, 16, 24, 30]])

# [0, 0, :4]; [1, 4, 10:14]; [-1, -1, -4:]; mean, mean absolute value, mean square
ENCODED = [
    *(-0.84491381, 0.26012776, -0.26936452, -1.15928796),
    *(-0.3307825, -1.30887223, 1.55465619, 0.47917013),
    *(-1.10680006, -1.6443539, 1.14680296, -0.59128458),
    *(0.11840095, 0.80948595, 1.06302273),
]
PREDICTED = [
    *(2.06761217, -0.15825377, 0.72650772, 1.10210531),
    *(1.25825606, -0.63112968, -0.83438927, -1.36610106),
    *(-1.29185065, -1.25179396, -1.02265046, 1.84850668),
    *(0.02843379, 1.24726746, 2.16003799),
]


def pair(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def block(name: str, width: int, mlp: int) -> dict[str, tuple[int, ...]]:
    return {
        **pair(f"{name}.norm1", width),
        **pair(f"{name}.attn.qkv", 3 * width, width),
        **pair(f"{name}.attn.proj", width, width),
        **pair(f"{name}.norm2", width),
        **pair(f"{name}.mlp.fc1", mlp, width),
        **pair(f"{name}.mlp.fc2", width, mlp),
    }


ENCODER = {
    **pair("patch_embed.proj", 24, 3, 2, 8, 8),
    **block("blocks.0", 24, 96),
    **block("blocks.1", 24, 96),
    **pair("norm", 24),
}
PREDICTOR = {
    **pair("predictor_embed", 40, 24),
    **{f"mask_tokens.{index}": (1, 1, 40) for index in range(10)},
    **block("predictor_blocks.0", 40, 160),
    **block("predictor_blocks.1", 40, 160),
    **pair("predictor_norm", 40),
    **pair("predictor_proj", 24, 40),
}


def saved(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    values = filled(shapes)
    return {f"module.backbone.{name}": value.float() for name, value in values.items()}


def numbers_of(x: Tensor) -> Tensor:
    statistics = torch.stack([x.mean(), x.abs().mean(), x.square().mean()])
    return torch.cat([x[0, 0, :4], x[1, 4, 10:14], x[-1, -1, -4:], statistics])


@pytest.mark.parametrize("role", ["encoder", "target_encoder"])
def test_a_checkpoint_computes_what_the_original_does(role: str, tmp_path: Path) -> None:
    encoder, zeros = saved(ENCODER), {name: torch.zeros(1) for name in saved(ENCODER)}
    other = "encoder" if role == "target_encoder" else "target_encoder"
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    state = {role: encoder, other: zeros, "predictor": saved(PREDICTOR)}
    state |= {"opt": optimiser.state_dict(), "scaler": None, "epoch": 1, "loss": 0.5}
    state |= {"batch_size": 24, "world_size": 8, "lr": 1e-4}
    torch.save(state, tmp_path / "latest.pth.tar")
    settings = OriginalSettings(role=role, num_frames=4, size=32, heads=2, predictor_heads=2)
    networks = read_original(tmp_path / "latest.pth.tar", settings).networks
    assert networks.predictor is not None
    with torch.no_grad():
        tokens = networks.encoder(1.7 * chirp(2, 3, 4, 32, 32, rate=0.0137).float())
        context = torch.stack([own[ids] for own, ids in zip(tokens, CONTEXT, strict=True)])
        predictions = networks.predictor(context, CONTEXT, TARGETS, GRID)
    for found, expected in ((tokens, ENCODED), (predictions, PREDICTED)):
        torch.testing.assert_close(
            numbers_of(found), torch.tensor(expected), atol=TOLERANCE, rtol=0
        )
