"""Networks and methods: defaults and what is refused."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.methods import Ema, Network, Salt
from vsalt.linear.problem import Problem


def test_layers_multiply_to_the_encoder_and_start_balanced() -> None:
    network = Network(depth=3, eps=1e-3, predictor_rate=4.0)
    assert network.layer_start**3 == pytest.approx(1e-3)
    assert network.predictor_layer_start == pytest.approx(0.2)
    assert not network.is_plain
    assert Network(depth=3, eps=1e-3).is_plain
    assert not Network(depth=3, eps=1e-3, predictor_start=0.2).is_plain
    assert Network(depth=2, eps=0.25, predictor_start=0.5).is_plain


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"eps": 0.0}, "eps is 0.0"),
        ({"eps": 1.0}, "eps is 1.0"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"predictor_depth": 0}, "predictor_depth is 0"),
        ({"predictor_rate": 0.0}, "predictor_rate is 0.0"),
        ({"predictor_rate": float("inf")}, "predictor_rate is inf"),
        ({"predictor_start": -0.1}, "predictor_start is -0.1"),
        ({"predictor_start": float("nan")}, "predictor_start is nan"),
        ({"predictor_start": 0.0, "predictor_depth": 2}, "never leave 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Network(**({"depth": 2, "eps": 0.01} | wrong))


@pytest.mark.parametrize(
    "gain", [[-0.1], [float("nan")], [float("inf")], [[0.5]], 0.5], ids=lambda gain: str(gain)
)
def test_gains_of_a_teacher_are_numbers_for_features(gain: object) -> None:
    with pytest.raises(ConfigError, match="one number of at least 0 for each feature"):
        Salt(np.array(gain))


def test_a_teacher_stays_what_it_was() -> None:
    given = np.array([0.5, 0.6])
    teacher = Salt(given)
    given[0] = 9.0
    assert teacher.gain.tolist() == [0.5, 0.6]
    with pytest.raises(ValueError, match="read-only"):
        teacher.gain[0] = 1.0


def test_a_teacher_of_other_features_is_refused() -> None:
    problem = Problem([1.0, 1.0], [0.5, 0.6])
    with pytest.raises(ConfigError, match="1 gains for 2 features"):
        Salt(np.array([0.5])).gain_for(problem)


@pytest.mark.parametrize("time", [0.0, -1.0, float("nan")])
def test_an_average_needs_a_time(time: float) -> None:
    with pytest.raises(ConfigError, match="time is"):
        Ema(time=time)
