"""SALT's printed numbers beside what `compute.paper` gives: do they agree, and if not, why not."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vsalt.compute import paper
from vsalt.compute import paper_tables as tables
from vsalt.compute.types import PAPER_CONTEXT_SHARE

RELATIVE = 0.005
"""A number agrees if it is printed so, or is within this part of what is printed."""

_AT_256 = "about what 256 pixels cost (1.863, 1.242, 0.931); the rows were trained at 224"
_ROUNDED = "table 10 prints 1.8 for the same run, and 1.848 is what its inputs give"
KNOWN_CONFLICTS = {
    "V-JEPA 2 L, 240k steps (table 16)": _AT_256,
    "V-JEPA 2 L, 160k steps (table 16)": _AT_256,
    "V-JEPA 2 L, 120k steps (table 16)": _AT_256,
    "SALT g (table 1)": _ROUNDED,
    "SALT g (table 11)": _ROUNDED,
    "stage 1 L, A100-hours (table 11)": "more than all of SALT-L in the same table, 8,263, of "
    "which it is a part; computed: the part of its FLOPs",
    "clips seen (table 11)": "ten times 240,000 steps of 3,072 clips; table 1 prints 0.7",
    "clips of the data, all (table 2)": "table 13 prints 40 fewer for the same set",
    "clips of the data, all (table 13)": "table 2 prints 40 more for the same set",
}
"""What is known to contradict itself in the paper, by row, with the reason. The list is closed."""


@dataclass(frozen=True)
class PaperRow:
    """A printed number and what we compute for it.

    Attributes:
        name: what is counted; the table where it is printed stands in brackets.
        unit: of both numbers.
        printed: as in the paper.
        computed: by its formula from its inputs.
        parts: where a sum is printed with its parts: each as printed and as computed. The
            verdict is on the sum.
    """

    name: str
    unit: str
    printed: str
    computed: int | float
    parts: tuple[tuple[str, float], ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the number has the printed digits, or is within 0.5 % of what is printed."""
        digits = len(self.printed.partition(".")[2])
        same = f"{self.computed:.{digits}f}" == self.printed
        return same or math.isclose(self.computed, float(self.printed), rel_tol=RELATIVE)

    @property
    def known_conflict(self) -> str | None:
        """Why the paper contradicts itself here, if it is known to."""
        return KNOWN_CONFLICTS.get(self.name)

    @property
    def is_fine(self) -> bool:
        """Whether the number agrees, or is known not to."""
        return self.agrees or self.known_conflict is not None


def paper_rows() -> list[PaperRow]:
    """Return all rows.

    Example:
        >>> next(row for row in paper_rows() if row.name == "SALT L (table 1)").agrees
        True
    """
    return [*_runs(), *_tokens(), *_allocations(), *_others()]


def _runs() -> Iterator[PaperRow]:
    """Whole runs, of which stage 1 is the same for all students."""
    for table, printed in tables.SALT_RUNS:
        for size, number in printed.items():
            flops = sum(_stages(80, 160, student=size))
            yield _flops(f"SALT {size} ({table})", number, flops)
    at_256 = [(table, printed, tables.TOKENS_256) for table, printed in tables.V_JEPA_2_256]
    at_224 = [(table, printed, paper.CLIP_TOKENS) for table, printed in tables.V_JEPA_2_224]
    for table, sizes, tokens in (*at_256, *at_224):
        pixels = 256 if tokens == tables.TOKENS_256 else 224
        for size, number in sizes.items():
            flops = paper.student_stage_flops(size, size, _clips(240), tokens)
            yield _flops(f"V-JEPA 2 {size}, {pixels} px ({table})", number, flops)
    table, number = tables.VIDEOMAE_V2
    flops = sum(6 * params * tokens for params, tokens in tables.VIDEOMAE_V2_INPUTS)
    yield _flops(f"VideoMAEv2 g ({table})", number, flops)
    table, number = tables.STAGE_1
    yield _flops(f"stage 1 L, 80k steps ({table})", number, _stages(80)[0])


def _tokens() -> Iterator[PaperRow]:
    """Tokens of each part: a tenth per mask, all per mask, all once."""
    counted = (_clips(160) * paper.CLIP_TOKENS, _clips(240) * tables.TOKENS_256)
    for (run, printed), tokens in zip(tables.TOKENS, counted, strict=True):
        seen = {
            "encoder": paper.NUM_MASKS * PAPER_CONTEXT_SHARE * tokens,
            "predictor": paper.NUM_MASKS * tokens,
            "teacher": tokens,
        }
        for part, number in printed.items():
            name = f"tokens of the {part}, {run} (table 10)"
            yield PaperRow(name, "10^9 tokens", number, seen[part] / 1e9)


def _allocations() -> Iterator[PaperRow]:
    """How the steps are split, and what that costs."""
    for row in tables.ALLOCATIONS:
        *before, last = (flops / 1e21 for flops in _stages(*row.steps))
        parts = zip(row.parts, (sum(before), last), strict=True) if row.parts else ()
        name = f"{' + '.join(f'{steps}k' for steps in row.steps)} steps (table 16)"
        yield PaperRow(name, "10^21 FLOPs", row.total, sum(before) + last, tuple(parts))
    for steps, number in tables.V_JEPA_2_ALLOCATIONS.items():
        flops = paper.student_stage_flops("L", "L", _clips(steps))
        yield _flops(f"V-JEPA 2 L, {steps}k steps (table 16)", number, flops)


def _others() -> Iterator[PaperRow]:
    """Clips, hours and the size of the data."""
    for table, number in tables.SEEN_CLIPS:
        yield PaperRow(f"clips seen ({table})", "10^9 clips", number, _clips(240) / 1e9)
    table, number = tables.STAGE_1_HOURS
    stage_1, stage_2 = _stages(80, 160)
    hours = tables.SALT_L_HOURS * stage_1 / (stage_1 + stage_2)
    yield PaperRow(f"stage 1 L, A100-hours ({table})", "hours", number, hours)
    for table, number in tables.DATA_TOTALS:
        name = f"clips of the data, all ({table})"
        yield PaperRow(name, "clips", number, sum(tables.DATA_PARTS))


def _stages(*thousand_steps: int, student: str = "L", teacher: str = "L") -> list[float]:
    """Return the operations of every stage; all but the last are of the teacher's size."""
    first, *others = (_clips(steps) for steps in thousand_steps)
    sizes = [teacher] * (len(others) - 1) + [student]
    return [
        paper.teacher_stage_flops(teacher, first),
        *(
            paper.student_stage_flops(size, teacher, clips)
            for size, clips in zip(sizes, others, strict=False)
        ),
    ]


def _clips(thousand_steps: int) -> int:
    return 1000 * thousand_steps * paper.BATCH_SIZE


def _flops(name: str, printed: str, flops: float) -> PaperRow:
    return PaperRow(name, "10^21 FLOPs", printed, flops / 1e21)
