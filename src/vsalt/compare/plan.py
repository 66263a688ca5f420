"""What a comparison will take, before anything is made or trained."""

from collections import defaultdict
from collections.abc import Sequence
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
from vsalt.compare.configs import Config, cell_config, check_arms
from vsalt.compare.data_sets import folds_of
from vsalt.compare.run import averaging_arms, teaching_arms
from vsalt.compare.spec import CompareSpec
from vsalt.compare.stages import places
from vsalt.config import PretrainConfig
from vsalt.training.plan import BYTES_PER_WEIGHT, StagePlan, plan_salt, plan_stage


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


def plan_cells(spec: CompareSpec) -> list[CellPlan]:
    """Return the cost of every cell; sources are read, synthetic sets are not made.

    Raises:
        VsaltError: if settings are wrong, a budget is too small or a source cannot be used.
    """
    check_arms(spec)
    folds = {data.name: folds_of(data) for data in spec.data}
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


def print_plan(plans: Sequence[CellPlan], console: Console) -> None:
    """Print a row for each arm, size and budget, then what all of it takes."""
    table = Table(title="what this comparison will do", title_justify="left", title_style="bold")
    for name in ("purpose", "arm", "budget", "cells", "steps", "FLOPs of a cell", "teacher"):
        right = name in ("budget", "cells", "steps", "FLOPs of a cell", "teacher")
        table.add_column(name, justify="right" if right else "left")
    rows: dict[tuple[str, str, str], list[CellPlan]] = defaultdict(list)
    for plan in plans:
        cell = plan.cell
        arm = cell.arm if cell.student is None else f"{cell.arm} ({cell.student})"
        budget = "-" if cell.budget is None else f"{cell.budget:.3g}"
        rows[cell.purpose, arm, budget].append(plan)
    for (purpose, arm, budget), own in rows.items():
        first = own[0]
        steps = " + ".join(f"{stage.steps:,}" for stage in first.stages)
        table.add_row(
            purpose,
            arm,
            budget,
            str(len(own)),
            steps or "-",
            f"{first.flops:.4e}" if first.flops else "-",
            _teacher_share(first),
        )
    console.print(table)
    for line in _sums(plans):
        console.print(line, soft_wrap=True)


def _teacher_share(plan: CellPlan) -> str:
    before = sum(stage.flops.exact for stage in plan.stages[:-1])
    return f"{before / plan.flops:.0%}" if before else "-"


def _sums(plans: Sequence[CellPlan]) -> list[str]:
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
    return [
        f"{len(plans)} cells; {len(stages)} trainings of {flops:.3e} FLOPs in all, since cells "
        "share teachers",
        f"disk, about: {kept / 1e6:,.0f} MB of weights, and {most / 1e6:,.0f} MB for each training "
        "that is running; synthetic videos come on top",
    ]
