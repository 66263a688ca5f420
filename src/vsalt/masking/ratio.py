"""Masks that keep a fixed share of a clip's places or tokens as context; the rest is the target.

With r the hidden share, and a grid of N = T H W tokens:

    tube    floor(H W (1 - r)) places of the frame, the same at all T steps
            (VideoMAE, arXiv 2203.12602; SALT's ablation of masks, arXiv 2509.24317)
    random  floor(N (1 - r)) tokens, each subset equally likely
    causal  the first floor(N (1 - r)) tokens in time: whole steps, and of the step that is kept
            partly a random subset (docs/decisions/0010-causal-masks.md)
"""

import math

import numpy as np

from vsalt.errors import ConfigError
from vsalt.masking.config import CausalConfig, RandomConfig, RatioConfig, TubeConfig, num_kept
from vsalt.masking.refusals import more_tokens
from vsalt.masking.types import Grid, Mask
from vsalt.randomness import keyed_generator


class RatioMasker:
    """Draws masks of which a subclass chooses the context; all other tokens are targets.

    Args:
        grid: size of a clip in tokens (T, H, W).
        ratio: share that is hidden, in (0, 1).
    """

    def __init__(self, grid: Grid, ratio: float) -> None:
        self.grid = grid
        self.ratio = ratio
        self.num_tokens = grid[0] * grid[1] * grid[2]

    @property
    def num_context(self) -> int:
        """Tokens that the encoder sees."""
        return num_kept(self.num_tokens, self.ratio)

    @property
    def counts(self) -> tuple[int, int]:
        """Numbers of (context, target) tokens."""
        return self.num_context, self.num_tokens - self.num_context

    def draw(self, seed: int, step: int, position: int, kind: str) -> Mask:
        """Return the mask of a key."""
        hidden = np.ones(self.num_tokens, dtype=bool)
        hidden[self.keep(keyed_generator("mask", seed, step, position, kind))] = False
        return Mask(context=np.flatnonzero(~hidden), targets=np.flatnonzero(hidden))

    def keep(self, generator: np.random.Generator) -> np.ndarray:
        """Return the ids of the context, shape (num_context,), in any order."""
        raise NotImplementedError


class RandomMasker(RatioMasker):
    """Keeps tokens of the whole clip, every subset equally likely."""

    def keep(self, generator: np.random.Generator) -> np.ndarray:
        """Return the ids of the context."""
        return generator.choice(self.num_tokens, self.num_context, replace=False, shuffle=False)


class TubeMasker(RatioMasker):
    """Keeps places of the frame, every subset equally likely, at all time steps."""

    @property
    def num_context(self) -> int:
        """Tokens that the encoder sees: the kept places at all T steps."""
        return self.grid[0] * num_kept(self.grid[1] * self.grid[2], self.ratio)

    def keep(self, generator: np.random.Generator) -> np.ndarray:
        """Return the ids of the context."""
        steps, num_places = self.grid[0], self.grid[1] * self.grid[2]
        count = self.num_context // steps
        places = generator.choice(num_places, count, replace=False, shuffle=False)
        return np.add.outer(num_places * np.arange(steps), places).ravel()


class CausalMasker(RatioMasker):
    """Keeps the earliest tokens; which ones of the last step that is kept is drawn."""

    def keep(self, generator: np.random.Generator) -> np.ndarray:
        """Return the ids of the context."""
        num_places = self.grid[1] * self.grid[2]
        whole_steps, rest = divmod(self.num_context, num_places)
        first = whole_steps * num_places
        partial = generator.choice(num_places, rest, replace=False, shuffle=False)
        return np.concatenate([np.arange(first), first + partial])


MASKERS: dict[type[RatioConfig], type[RatioMasker]] = {
    TubeConfig: TubeMasker,
    RandomConfig: RandomMasker,
    CausalConfig: CausalMasker,
}


def build_ratio_masker(config: RatioConfig, grid: Grid) -> RatioMasker:
    """Build the masker of a config; all its mask kinds share it, told apart by their key."""
    return MASKERS[type(config)](grid, config.ratio)


def check_ratio(config: RatioConfig, grid: Grid, *, flag: str) -> None:
    """Refuse a ratio that keeps nothing of a grid.

    Raises:
        ConfigError: if no token is seen.
    """
    if build_ratio_masker(config, grid).num_context:
        return
    places = grid[1] * grid[2]
    num_items, what = (
        (places, "places of a frame")
        if isinstance(config, TubeConfig)
        else (grid[0] * places, "tokens of a clip")
    )
    if num_items == 1:
        problem = (
            f"{flag}: {config.name} masks need at least 2 {what}, one to see and one to predict; "
            f"there is 1; take {more_tokens(flag)}"
        )
    else:
        problem = (
            f"{flag}.ratio is {config.ratio}, which leaves no context of {num_items} {what}; "
            f"take --{flag}.ratio {math.floor(1e4 - 1e4 / num_items) / 1e4} or less, or "
            f"{more_tokens(flag)}"
        )
    raise ConfigError([problem])
