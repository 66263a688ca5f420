"""Clips, operations and seconds of stages and of runs, added up from their logs."""

from collections.abc import Sequence
from dataclasses import dataclass

from vsalt.report.records import RunRecord, StageRecord
from vsalt.report.series import finite


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a stage took.

    Attributes:
        clips: training clips so far.
        flops_exact: operations so far, all matrix products.
        flops_six_nd: operations so far by the paper's convention.
        elapsed_s: seconds of all processes that ran it, as far as timings.jsonl tells.
        clips_per_s: mean over the time of training, in which `val_loss` is left out.
        data_wait_share: share of that time in which the trainer waited for clips.
        num_starts: processes that the timings show.
    """

    clips: float | None
    flops_exact: float | None
    flops_six_nd: float | None
    elapsed_s: float | None
    clips_per_s: float | None
    data_wait_share: float | None
    num_starts: int


def cost_of(stage: StageRecord) -> Cost:
    """Add up a stage's counts and timings.

    `elapsed_s` of timings.jsonl begins again with every process, and the last value of each is
    added. The seconds between two records are their clips over their `clips_per_s`; by these the
    rates are weighted.
    """
    elapsed, num_starts, before = 0.0, 0, 0.0
    clips = seconds = waited = 0.0
    size, step = finite(stage.setting("loop", "batch_size")) or 0.0, 0
    for timing in stage.timings:
        now, rate = finite(timing.get("elapsed_s")), finite(timing.get("clips_per_s"))
        taken = (timing["step"] - step) * size / rate if rate else 0.0
        if now is not None:
            is_new = num_starts == 0 or _is_of_another_process(now, before, taken)
            num_starts += is_new
            elapsed += now if is_new else now - before
            before = now
        if rate:
            clips, seconds = clips + rate * taken, seconds + taken
            waited += taken * (finite(timing.get("data_wait_share")) or 0.0)
        step = timing["step"]
    last = stage.last
    return Cost(
        clips=finite(last.get("clips")),
        flops_exact=finite(last.get("flops_exact")),
        flops_six_nd=finite(last.get("flops_six_nd")),
        elapsed_s=elapsed if num_starts else None,
        clips_per_s=clips / seconds if seconds else None,
        data_wait_share=waited / seconds if seconds else None,
        num_starts=num_starts,
    )


def _is_of_another_process(now: float, before: float, taken: float) -> bool:
    """Return whether a process has begun between two records of `elapsed_s`.

    The seconds that a step has taken are seconds since the process began; if it is the one of the
    record before, those before come on top. A slow first step of a new process can last longer
    than all of the old one, so that a fall alone does not tell.
    """
    return now < before or now - taken < before / 2


def total(run: RunRecord) -> Cost:
    """Add up the stages of a run; what is known of no stage stays unknown."""
    costs = [cost_of(stage) for stage in run.stages]
    return Cost(
        clips=_sum([cost.clips for cost in costs]),
        flops_exact=_sum([cost.flops_exact for cost in costs]),
        flops_six_nd=_sum([cost.flops_six_nd for cost in costs]),
        elapsed_s=_sum([cost.elapsed_s for cost in costs]),
        clips_per_s=None,
        data_wait_share=None,
        num_starts=0,
    )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
