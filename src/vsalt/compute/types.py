"""Plain types of compute accounting."""

from dataclasses import dataclass

PAPER_CONTEXT_SHARE = 0.1
"""Share of the tokens that SALT's tables count for the encoder, per mask (its appendix)."""


@dataclass(frozen=True)
class ClipShapes:
    """Token counts of one clip, which is all that a method's compute depends on.

    Attributes:
        grid: the clip in tokens (T, H, W).
        masks: (context, target) tokens of every mask kind.
        context_share: what the 6 N D convention takes for the share of tokens that an encoder sees
            under one mask; SALT's for multi-block masks, else the configured one.
        target_share: the configured share of the hidden tokens that are predicted.
    """

    grid: tuple[int, int, int]
    masks: tuple[tuple[int, int], ...]
    context_share: float = PAPER_CONTEXT_SHARE
    target_share: float = 1.0

    @property
    def num_tokens(self) -> int:
        """Tokens of the whole clip."""
        frames, height, width = self.grid
        return frames * height * width


@dataclass(frozen=True)
class ClipFlops:
    """Floating-point operations of one training clip, forward and backward, in two conventions.

    Attributes:
        exact: every matrix product with the true token counts, attention included; a product of
            n x k by k x m counts 2 n k m.
        six_nd: SALT's convention (arXiv 2509.24317, appendix): 6 N D for trained and 2 N D for
            frozen networks of N parameters that process D tokens.
    """

    exact: int
    six_nd: float

    def __add__(self, other: "ClipFlops") -> "ClipFlops":
        """Return the sum of two parts."""
        return ClipFlops(self.exact + other.exact, self.six_nd + other.six_nd)
