"""From tokens to one feature per clip, without parameters.

Shapes: B clips, N tokens, D width, F channels of a feature.
"""

from jaxtyping import Float
from torch import Tensor

from vsalt.models.config import FeaturePooling


def pool_tokens(
    tokens: Float[Tensor, "B N D"], *, num_times: int, pooling: FeaturePooling
) -> Float[Tensor, "B *_"]:
    """Return one feature per clip, or the tokens.

    Args:
        tokens: of each clip; for mean_space all of them, in raster order (time slowest).
        num_times: time steps of the grid, T'.
        pooling: tokens: as they are. mean: over all tokens, F = D. mean_space: over the tokens of
            each time step, and the steps one after the other, F = T' D, so that order in time is
            kept.

    Raises:
        ValueError: if there is no such pooling.
    """
    if pooling == "tokens":
        return tokens
    if pooling == "mean":
        return tokens.mean(dim=1)
    if pooling == "mean_space":
        by_time: Tensor = tokens.unflatten(1, (num_times, -1))
        return by_time.mean(dim=2).flatten(1)
    raise ValueError(f"pooling is {pooling!r}; it can be tokens, mean or mean_space")
