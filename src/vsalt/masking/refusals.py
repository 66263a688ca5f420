"""How masks that a grid does not allow are told to the user, with the flags of their stage."""

from vsalt.masking.config import BlocksConfig
from vsalt.masking.types import Grid


class NoContextError(Exception):
    """Blocks of one size leave no context; who knows stage and kind makes a `ConfigError` of it.

    Attributes:
        grid: size of a clip in tokens.
        size: size of a block in tokens.
        blocks: the kind.
    """

    def __init__(self, grid: Grid, size: Grid, blocks: BlocksConfig) -> None:
        self.grid = grid
        self.size = size
        self.blocks = blocks
        super().__init__(_fact(self))


def no_context_problem(error: NoContextError, flag: str) -> str:
    """Return the problem of a kind, whose settings are at `flag` on the command line."""
    return f"{flag}: {_fact(error)}; {fewer_hidden(error.blocks, error.grid, error.size, flag)}"


def fewer_hidden(blocks: BlocksConfig, grid: Grid, size: Grid, flag: str) -> str:
    """Return what to change so that blocks hide less.

    Args:
        blocks: the kind.
        grid: size of a clip in tokens.
        size: size of a block in tokens, the largest one if there are several.
        flag: path of the kind on the command line, such as `student.masks.long`.
    """
    lower = []
    if blocks.num_blocks > 1 and size != grid:
        lower.append(f"--{flag}.num-blocks")
    if size[1:] != (1, 1):
        lower.append(f"--{flag}.spatial-scale")
    ways = [f"lower {' or '.join(lower)}"] if lower else []
    # Where blocks span the clip, every step has the same context and keeping more adds none.
    if blocks.max_temporal_keep < 1 and size[0] < grid[0]:
        ways.append(f"raise --{flag}.max-temporal-keep")
    return ", or ".join([*ways, f"take {more_tokens(flag)}"])


def more_tokens(flag: str) -> str:
    """Return what to change so that a frame has more tokens, for a flag that has `masks` in it."""
    stage = flag.partition("masks")[0]
    return f"a larger --clip.size or a smaller --{stage}encoder.tubelet"


def _fact(error: NoContextError) -> str:
    if error.size == error.grid:
        return (
            f"the aspect ratios allow a block of {error.size} tokens, which covers the whole "
            f"grid {error.grid}"
        )
    count = error.blocks.num_blocks
    what = f"a block of {error.size} tokens covers"
    if count > 1:
        what = f"{count} blocks of {error.size} tokens cover"
    late = "" if error.blocks.max_temporal_keep == 1 else " where context may lie"
    return f"{what} the whole grid {error.grid}{late} in nearly every draw"
