"""RankMe and LiDAR in loops, from the formulas of arXiv 2210.02885 and arXiv 2312.04000."""

import math

import numpy as np


def slow_entropy_rank(spectrum: list[float], eps: float = 1e-7) -> float:
    total = sum(spectrum)
    entropy = 0.0
    for value in spectrum:
        p = value / total + eps
        entropy -= p * math.log(p)
    return math.exp(entropy)


def slow_rankme(features: np.ndarray) -> float:
    return slow_entropy_rank(np.linalg.svd(features, compute_uv=False).tolist())


def slow_lidar(features: np.ndarray, delta: float) -> float:
    num_classes, num_samples, width = features.shape
    means = [sum(samples) / num_samples for samples in features]
    mean = sum(means) / num_classes
    between, within = np.zeros((width, width)), delta * np.eye(width)
    for i in range(num_classes):
        between += np.outer(means[i] - mean, means[i] - mean) / num_classes
        for x in features[i]:
            within += np.outer(x - means[i], x - means[i]) / (num_classes * num_samples)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    spectrum = np.linalg.eigvalsh(root @ between @ root)
    return slow_entropy_rank([max(0.0, value) for value in spectrum.tolist()])
