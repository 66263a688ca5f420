"""What the processes of a run tell each other once per step, beside the gradients.

One collective carries all of it: a signal to stop, whether a checkpoint has been written, how many
files were read, which clips they were, and their losses. The sums are taken in the order of the
processes, which is that of the positions in the batch, so all processes get the same bits and
decide the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vsalt.training.distributed import Ranks
from vsalt.training.health import to_host
from vsalt.training.saver import FAILED, WRITTEN

_HEAD = 4


@dataclass(frozen=True)
class Own:
    """What one process has to tell of its share of a step.

    Attributes:
        signal: number of the signal that asks it to stop, if there was one.
        saving: of the checkpoint that is being written, see `saver.Saver.state`.
        reads: files that it tried.
        bad_reads: those of them that could not be read.
        rows: of its clips.
        clip_losses: of its clips.
        sums: `loss` and metrics, each its share of the mean over the step's clips.
    """

    signal: int | None
    saving: int
    reads: int
    bad_reads: int
    rows: Sequence[int]
    clip_losses: Float[Tensor, " b"]
    sums: Mapping[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Told:
    """What all processes know afterwards; as `Own`, of the whole step.

    Attributes:
        saved: whether a checkpoint is to be settled: all have written, or one has failed.
        finite: whether the loss and all gradient norms are finite.
    """

    signal: int | None
    saved: bool
    reads: int
    bad_reads: int
    rows: list[int]
    clip_losses: Float[Tensor, " B"]
    sums: dict[str, Float[Tensor, ""]]
    finite: bool


def exchange(ranks: Ranks, own: Own, norms: Mapping[str, Float[Tensor, ""]]) -> Told:
    """Tell the others, and hear them; one collective, and one transfer from the device.

    Args:
        ranks: the processes; all have equally many clips and the same metrics.
        own: of this one.
        norms: of the step's gradients, which are those of all processes already.
    """
    share = len(own.rows)
    device = own.clip_losses.device
    counts = [own.signal or 0, own.saving, own.reads, own.bad_reads, *own.rows]
    row = torch.cat(
        [
            torch.tensor(counts, dtype=torch.float64, device=device),
            own.clip_losses.double(),
            torch.stack(list(own.sums.values())).double(),
        ]
    )
    rows = ranks.stack(row)
    sums = _in_order(rows[:, _HEAD + 2 * share :]).float()
    named = dict(zip(own.sums, sums.unbind(), strict=True))
    checked = torch.isfinite(torch.stack([named["loss"], *norms.values()])).all()
    host, finite = to_host([rows[:, : _HEAD + share], checked])
    signals, saving, reads, bad_reads = host[:, :_HEAD].long().T.tolist()
    return Told(
        signal=next((number for number in signals if number), None),
        saved=FAILED in saving or all(state == WRITTEN for state in saving),
        reads=sum(reads),
        bad_reads=sum(bad_reads),
        rows=host[:, _HEAD:].long().flatten().tolist(),
        clip_losses=rows[:, _HEAD + share : _HEAD + 2 * share].flatten().to(own.clip_losses.dtype),
        sums=named,
        finite=bool(finite),
    )


def _in_order(rows: Float64[Tensor, "W n"]) -> Float64[Tensor, " n"]:
    """Add rows up one after the other."""
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total
