"""What a comparison will take, before anything is made or trained."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vsalt.compare.cells import (
    Cell,
    compare_cells,
    selection_cells,
    sweep_cells,
    trained_cell,
)
from vsalt.compare.configs import Config, cell_config
from vsalt.compare.divide import DataSet
from vsalt.compare.page_words import LEAST_USED, arm_name
from vsalt.compare.run import averaging_arms, check_cells, teaching_arms
from vsalt.compare.spec import CompareSpec, DataSpec
from vsalt.compare.stages import places
from vsalt.config import PretrainConfig
from vsalt.errors import printable
from vsalt.report.numbers import duration, plural
from vsalt.training.plan import BYTES_PER_WEIGHT, StagePlan, plan_salt, plan_stage

SHARE_OFF = 0.05
"""By how much a teacher's share may differ from what was asked for before it is told."""


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """The cost of one cell.

    Attributes:
        cell: which one.
        stages: cost of each stage; empty where nothing is trained.
        folders: names of the folders they are trained in, which other cells may share.
    """

    cell: Cell
    stages: tuple[StagePlan, ...]
    folders: tuple[str, ...]

    @property
    def flops(self) -> int:
        """Exact FLOPs of all stages."""
        return sum(stage.flops.exact for stage in self.stages)

    @property
    def teacher_share(self) -> float:
        """Share of all stages but the last; 0 without any."""
        before = sum(stage.flops.exact for stage in self.stages[:-1])
        return before / self.flops if before else 0.0


def plan_cells(spec: CompareSpec, sets: Mapping[str, DataSet | None]) -> list[CellPlan]:
    """Return the cost of every cell.

    Args:
        spec: the comparison.
        sets: its data sets, as `data_sets.examine` returns them.

    Raises:
        ConfigError: if settings are wrong, or a budget is too small.
    """
    check_cells(spec)
    folds = {name: (None,) if found is None else found.folds for name, found in sets.items()}
    cells = [
        *sweep_cells(spec, folds, averaging_arms(spec)),
        *compare_cells(spec, folds, {}),
        *selection_cells(spec, folds, {}, teaching_arms(spec)),
    ]
    known: dict[object, tuple[StagePlan, ...]] = {}
    plans = []
    for cell in cells:
        if not cell.is_trained:
            plans.append(CellPlan(cell=cell, stages=(), folders=()))
            continue
        origin = trained_cell(spec, cell)
        config = cell_config(spec, origin, "rows.csv")
        # Rates and momenta change no cost, nor do seeds and folds.
        alike = (cell.arm, cell.student, cell.budget, cell.stage, cell.variant)
        if alike not in known:
            known[alike] = tuple(_stages(config))
        rows = f"{origin.data} {origin.fold} {origin.purpose == 'sweep'}"
        folders = tuple(place.folder.name for place in places(config, Path(), rows))
        plans.append(CellPlan(cell=cell, stages=known[alike], folders=folders))
    return plans


def _stages(config: Config) -> list[StagePlan]:
    if isinstance(config, PretrainConfig):
        return [plan_stage(config, None, config.stage.method.name)]
    return plan_salt(config)


def print_plan(
    spec: CompareSpec,
    plans: Sequence[CellPlan],
    sets: Mapping[str, DataSet | None],
    console: Console,
    *,
    flops_per_second: float | None = None,
) -> None:
    """Print a row for each arm, size and budget, then what all of it takes, and what is off.

    Args:
        spec: the comparison.
        plans: of all cells.
        sets: its data sets, as `data_sets.examine` returns them.
        console: where to.
        flops_per_second: of the device, for the time; None: no time is told.
    """
    console.print(_table(plans))
    lines = [
        *(line for data in spec.data for line in _data_lines(data, sets[data.name], plans)),
        *_sums(plans, flops_per_second),
        *(f"note: {text}" for text in _notes(spec, plans)),
    ]
    for line in lines:
        console.print(printable(line), soft_wrap=True)


