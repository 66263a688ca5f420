"""A frozen teacher's latents from a cache as the target: the teacher itself is not there.

The records come with the batch, one for each clip, and hold what `FrozenTeacher` gives, all tokens
of it, in the form that `TokenCodec` says.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vsalt.targets.token_codec import TokenCodec


class CachedTeacher:
    """What is left of a teacher when its latents are cached.

    Args:
        codec: how they are kept.
        num_params: parameters of the teacher, which a run still keeps a copy of.
    """

    def __init__(self, codec: TokenCodec, num_params: int) -> None:
        self.codec = codec
        self.width = codec.width
        self.num_params = num_params

    def open_records(
        self, records: UInt8[Tensor, "B bytes"]
    ) -> Callable[[Int64[Tensor, "B K"]], Float[Tensor, "B K D"]]:
        """Return a function from token ids to targets."""
        return lambda ids: self.codec.decode(records, ids)

    def blank(self, num_clips: int) -> UInt8[Tensor, "B bytes"]:
        """Return records of tokens that are all 0, to measure how long a step takes."""
        return torch.zeros(num_clips, self.codec.record_bytes, dtype=torch.uint8)
