"""How the clips of a step are divided among the processes of a run.

Process r of W takes the positions r * B / W … (r + 1) * B / W - 1 of every batch of B clips, and
reads them in micro-batches. Masks, views and order are functions of the position, so the division
changes which process computes a clip, and nothing else.
"""

from typing import NamedTuple

from vsalt.config import StageConfig
from vsalt.errors import ConfigError
from vsalt.training.config import LoopConfig


class Division(NamedTuple):
    """What one process takes of a step.

    Attributes:
        share: its clips.
        micro_batch_size: clips per forward pass; divides the share.
    """

    share: int
    micro_batch_size: int

    @property
    def num_parts(self) -> int:
        """Micro-batches of one process in a step."""
        return self.share // self.micro_batch_size


def divide(loop: LoopConfig, num_processes: int) -> Division:
    """Return what each process takes; a share below `micro_batch_size` is taken at once.

    Args:
        loop: resolved config.
        num_processes: of the run.

    Raises:
        ConfigError: the batch, or a share of it, does not divide.
    """
    assert loop.micro_batch_size is not None, "resolve the config first"
    size = loop.batch_size
    if size % num_processes:
        raise ConfigError(
            [
                f"the batch size {size} cannot be divided among {num_processes} processes; give a "
                f"--batch-size that is a multiple of {num_processes}, or start another number of "
                "processes"
            ]
        )
    share = size // num_processes
    micro = min(loop.micro_batch_size, share)
    if share % micro:
        raise ConfigError(
            [
                f"each of {num_processes} processes takes {share} of {size} clips, which are no "
                f"multiple of loop.micro-batch-size ({micro}); set it to a divisor of {share}, or "
                "start another number of processes"
            ]
        )
    return Division(share, micro)


def divide_stage(stage: StageConfig, num_processes: int, repeats: int = 1) -> Division:
    """Return what each process takes of a stage's steps; see `divide`.

    Args:
        stage: resolved config.
        num_processes: of the run.
        repeats: positions that share a decoded clip, `data.repeats`.

    Raises:
        ConfigError: also where a micro-batch would hold clips of two mask groups, or some but not
            all views of a decoded clip.
    """
    division = divide(stage.loop, num_processes)
    if division.micro_batch_size % repeats:
        raise ConfigError(
            [
                f"each of {num_processes} processes takes {division.share} clips of a step, "
                f"{division.micro_batch_size} at once, but data.repeats is {repeats}, and all "
                "views of a decoded clip go together; start a number of processes that leaves each "
                f"a multiple of {repeats}, or give another --data.repeats"
            ]
        )
    masks, micro = stage.masks, division.micro_batch_size
    if masks.name == "multiblock" and masks.policy == "batch_min" and masks.group_size % micro:
        raise ConfigError(
            [
                f"each of {num_processes} processes takes {division.share} clips of a step, which "
                f"cut a group of {masks.group_size} clips (masks.group-size, policy batch_min) at "
                "another place than its middle or ends; start a number of processes that divides "
                "the groups evenly"
            ]
        )
    return division