def _table(plans: Sequence[CellPlan]) -> Table:
    rows: dict[tuple[str, str, str], list[CellPlan]] = defaultdict(list)
    for plan in plans:
        rows[plan.cell.purpose, _arm(plan.cell), _budget(plan.cell)].append(plan)
    several = len({purpose for purpose, _, _ in rows}) > 1
    table = Table(title="what this comparison will do", title_justify="left", title_style="bold")
    for name in ("purpose", "arm") if several else ("arm",):
        table.add_column(name, overflow="fold")
    for name in ("budget", "cells", "steps", "FLOPs of a cell", "teacher"):
        table.add_column(name, justify="right", overflow="fold")
    for (purpose, arm, budget), own in rows.items():
        first = own[0]
        steps = " + ".join(f"{stage.steps:,}" for stage in first.stages)
        table.add_row(
            *((purpose,) if several else ()),
            arm,
            budget,
            str(len(own)),
            steps or "-",
            f"{first.flops:.4e}" if first.flops else "-",
            f"{first.teacher_share:.0%}" if first.teacher_share else "-",
        )
    return table


def _arm(cell: Cell) -> str:
    name = cell.arm if cell.student is None else f"{cell.arm} ({cell.student})"
    return name if cell.is_trained else f"{arm_name(name)} (no training)"


def _budget(cell: Cell) -> str:
    return "-" if cell.budget is None else f"{cell.budget:.3g}"


def _data_lines(data: DataSpec, found: DataSet | None, plans: Sequence[CellPlan]) -> list[str]:
    """Say what a data set has, and how often a budget goes through it."""
    if found is None:
        assert data.synth is not None, "only what is made can be missing"
        return [f"data {data.name}: {data.synth.num_clips:,} clips, still to be made"]
    groups = "no groups" if found.num_groups is None else f"{plural(found.num_groups, 'group')}"
    folds = "" if data.folds is None else " (all folds)"
    text = (
        f"data {data.name}: {found.num_train:,} train / {found.num_test:,} test rows{folds}, "
        f"{found.num_classes} classes, {groups} in test, {found.num_shared} test rows of groups "
        "that are trained on"
    )
    if data.trained_on is not None:
        text += f"; encoders of {data.trained_on}"
    passes: dict[str, list[float]] = defaultdict(list)
    for plan in plans:
        is_own = plan.cell.data == data.name and plan.cell.purpose == "compare"
        if is_own and plan.cell.is_trained and data.trained_on is None:
            passes[_budget(plan.cell)].append(plan.stages[-1].clips / found.num_train)
    for budget, values in passes.items():
        ends = dict.fromkeys(f"{value:.3g}" for value in (min(values), max(values)))
        text += f"; {budget} FLOPs are {' to '.join(ends)} passes of the last stage"
    return [text, *(f"  {notice}" for notice in found.notices)]


def _notes(spec: CompareSpec, plans: Sequence[CellPlan]) -> list[str]:
    """Say where whole steps are too coarse for what was asked for."""
    notes = []
    for plan in plans:
        cell = plan.cell
        if cell.budget is None or cell.purpose != "compare":
            continue
        where = f"{_arm(cell)} at {_budget(cell)} FLOPs"
        if plan.flops < LEAST_USED * cell.budget:
            notes.append(
                f"{where} uses {plan.flops / cell.budget:.0%} of them: one step more would be too "
                "much; arms are compared at equal FLOPs only where all use nearly all"
            )
        asked = spec.share_of(cell.arm)
        two = len(plan.stages) == 2 and plan.stages[0].steps > 0
        if asked is not None and two and abs(plan.teacher_share - asked) > SHARE_OFF:
            notes.append(
                f"{where} spends {plan.teacher_share:.0%} on the teacher, not {asked:.0%}: whole "
                "steps allow no nearer"
            )
    return list(dict.fromkeys(notes))


def _sums(plans: Sequence[CellPlan], flops_per_second: float | None) -> list[str]:
    """Say what all cells take; stages that several share are counted once."""
    stages = {
        folder: stage
        for plan in plans
        for folder, stage in zip(plan.folders, plan.stages, strict=True)
    }
    flops = sum(stage.flops.exact for stage in stages.values())
    kept = BYTES_PER_WEIGHT * sum(
        stage.encoder_params + stage.other_params for stage in stages.values()
    )
    most = max((stage.disk_bytes for stage in stages.values()), default=0)
    time = ""
    if flops_per_second is not None:
        time = f", {duration(flops / flops_per_second)} of training by one worker, probes on top"
    return [
        f"{len(plans)} cells; {len(stages)} stages are trained, a teacher once for all students "
        f"that use it: {flops:.3e} FLOPs in all{time}",
        f"disk, about: {kept / 1e6:,.0f} MB of weights, and {most / 1e6:,.0f} MB for each training "
        "that is running; synthetic videos come on top",
    ]
