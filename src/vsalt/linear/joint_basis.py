"""One orthogonal basis in which several symmetric matrices are as diagonal as they can be.

Jacobi rotations as of Cardoso and Souloumiac, "Jacobi angles for simultaneous diagonalization",
SIAM J. Matrix Anal. Appl. 17 (1996): every rotation of two axes minimises the squares off the
diagonals of all matrices. Matrices that commute become diagonal.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vsalt.errors import report_problems
from vsalt.linear.covariances import Matrix

_SMALLEST_SINE = 1e-13
_LEAST_DECREASE = 1e-5
"""Of what is off the diagonals, in one sweep. Where matrices do not commute rotations die out
slowly, without making them any more diagonal."""


def joint_basis(matrices: Sequence[Matrix], *, max_sweeps: int = 500) -> Matrix:
    """Return the basis as columns, orthogonal, in no particular order.

    Matrices count alike: each is divided by its Frobenius norm. Rotations begin at the
    eigenvectors of the first one. Where matrices do not commute, the minimum that is found may be a
    local one, to about 1e-4 of what is left off the diagonals.

    Args:
        matrices: symmetric, of one shape (d, d).
        max_sweeps: over all pairs of axes.

    Returns:
        Shape (d, d).

    Raises:
        ConfigError: if the matrices are not finite, not symmetric or of several shapes.
        RuntimeError: if so many sweeps are not enough.
    """
    _check(matrices)
    basis: Matrix = np.linalg.eigh(matrices[0])[1]
    scales = [float(np.linalg.norm(matrix)) or 1.0 for matrix in matrices]
    rotated = np.stack(
        [basis.T @ m @ basis / scale for m, scale in zip(matrices, scales, strict=True)]
    )
    before = _off_diagonal(rotated)
    for _ in range(max_sweeps):
        largest = max(
            (_rotate(rotated, basis, *pairs) for pairs in _tournament(len(basis))), default=0.0
        )
        left = _off_diagonal(rotated)
        if largest < _SMALLEST_SINE or before - left <= _LEAST_DECREASE * before:
            return basis
        before = left
    raise RuntimeError(f"no joint basis after {max_sweeps} sweeps; {left:.1e} is off the diagonals")


def off_diagonal_share(matrix: Matrix) -> float:
    """Return the share of the sum of squares that lies off the diagonal; 0 for a zero matrix."""
    total = float(np.sum(matrix**2))
    return _off_diagonal(matrix) / total if total > 0 else 0.0


def _off_diagonal(matrices: npt.NDArray[np.float64]) -> float:
    """Sum the squares off the diagonals of one or several matrices."""
    return float(np.sum(matrices**2 * ~np.eye(matrices.shape[-1], dtype=bool)))


def _check(matrices: Sequence[Matrix]) -> None:
    problems = []
    for matrix in matrices:
        if matrix.ndim != 2 or matrix.shape != matrices[0].shape[:1] * 2:
            problems.append(f"a matrix has the shape {matrix.shape}; all must be (d, d)")
        elif not np.all(np.isfinite(matrix)):
            problems.append("a matrix is not finite")
        elif not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9 * np.abs(matrix).max(initial=0)):
            problems.append("a matrix is not symmetric")
    report_problems(problems or ([] if matrices else ["there is no matrix"]))


_Axes = npt.NDArray[np.int64]


def _tournament(size: int) -> Iterator[tuple[_Axes, _Axes]]:
    """Yield rounds of disjoint pairs of axes, in which every two axes meet once."""
    players = np.arange(size + size % 2)
    for _ in range(len(players) - 1):
        first, second = players[: len(players) // 2], players[len(players) // 2 :][::-1]
        real = (first < size) & (second < size)
        yield first[real], second[real]
        players = np.concatenate([players[:1], players[-1:], players[1:-1]])


def _rotate(matrices: npt.NDArray[np.float64], basis: Matrix, p: _Axes, q: _Axes) -> float:
    """Rotate the axes p against q, in place; return the largest sine."""
    difference = matrices[:, p, p] - matrices[:, q, q]
    double = 2 * matrices[:, p, q]
    on = np.sum(difference**2 - double**2, axis=0)
    off = 2 * np.sum(difference * double, axis=0)
    angle = 0.5 * np.arctan2(off, on + np.hypot(on, off))
    cos, sin = np.cos(angle), np.sin(angle)
    # Rows, columns, and the basis' columns: (p, q) becomes (c p + s q, c q - s p).
    for values in (*matrices, *(matrix.T for matrix in matrices), basis.T):
        old_p, old_q = values[p], values[q]
        values[p] = cos[:, None] * old_p + sin[:, None] * old_q
        values[q] = cos[:, None] * old_q - sin[:, None] * old_p
    return float(np.abs(sin).max(initial=0.0))
