"""F3: trained matrices laid over the theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vsalt.linear.closed_form import final_gain
from vsalt.linear.covariances import Covariances
from vsalt.linear.descent import FrozenTeacher, MatrixMethod
from vsalt.linear.dynamics import integrate, integrated_critical_time
from vsalt.linear.figures import style
from vsalt.linear.figures.figure import FigureSpec, Numbers
from vsalt.linear.figures.methods import EMA, JEPA, MAE, SALT, method
from vsalt.linear.initialisations import Orthogonal, random_orthogonal
from vsalt.linear.methods import Mae, Method, Network
from vsalt.linear.networks import train
from vsalt.linear.problem import Problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METHODS = (MAE, SALT, JEPA, EMA)
LAMBDA = (1.0, 0.7, 0.5, 1.2, 0.9, 0.4)
RHO = (0.9, 0.8, 0.95, 0.5, 0.6, 0.7)
_BETWEEN = 10
"""Errors are taken at this many times for each dot that is drawn."""


def compute(
    *,
    depths: tuple[int, ...] = (1, 2, 3),
    eps: float = 0.03,
    learning_rate: float = 0.01,
    ema_time: float = 10.0,
    num_dots: int = 14,
    num_points: int = 120,
    seed: int = 0,
) -> Numbers:
    """Return gains by integration and of trained matrices, and the largest difference over m*."""
    problem = Problem(LAMBDA, RHO)
    panels = [
        {
            "L": depth,
            "method": name,
            **_panel_numbers(
                problem,
                Network(depth=depth, eps=eps),
                name,
                ema_time=ema_time,
                learning_rate=learning_rate,
                sizes=(num_dots, num_points),
                seed=seed,
            ),
        }
        for depth in depths
        for name in METHODS
    ]
    note = (
        f"d = {len(problem)}, λ = {', '.join(f'{v:g}' for v in LAMBDA)}; ε = {eps:g}; learning "
        f"rate {learning_rate:g}; features in a random basis, random orthogonal layers with a "
        f"matching predictor, seed {seed}. SALT: its teacher is a trained MAE of the same depth. "
        f"EMA: decay of the average {1 - learning_rate / ema_time:g} a step, T = {ema_time:g}."
    )
    parameters = {
        "L": depths,
        "d": len(problem),
        "lambda": LAMBDA,
        "eps": eps,
        "learning_rate": learning_rate,
        "ema_time": ema_time,
        "seed": seed,
    }
    return {"parameters": parameters, "note": note, "rho": problem.rho, "panels": panels}


def _panel_numbers(
    problem: Problem,
    network: Network,
    name: str,
    *,
    ema_time: float,
    learning_rate: float,
    sizes: tuple[int, int],
    seed: int,
) -> Numbers:
    rng = np.random.default_rng(seed)
    data = Covariances.of(problem, random_orthogonal((len(problem), len(problem)), rng))
    asked = method(name, problem, network, ema_time=ema_time)
    end = _time_of_all(problem, network, asked)
    trained: MatrixMethod = asked
    if name == SALT:
        trained = _teacher(data, problem, network, learning_rate, rng)
    run = train(
        data,
        network,
        trained,
        learning_rate=learning_rate,
        times=np.linspace(0, end, sizes[0] * _BETWEEN + 1),
        init=Orthogonal(),
        rng=rng,
    )
    theory = integrate(problem, network, asked, np.linspace(0, end, sizes[1]))
    difference = run.encoder - integrate(problem, network, asked, run.times).encoder
    final = final_gain(problem, network, asked)
    return {
        "time": theory.times,
        "gain": theory.encoder,
        "trained_time": run.times[::_BETWEEN],
        "trained_gain": run.encoder[::_BETWEEN],
        "final_gain": final,
        "error": float(np.max(np.abs(difference) / final)),
    }


def _teacher(
    data: Covariances,
    problem: Problem,
    network: Network,
    learning_rate: float,
    rng: np.random.Generator,
) -> FrozenTeacher:
    """Train an MAE until it hardly moves."""
    end = 3 * _time_of_all(problem, network, Mae())
    more: Any = {"learning_rate": learning_rate, "init": Orthogonal(), "rng": rng}
    return train(data, network, Mae(), times=np.array([end]), **more).teacher


def _time_of_all(problem: Problem, network: Network, asked: Method) -> float:
    """Return the time at which every feature that is ever learned is close to its end."""
    times = integrated_critical_time(problem, network, asked, fraction=0.97)
    return 1.15 * float(times[np.isfinite(times)].max())


def draw(numbers: Numbers, figure: Figure) -> None:
    """Draw one panel for each depth and method."""
    depths = numbers["parameters"]["L"]
    axes = figure.subplots(len(depths), len(METHODS), sharey=True, squeeze=False)
    colours = style.rho_colours(numbers["rho"])
    for ax, panel in zip(axes.flat, numbers["panels"], strict=True):
        _draw_panel(ax, panel, numbers["rho"], colours)
    for ax, name in zip(axes[0], METHODS, strict=True):
        ax.set_title(name, color=style.COLOURS[name], fontweight="bold")
    for ax, depth in zip(axes[:, 0], depths, strict=True):
        ax.set_ylabel(f"L = {depth}\ngain of the encoder m")
    for ax in axes[-1]:
        ax.set_xlabel(style.TIME)
    axes[0, 0].set_ylim(0, 1.12)
    style.rho_bar(figure, colours, axes)


def _draw_panel(ax: Axes, panel: Numbers, rho: np.ndarray, colours: Any) -> None:
    for index, value in enumerate(rho):
        colour = colours.to_rgba(value)
        ax.plot(panel["time"], panel["gain"][:, index], color=colour, lw=1.2)
        ax.plot(panel["trained_time"], panel["trained_gain"][:, index], "o", color=colour, ms=3.6)
    ax.set_xlim(0, panel["time"][-1] * 1.02)
    style.corner(ax, f"largest error {panel['error']:.2%} of m*")


SPEC = FigureSpec(
    name="F3",
    stem="F03-trained-networks",
    title="Matrices trained by gradient descent follow the equation of a single feature",
    caption="Encoder gains of six features: lines are the equation of one feature, dots are "
    "matrices trained by gradient descent in a basis that does not show the features. The error is "
    "the largest difference over all features and times, relative to the final gain. The lines of "
    "SALT take the teacher to be at its fixed point, its dots use one that was trained.",
    size=(10.5, 7.0),
    compute=compute,
    draw=draw,
)
