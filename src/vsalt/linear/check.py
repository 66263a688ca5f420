"""Whether the lab's formulas, ODE and matrices agree, claim by claim."""

from collections.abc import Iterator

from vsalt.linear.check_gains import gain_rows
from vsalt.linear.check_matrices import matrix_rows
from vsalt.linear.check_row import Row
from vsalt.linear.check_times import time_rows


def check_rows() -> Iterator[Row]:
    """Yield a row for each method, depth and claim as soon as its error is computed.

    Formulas are compared with the integrated ODE, with kept numbers of quadrature and with
    matrices trained by gradient descent. Takes about half a minute.

    Example:
        >>> row = next(check_rows())
        >>> row.name, row.ok
        ('fixed point: mae, L=1', True)
    """
    yield from gain_rows()
    yield from time_rows()
    yield from matrix_rows()
