"""Linear Gaussian models of data, with lambda and rho in closed form and by sampling.

arXiv 2407.03475 has a static and a dynamic linear model whose parameters we have not seen; these
are models of that kind.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from vsalt.errors import report_problems
from vsalt.linear.problem import Features, Problem

Samples: TypeAlias = npt.NDArray[np.float64]
"""Shape (samples, features)."""


@runtime_checkable
class Generator(Protocol):
    """A model of pairs x, y."""

    def problem(self) -> Problem:
        """Return lambda and rho in closed form."""
        ...

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """Draw x and y."""
        ...


def sampled_problem(x: Samples, y: Samples) -> Problem:
    """Return lambda and rho of samples whose features are aligned: the diagonals of covariances.

    Where the sample has a lambda below 0 the feature counts as noise, lambda = rho = 0. Data whose
    features are not known to be aligned are for `vsalt.linear.estimate`.
    """
    return Problem.from_variances(
        np.maximum(np.mean(x * y, axis=0), 0.0), np.mean(np.square(x), axis=0)
    )


def _variance_problems(**values: Features) -> list[str]:
    problems = []
    shapes = {name: np.shape(value) for name, value in values.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        problems.append(f"one number for each feature is needed everywhere, got shapes {told}")
    return problems + [
        f"{name} must be at least 0, got {np.asarray(value).tolist()}"
        for name, value in values.items()
        if not np.all(np.asarray(value) >= 0)
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoViews:
    """Two noisy views of one thing: x = z + noise, y = z + other noise.

    lambda = s and rho = s / (s + n), which can be chosen freely: a noisy feature has a large s and
    a large n.

    Attributes:
        signal: variance s of every feature of z.
        noise: variance n of its noise in x and in y.
    """

    signal: Features
    noise: Features

    def __post_init__(self) -> None:
        """Check the settings."""
        report_problems(_variance_problems(signal=self.signal, noise=self.noise))

    @classmethod
    def of(cls, problem: Problem) -> "TwoViews":
        """Return the model that has given lambda and rho, which must be at most 1."""
        if np.any(problem.rho > 1):
            report_problems(["two views have rho of at most 1"])
        return cls(signal=problem.lambda_, noise=problem.variance - problem.lambda_)

    def problem(self) -> Problem:
        """Return lambda and rho in closed form."""
        return Problem.from_variances(self.signal, self.signal + self.noise)

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """Draw x and y."""
        shape = (num_samples, len(self.signal))
        z = rng.standard_normal(shape) * np.sqrt(self.signal)
        deviation = np.sqrt(self.noise)
        return z + rng.standard_normal(shape) * deviation, z + rng.standard_normal(
            shape
        ) * deviation


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomMasking:
    """y is stationary and x is y with each value kept with probability q, else 0.

    In the frequency basis lambda = q s and rho = s / (q s + (1 - q) mean(s)): both rise with s, so
    they never conflict, and rho can exceed 1.

    Attributes:
        spectrum: variances s of the Fourier components, from frequency 0 up, of a signal of
            2 (len - 1) values.
        keep: q.
    """

    spectrum: Features
    keep: float

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if not 0 < self.keep <= 1:
            problems.append(f"keep is {self.keep}; it must be above 0 and at most 1")
        if len(self.spectrum) < 2:
            problems.append("a spectrum has at least two frequencies")
        problems += _variance_problems(spectrum=self.spectrum)
        report_problems(problems)

    @property
    def length(self) -> int:
        """Values of a signal."""
        return 2 * (len(self.spectrum) - 1)

    def problem(self) -> Problem:
        """Return lambda and rho in closed form, one for each frequency."""
        mean_variance = self._weights() @ self.spectrum / self.length
        q = self.keep
        return Problem.from_variances(
            q * self.spectrum, q**2 * self.spectrum + q * (1 - q) * mean_variance
        )

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """Draw x and y in the frequency basis: cosine components, scaled to variance s."""
        size = (num_samples, self.length)
        noise = np.fft.rfft(rng.standard_normal(size), norm="ortho")
        y = np.fft.irfft(noise * np.sqrt(self.spectrum), n=self.length, norm="ortho")
        x = y * (rng.random(size) < self.keep)
        # The real part of an inner frequency has half of the variance.
        scale = np.sqrt(self._weights())
        x, y = (np.fft.rfft(z, norm="ortho").real * scale for z in (x, y))
        return x, y

    def _weights(self) -> Features:
        """How often each frequency occurs in a full spectrum: 1 at both ends, else 2."""
        weights = np.full(len(self.spectrum), 2.0)
        weights[[0, -1]] = 1.0
        return weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoregression:
    """AR(1): z moves on as z' = a z + sqrt(1 - a²) noise of variance s; x is z with white noise.

    y is x after `lag` steps: lambda = a^lag s and rho = a^lag s / (s + r). Slow features have a
    high rho whatever their variance, so a fast one of large variance has a large lambda and a
    small rho; a = 1 (static) and r = 0 give rho = 1, predictable and without information.

    Attributes:
        memory: a, from 0 to 1.
        signal: variance s of z.
        noise: variance r of the white noise.
        lag: steps from x to y.
    """

    memory: Features
    signal: Features
    noise: Features
    lag: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = _variance_problems(memory=self.memory, signal=self.signal, noise=self.noise)
        if np.any(self.memory > 1):
            problems.append(f"memory must be at most 1, got {self.memory.tolist()}")
        if self.lag < 1:
            problems.append(f"lag is {self.lag}; it must be at least 1")
        report_problems(problems)

    def problem(self) -> Problem:
        """Return lambda and rho in closed form."""
        return Problem.from_variances(self.memory**self.lag * self.signal, self.signal + self.noise)

    def sample(self, num_samples: int, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """Draw x and y from independent stationary series."""
        shape = (num_samples, len(self.memory))
        deviation = np.sqrt(self.signal)
        z = rng.standard_normal(shape) * deviation
        x = z + rng.standard_normal(shape) * np.sqrt(self.noise)
        for _ in range(self.lag):
            step = rng.standard_normal(shape) * deviation
            z = self.memory * z + np.sqrt(1 - self.memory**2) * step
        return x, z + rng.standard_normal(shape) * np.sqrt(self.noise)
