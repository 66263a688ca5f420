"""How varied features are, and how predictions lie to their targets: pure functions.

Shapes: n rows (tokens or clips), q samples of one class, D channels, P channels of a target.
Variances and deviations are those of the rows at hand (divided by n, not n - 1).
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

SHARE_EPS = 1e-7
"""What RankMe adds to every share of the spectrum."""
LIDAR_DELTA = 1e-4
"""What LiDAR adds to the within-class scatter's diagonal."""
DEAD_SHARE = 1e-3
"""A channel is dead if it deviates by less than this share of the features' RMS."""

_TINY = 1e-30


def rankme(features: Float[Tensor, "n D"]) -> float:
    """Return RankMe: how many directions the rows fill evenly, from 1 to min(n, D).

        RankMe = exp(-sum_k p_k log p_k),  p_k = s_k / sum_j s_j + 1e-7

    with the min(n, D) singular values s_k, not centred. Source: Garrido et al., arXiv 2210.02885,
    equations 1 and 2. The singular values are square roots of the eigenvalues of the smaller Gram
    matrix; in float64 that costs half of its digits, which leaves 1e-8 of the largest one.

    Returns:
        The effective rank; nan if a feature is not finite. Features of zero give 1.

    Example:
        >>> round(rankme(torch.eye(5)), 3)
        5.0
    """
    return rankme_of_gram(gram(features).cpu())


def gram(features: Float[Tensor, "n D"]) -> Float64[Tensor, "m m"]:
    """Return the smaller of F^T F and F F^T, m = min(n, D), whose eigenvalues are squared s_k."""
    rows = features.double()
    return rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows


def rankme_of_gram(matrix: Float64[Tensor, "m m"]) -> float:
    """Return RankMe from what `gram` gave; nan if it is not finite."""
    if not torch.isfinite(matrix).all():
        return math.nan
    return smooth_rank(torch.linalg.eigvalsh(matrix).clamp(min=0).sqrt())


def smooth_rank(spectrum: Float64[Tensor, " k"]) -> float:
    """Return the exponential of the entropy of a spectrum's shares."""
    shares = spectrum / spectrum.sum().clamp(min=_TINY) + SHARE_EPS
    return math.exp(-float((shares * shares.log()).sum()))


def lidar(features: Float[Tensor, "n q D"], delta: float = LIDAR_DELTA) -> float:
    """Return LiDAR: in how many directions clips differ more than the views of one clip do.

        S_b = mean_i (m_i - m)(m_i - m)^T,  S_w = mean_ij (x_ij - m_i)(x_ij - m_i)^T + delta I
        LiDAR = exp(-sum_k p_k log p_k),  p_k = l_k / sum_j l_j + 1e-7

    with the class means m_i, their mean m and the D eigenvalues l_k of S_w^(-1/2) S_b S_w^(-1/2).
    Source: Thilak et al., arXiv 2312.04000, section 3. The eigenvalues are taken of the similar
    matrix L^-1 S_b L^-T with the Cholesky factor L of S_w.

    Args:
        features: q >= 2 samples of each of n >= 2 classes.
        delta: keeps S_w from being singular.

    Returns:
        The effective rank, from 1 to min(n - 1, D); nan if a feature is not finite.

    Raises:
        ValueError: if there are too few classes or samples.

    Example:
        >>> clips = torch.eye(4)[:, None].repeat(1, 2, 1)
        >>> round(lidar(clips), 3)
        3.0
    """
    num_classes, num_samples, width = features.shape
    if num_classes < 2 or num_samples < 2:
        raise ValueError(f"LiDAR needs 2 classes of 2 samples, got {num_classes} of {num_samples}")
    if not torch.isfinite(features).all():
        return math.nan
    samples = features.double().cpu()
    means = samples.mean(dim=1)
    within = (samples - means[:, None]).flatten(0, 1)
    scatter = within.T @ within / len(within) + delta * torch.eye(width, dtype=torch.float64)
    between = (means - means.mean(dim=0)) / math.sqrt(num_classes)
    factor = torch.linalg.cholesky(scatter)
    whitened = torch.linalg.solve_triangular(factor, between.T, upper=False).T
    eigenvalues = torch.linalg.eigvalsh(gram(whitened)).clamp(min=0)
    # The paper's spectrum has D values; the rest of them are 0.
    return smooth_rank(functional.pad(eigenvalues, (0, width - len(eigenvalues))))


def feature_deviation(features: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """Return the mean over channels of the deviation over rows, divided by the features' RMS.

    Between 0 (all rows are the same) and 1. Source: the collapse measure of Chen and He, arXiv
    2011.10566, section 4.1, for features of any scale.
    """
    return _deviations(features).mean() / _rms(features)


def dead_dimensions(features: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    """Return the number of channels that deviate by less than 1e-3 of the features' RMS."""
    return (_deviations(features) < DEAD_SHARE * _rms(features)).float().sum()


def cosine(predictions: Float[Tensor, "n P"], targets: Float[Tensor, "n P"]) -> Float[Tensor, ""]:
    """Return the mean over tokens of the cosine between prediction and target."""
    return functional.cosine_similarity(predictions, targets, dim=1).mean()


def target_variance(targets: Float[Tensor, "n P"]) -> Float[Tensor, ""]:
    """Return the mean over channels of the variance over tokens."""
    return targets.var(dim=0, correction=0).mean()


def _deviations(features: Float[Tensor, "n D"]) -> Float[Tensor, " D"]:
    return features.std(dim=0, correction=0)


def _rms(features: Float[Tensor, "n D"]) -> Float[Tensor, ""]:
    return features.square().mean().sqrt().clamp(min=_TINY)
