"""The one table of allowed errors, which the tests and `vsalt linear check` share.

The claims are derived in docs/explanation/linear-theory.md.
"""

from collections.abc import Mapping
from types import MappingProxyType

EXACT = 1e-12
"""What "exact" means where numbers are added and powers taken in another order."""

ALLOWED: Mapping[str, float] = MappingProxyType(
    {
        # Relative: gains after a long time against the formula of the fixed point.
        "fixed point": 1e-6,
        # Relative: formulas against the integrated ODE or against quadrature.
        "critical time": 1e-6,
        # Of the final gain: matrices against the ODE at a learning rate of at most 0.01.
        "gradient descent": 2e-2,
        # Absolute: drift of v² - alpha u².
        "conservation": 1e-4,
        # Relative: a teacher that passes everything on makes SALT an MAE.
        "SALT of t = 1 is MAE": EXACT,
        # Relative: a moving average of time constant 1e-4.
        "fast EMA is JEPA": 1e-4,
        # Absolute: the exponent e_k of repeated freezing.
        "rounds of freezing": EXACT,
        # Absolute: -d ln t* / d ln rho of JEPA.
        "kappa": 2e-2,
        # Absolute: 1.5 L/(L+1) of the student of a converged teacher of depth 1, a fixed point.
        "exponent of the student": 1e-6,
    }
)
