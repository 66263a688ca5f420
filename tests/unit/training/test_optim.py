"""Clipping and AdamW against formulas written out, group by group."""

import math

import pytest
import torch
from torch import nn

from vsalt.objectives.protocol import ParamGroup, param_group
from vsalt.training.config import OptimConfig
from vsalt.training.optim import (
    all_finite,
    build_optimiser,
    clip_gradients,
    gradient_norms,
    set_schedule,
)


def make_groups(scales: tuple[float, float] = (1.0, 1.0)) -> list[ParamGroup]:
    """Two modules with gradients of very different sizes."""
    torch.manual_seed(0)
    groups = []
    for name, scale in zip(("encoder", "predictor"), scales, strict=True):
        module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        for param in module.parameters():
            param.grad = scale * torch.randn_like(param)
        groups.append(param_group(name, module))
    return groups


def params_of(group: ParamGroup) -> list[nn.Parameter]:
    return [*group.decayed, *group.undecayed]


def by_hand_norm(group: ParamGroup) -> float:
    return math.sqrt(sum(float(g) ** 2 for p in params_of(group) for g in p.grad.flatten()))


def test_each_group_is_clipped_on_its_own() -> None:
    groups, copies = make_groups((0.001, 50.0)), make_groups((0.001, 50.0))
    before = [[param.grad.clone() for param in params_of(group)] for group in groups]
    norms = gradient_norms(groups)
    by_hand = [by_hand_norm(group) for group in groups]
    assert [norms[group.name].item() for group in groups] == pytest.approx(by_hand, rel=1e-6)
    assert by_hand[0] < 0.02 < by_hand[1]

    clip_gradients(groups, norms, 0.02)
    for group, copy, old in zip(groups, copies, before, strict=True):
        nn.utils.clip_grad_norm_(params_of(copy), 0.02)
        for param, other, grad in zip(params_of(group), params_of(copy), old, strict=True):
            torch.testing.assert_close(param.grad, other.grad, rtol=1e-6, atol=0)
            scale = min(1.0, 0.02 / by_hand_norm_of(old))
            torch.testing.assert_close(param.grad, grad * scale, rtol=1e-4, atol=0)
    assert by_hand_norm(groups[1]) == pytest.approx(0.02, rel=1e-4)


def by_hand_norm_of(grads: list[torch.Tensor]) -> float:
    return math.sqrt(sum(float(g) ** 2 for grad in grads for g in grad.flatten()))


def test_parameters_without_gradient_do_not_count() -> None:
    groups = make_groups()
    expected = by_hand_norm_of([p.grad for p in params_of(groups[0])[1:]])
    params_of(groups[0])[0].grad = None
    assert gradient_norms(groups)["encoder"].item() == pytest.approx(expected, rel=1e-6)


def test_steps_are_adamw_with_decay_on_matrices_only() -> None:
    """Three steps by the formula of decoupled weight decay (arXiv 1711.05101), in float64."""
    groups = make_groups()
    config = OptimConfig(betas=(0.8, 0.9), eps=1e-6)
    optimiser = build_optimiser(groups, config)
    params = [param for group in groups for param in params_of(group)]
    decays = [param.ndim >= 2 for param in params]
    assert sum(decays) == 2
    values = [param.detach().double() for param in params]
    first = [torch.zeros_like(value) for value in values]
    second = [torch.zeros_like(value) for value in values]
    for step in range(1, 4):
        lr, decay = 0.1 / step, 0.3 * step
        set_schedule(optimiser, lr, decay)
        for i, param in enumerate(params):
            param.grad = torch.randn_like(param)
            grad = param.grad.double()
            first[i] = 0.8 * first[i] + 0.2 * grad
            second[i] = 0.9 * second[i] + 0.1 * grad**2
            move = first[i] / (1 - 0.8**step) / ((second[i] / (1 - 0.9**step)).sqrt() + 1e-6)
            values[i] = values[i] * (1 - lr * decay * decays[i]) - lr * move
        optimiser.step()
        for param, value in zip(params, values, strict=True):
            torch.testing.assert_close(param.detach().double(), value, rtol=1e-5, atol=1e-6)


def test_a_group_without_vectors_or_matrices_is_fine() -> None:
    only_bias = ParamGroup("bias", (), (nn.Parameter(torch.ones(3)),))
    optimiser = build_optimiser([only_bias], OptimConfig())
    set_schedule(optimiser, 0.1, 0.4)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_is_seen(bad: float) -> None:
    good = [torch.tensor(1.0), torch.tensor(-3e38)]
    assert all_finite(good)
    assert not all_finite([*good, torch.tensor(bad)])
