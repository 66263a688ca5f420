"""Method vjepa: the momentum's schedule, what is carried, and which encoder is kept."""

import json
from pathlib import Path

import pytest
import torch

from support.tiny import make_batch, make_encoder
from support.trainers import make_salt, make_vjepa
from vsalt.errors import ConfigError, WeightsError
from vsalt.objectives.config import METHODS, VjepaConfig
from vsalt.objectives.protocol import Objective
from vsalt.objectives.salt import SaltObjective
from vsalt.objectives.vjepa import momentum_of
from vsalt.training.checkpoint import model_tensors

VJEPA = json.loads(
    (Path(__file__).parents[2] / "golden" / "vjepa_schedules.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("stretch", [1.0, 1.25])
def test_momenta_are_vjepas(stretch: float) -> None:
    momenta = [momentum_of(step, stretch * 40, VjepaConfig()) for step in range(40)]
    assert momenta == pytest.approx(VJEPA[f"stretch {stretch}"]["momentum"], rel=1e-14)
    assert momenta[0] == 0.998


def test_a_constant_momentum_is_constant() -> None:
    config = VjepaConfig(momentum=0.99925, momentum_final=0.99925)
    assert {momentum_of(step, 10.0, config) for step in range(10)} == {0.99925}


def test_momenta_are_shares() -> None:
    with pytest.raises(ConfigError) as caught:
        VjepaConfig(momentum=1.1, momentum_final=float("nan"))
    assert caught.value.problems == [
        "method.momentum is 1.1; it must be in [0, 1]",
        "method.momentum-final is nan; it must be in [0, 1]",
    ]


def test_at_the_start_it_is_salt_with_itself_as_the_teacher() -> None:
    ours, batch = make_vjepa(), make_batch(3)
    config = ours.encoder.config
    frozen = make_encoder(1)
    assert frozen.config == config
    salt = SaltObjective(
        METHODS["salt"](),
        make_encoder(1),
        frozen,
        ours._predictor_config,
        ours.mask_names,
    )
    salt.trainable.load_state_dict(ours.trainable.state_dict())
    assert torch.equal(ours.loss(batch).clip_losses, salt.loss(batch).clip_losses)


def test_only_student_and_predictor_get_gradients() -> None:
    objective = make_vjepa()
    assert isinstance(objective, Objective)
    objective.loss(make_batch(2)).loss_sum.backward()
    for name, param in objective.trainable.named_parameters():
        assert param.grad is not None, name
        assert param.grad.abs().max() > 0, name
    assert isinstance(objective.target, torch.nn.Module)
    assert all(param.grad is None for param in objective.target.parameters())


def test_the_average_follows_after_a_step_and_is_carried() -> None:
    objective = make_vjepa(num_steps=4.0)
    before = {name: value.clone() for name, value in objective.carried_state().items()}
    with torch.no_grad():
        for param in objective.trainable.parameters():
            param.add_(1)
    objective.after_step(2)  # momentum 0.6 + 0.4 * 2 / 4
    for name, value in objective.carried_state().items():
        torch.testing.assert_close(value, before[name] + 0.2)
    objective.load_carried_state(before)
    for name, value in objective.carried_state().items():
        assert torch.equal(value, before[name])
    with pytest.raises(WeightsError, match="the moving average do not fit"):
        objective.load_carried_state({})


@pytest.mark.parametrize("kept", ["target", "student"])
def test_the_kept_encoder_is_where_the_config_says(kept: str) -> None:
    objective = make_vjepa(config=VjepaConfig(kept=kept, momentum=0.5))
    with torch.no_grad():
        objective.trainable["encoder"].norm.bias.add_(1)
    tensors = model_tensors(objective)
    prefix = VjepaConfig(kept=kept).kept_weights
    for name, value in objective.encoder.state_dict().items():
        assert torch.equal(tensors[f"{prefix}.{name}"], value)
    is_student = objective.encoder is objective.trainable["encoder"]
    assert is_student == (kept == "student")


def test_what_methods_say_of_themselves() -> None:
    said = {
        name: (kind.needs_teacher, kind.loss_selects, kind().kept_weights)
        for name, kind in METHODS.items()
    }
    assert said == {
        "pixel": (False, True, "encoder"),
        "salt": (True, True, "encoder"),
        "vjepa": (False, False, "carried.target"),
    }
    for make, prefix in ((make_salt, "encoder"), (make_vjepa, "carried.target")):
        objective = make()
        names = {name for name in model_tensors(objective) if name.startswith(f"{prefix}.")}
        assert names == {f"{prefix}.{name}" for name in objective.encoder.state_dict()}
