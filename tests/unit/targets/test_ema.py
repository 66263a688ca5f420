"""The moving average: whose copy it is, how it moves, and that nothing else moves it."""

import copy

import pytest
import torch

from support.tiny import make_clips, make_encoder, randomise
from vsalt.targets.ema import EmaTeacher
from vsalt.targets.frozen import FrozenTeacher

IDS = torch.tensor([[0, 5, 7]])


def test_it_begins_as_a_copy_and_shares_nothing() -> None:
    student = make_encoder()
    teacher = EmaTeacher(student, "layer_norm")
    before = FrozenTeacher(copy.deepcopy(student), "layer_norm").open(make_clips(1))(IDS)
    assert torch.equal(teacher.open(make_clips(1))(IDS), before)
    randomise(student, seed=9)
    student.train()
    assert torch.equal(teacher.open(make_clips(1))(IDS), before)
    assert all(param.requires_grad for param in student.parameters())
    assert not any(param.requires_grad for param in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    torch.nn.ModuleDict({"teacher": teacher}).train()
    assert not any(module.training for module in teacher.modules())


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.998, 1.0])
def test_every_weight_moves_by_the_formula(momentum: float) -> None:
    student = make_encoder()
    teacher = EmaTeacher(student, "none")
    before = {name: param.clone() for name, param in teacher.encoder.named_parameters()}
    randomise(student, seed=9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        teacher.update(student, momentum)
    for name, param in teacher.encoder.named_parameters():
        theirs = student.get_parameter(name).double()
        expected = momentum * before[name].double() + (1 - momentum) * theirs
        assert param.dtype == torch.float32
        torch.testing.assert_close(param.double(), expected, rtol=1e-6, atol=1e-7)
        assert not torch.equal(before[name], student.get_parameter(name)), name
        if momentum == 1:
            assert torch.equal(param, before[name])
        assert param.grad_fn is None
    assert all(param.grad is None for param in student.parameters())
