"""Two and more actual stages: a trained network's matrix teaches the next network."""

import numpy as np
import pytest

from vsalt.errors import ConfigError
from vsalt.linear.closed_form import critical_time, final_gain, learned_gain, time_to_gain
from vsalt.linear.covariances import Covariances
from vsalt.linear.frozen import converged_teacher, round_exponent, stopped_teacher
from vsalt.linear.initialisations import Aligned, Initialisation, Orthogonal, random_orthogonal
from vsalt.linear.methods import Mae, Network, Salt
from vsalt.linear.networks import hitting_times, train, train_rounds
from vsalt.linear.problem import Problem

PROBLEM = Problem([1.0, 0.7, 0.5, 1.2, 0.9, 0.4], [0.9, 0.8, 0.95, 0.5, 0.6, 0.7])
WEAK, NOISY = 2, 3
"""A weak but predictable feature, and a strong but noisy one."""


@pytest.mark.parametrize(("depth", "teacher_depth"), [(1, 1), (2, 2), (3, 3), (3, 1), (1, 3)])
def test_student_and_teacher_are_as_the_theory_says(depth: int, teacher_depth: int) -> None:
    eps = 0.05
    teacher_network = Network(depth=teacher_depth, eps=eps)
    network = Network(depth=depth, eps=eps)
    long = np.array([40.0])
    teacher = train(PROBLEM, teacher_network, Mae(), learning_rate=0.02, times=long)
    gain = converged_teacher(PROBLEM, teacher_network)
    np.testing.assert_allclose(teacher.encoder[-1], gain, rtol=1e-6)

    student = train(PROBLEM, network, teacher.teacher, learning_rate=0.02, times=long)
    salt = Salt(gain)
    np.testing.assert_allclose(student.encoder[-1], final_gain(PROBLEM, network, salt), rtol=1e-6)
    np.testing.assert_allclose(student.target[-1], gain, rtol=1e-6)

    gains = learned_gain(eps, final_gain(PROBLEM, network, salt))
    times = hitting_times(PROBLEM, network, teacher.teacher, gains, learning_rate=0.02, limit=60.0)
    np.testing.assert_allclose(times, critical_time(PROBLEM, network, salt), rtol=1e-2)


@pytest.mark.parametrize("init", [Aligned(width=8), Orthogonal(), Orthogonal(width=8)], ids=repr)
def test_a_student_follows_the_orientation_of_its_teacher(init: Initialisation) -> None:
    rng = np.random.default_rng(0)
    basis = random_orthogonal((6, 6), rng)
    runs = {}
    for name, data, start in (
        ("plain", Covariances.of(PROBLEM), Aligned()),
        ("turned", Covariances.of(PROBLEM, basis), init),
    ):
        runs[name] = train_rounds(
            data,
            [Network(depth=2, eps=0.05), Network(depth=2, eps=0.1)],
            learning_rate=0.02,
            times=[np.array([12.0]), np.linspace(0, 30, 4)],
            init=start,
            rng=rng,
        )
    for plain, turned in zip(runs["plain"], runs["turned"], strict=True):
        np.testing.assert_allclose(turned.encoder, plain.encoder, rtol=1e-6)
        np.testing.assert_allclose(turned.predictor, plain.predictor, rtol=1e-6)


def test_each_round_of_freezing_raises_the_exponent() -> None:
    networks = [Network(depth=2, eps=0.1)] * 3
    runs = train_rounds(
        PROBLEM, networks, learning_rate=0.02, times=[np.array([60.0])] * len(networks)
    )
    for rounds, run in enumerate(runs, start=1):
        expected = PROBLEM.rho ** round_exponent(rounds, depth=2)
        np.testing.assert_allclose(run.encoder[-1], expected, rtol=1e-6)


@pytest.mark.parametrize("num_networks", [0, 2])
def test_each_round_has_its_times(num_networks: int) -> None:
    networks = [Network(depth=1, eps=0.1)] * num_networks
    with pytest.raises(ConfigError, match=f"{num_networks} networks and {num_networks // 2} lists"):
        train_rounds(
            PROBLEM, networks, learning_rate=0.02, times=[np.ones(1)] * (num_networks // 2)
        )


# Fraction 0.9 of the final gain itself, and of the way from eps to it: the times differ where a
# feature's final gain is not far above eps.
STOPPED = {
    600: ((0.047, 0.54), (310.0, 11.1), (323.5, 11.1)),
    1000: ((0.136, 0.60), (107.8, 10.1), (109.0, 10.1)),
    1500: ((0.943, 0.60), (15.0, 10.1), (15.0, 10.1)),
}


@pytest.mark.parametrize("steps", STOPPED)
def test_a_teacher_stopped_early_passes_on_what_it_has_learned(steps: int) -> None:
    """L = 3, eps = 0.02, learning rate 0.01: golden gains and times of a separate computation."""
    network = Network(depth=3, eps=0.02)
    teacher = train(PROBLEM, network, Mae(), learning_rate=0.01, times=np.array([steps * 0.01]))
    gain = teacher.encoder[-1]
    gains, bare, times = STOPPED[steps]
    np.testing.assert_allclose(gain[[WEAK, NOISY]], gains, rtol=0.012)
    np.testing.assert_allclose(gain, stopped_teacher(PROBLEM, network, steps * 0.01), rtol=2e-2)

    salt = Salt(gain)
    final = final_gain(PROBLEM, network, salt)
    exact_bare = time_to_gain(PROBLEM, network, salt, 0.9 * final)
    np.testing.assert_allclose(exact_bare[[WEAK, NOISY]], bare, rtol=1e-2)
    exact = critical_time(PROBLEM, network, salt)
    np.testing.assert_allclose(exact[[WEAK, NOISY]], times, rtol=1e-2)

    found = hitting_times(
        PROBLEM,
        network,
        teacher.teacher,
        np.where(exact < 60, learned_gain(network.eps, final), 0.0),
        learning_rate=0.01,
        limit=60.0,
    )
    is_timed = exact < 60
    assert is_timed[NOISY]
    np.testing.assert_allclose(found[is_timed], exact[is_timed], rtol=2e-3)
