"""What a linear network is trained to predict: the target's gain g of every feature.

The encoder multiplies feature i by u_i^L, and is trained to make of it g_i times the feature of y.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vsalt.errors import report_problems
from vsalt.linear.problem import Features, Problem


@dataclass(frozen=True, kw_only=True)
class Network:
    """A deep linear encoder with a linear predictor (or decoder) on top, and how it starts.

    Layers of the encoder start at u0 = eps^(1/L) each, hence the encoder at eps. Balanced means
    that v² - alpha u² = 0 for the predictor's layers v, which training keeps.

    Attributes:
        depth: layers of the encoder, L.
        eps: gain of the encoder at the start.
        predictor_depth: layers of the predictor, P.
        predictor_rate: learning rate of the predictor over that of the encoder, alpha.
        predictor_start: gain of each of the predictor's layers at the start; None: balanced.
    """

    depth: int
    eps: float
    predictor_depth: int = 1
    predictor_rate: float = 1.0
    predictor_start: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.depth < 1:
            problems.append(f"depth is {self.depth}; it must be at least 1")
        if not 0 < self.eps < 1:
            problems.append(f"eps is {self.eps}; it must be between 0 and 1")
        if self.predictor_depth < 1:
            problems.append(f"predictor_depth is {self.predictor_depth}; it must be at least 1")
        if not 0 < self.predictor_rate < np.inf:
            problems.append(
                f"predictor_rate is {self.predictor_rate}; it must be above 0 and finite"
            )
        problems += self._predictor_start_problems()
        report_problems(problems)

    def _predictor_start_problems(self) -> list[str]:
        start = self.predictor_start
        if start is None or (start > 0 and np.isfinite(start)):
            return []
        if start != 0:
            return [f"predictor_start is {start}; it must be a number of at least 0"]
        # The gradient of every layer has the others as factors.
        if self.predictor_depth > 1:
            return ["several layers of a predictor never leave 0; predictor_start must be above 0"]
        return []

    @property
    def layer_start(self) -> float:
        """u0 = eps^(1/L)."""
        return float(self.eps ** (1 / self.depth))

    @property
    def predictor_layer_start(self) -> float:
        """v0; sqrt(alpha) u0 where balanced."""
        if self.predictor_start is not None:
            return self.predictor_start
        return float(np.sqrt(self.predictor_rate)) * self.layer_start

    @property
    def is_plain(self) -> bool:
        """Whether all layers start alike and learn alike, as the closed forms take it."""
        return self.predictor_rate == 1 and self.predictor_layer_start == self.layer_start


@dataclass(frozen=True)
class Mae:
    """Predict y itself: g = 1 (masked autoencoder, pixel reconstruction)."""


@dataclass(frozen=True)
class Jepa:
    """Predict what the encoder makes of y, without a gradient through it: g = u^L."""


@dataclass(frozen=True, eq=False)
class Salt:
    """Predict what a frozen teacher makes of y: g = t.

    Attributes:
        gain: t of every feature, at least 0, as `vsalt.linear.frozen` gives it.
    """

    gain: Features

    def __post_init__(self) -> None:
        """Check the gains."""
        gain = np.array(self.gain, dtype=np.float64)
        if gain.ndim != 1 or not np.all((gain >= 0) & np.isfinite(gain)):
            report_problems(["a teacher's gains are one number of at least 0 for each feature"])
        gain.setflags(write=False)
        object.__setattr__(self, "gain", gain)

    def gain_for(self, problem: Problem) -> Features:
        """Return the gains for the features of a problem.

        Raises:
            ConfigError: if there are more or fewer gains than features.
        """
        if len(self.gain) != len(problem):
            report_problems([f"the teacher has {len(self.gain)} gains for {len(problem)} features"])
        return self.gain


@dataclass(frozen=True, kw_only=True)
class Ema:
    """Predict what a moving average of the encoder's layers makes of y: g = xi^L.

    dxi/dt = (u - xi) / T, and xi starts as u does.

    Attributes:
        time: T, in the clock of `vsalt.linear.dynamics`; learning rate / (1 - decay) for gradient
            descent with an average of the weights after every step.
    """

    time: float

    def __post_init__(self) -> None:
        """Check the setting."""
        if not self.time > 0:
            report_problems([f"time is {self.time}; it must be above 0"])


Method: TypeAlias = Mae | Jepa | Salt | Ema
