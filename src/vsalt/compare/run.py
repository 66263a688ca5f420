"""The whole comparison: sweep, cells, model selection, then the files of results.

DIR/
  compare.toml        the specification as it was given
  data/ stages/ cells/ seconds.jsonl
  results.csv results.json groups.json report.html    of all that is finished
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from vsalt import durable
from vsalt.compare import page, results
from vsalt.compare.cells import (
    Cell,
    Choice,
    Folds,
    choice_key,
    compare_cells,
    selection_cells,
    sweep_cells,
)
from vsalt.compare.configs import arm_config, cell_config, check_arms, has_momentum, last_stage
from vsalt.compare.data_sets import prepare
from vsalt.compare.folder import SPEC, WRITTEN, check_folder
from vsalt.compare.result import CELLS, CellResult, Divergence
from vsalt.compare.run_cell import diverged, finished
from vsalt.compare.spec import CompareSpec
from vsalt.compare.sweep import choose, unchosen
from vsalt.compare.timing import Timings
from vsalt.compare.workers import (
    Failure,
    Outcome,
    run_here,
    run_in_processes,
    stoppable,
    visible_gpus,
)
from vsalt.errors import ConfigError, printable, report_problems
from vsalt.report.numbers import duration, percent, plural
from vsalt.training.stop import InterruptedRunError


@dataclass
class Session:
    """One start of the command.

    Attributes:
        spec: the comparison.
        out: its folder.
        text: of the file that the specification was read from.
        console: where progress goes.
        num_workers: processes; 1: this one.
        deadline: `time.monotonic()` at which nothing may begin that would take longer; None: never.
        timings: how long cells take.
        found: results of finished cells, by key.
        failed: why cells failed in this session, by key.
        diverged: candidates of the sweep whose training has diverged, by key. That is a finding,
            not a failure: they are not chosen, and not done again.
        is_late: whether the deadline has kept a cell from beginning.
    """

    spec: CompareSpec
    out: Path
    text: str
    console: Console
    num_workers: int
    deadline: float | None
    timings: Timings
    found: dict[str, CellResult] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    diverged: dict[str, Divergence] = field(default_factory=dict)
    is_late: bool = False

    def say(self, text: str) -> None:
        """Print a line; names from the disk are made printable."""
        for line in text.split("\n"):
            self.console.print(printable(line), soft_wrap=True)

    def run(self, cells: Sequence[Cell], what: str) -> None:
        """Do those cells that are not done."""
        for cell in cells:
            result = finished(self.spec, cell, self.out)
            if result is not None:
                self.found[cell.key] = result
            elif cell.purpose == "sweep":
                self._note_divergence(cell)
        left = [cell for cell in cells if cell.key not in self.found.keys() | self.diverged]
        if cells:
            done = len(cells) - len(left)
            self.say(f"{what}: {len(cells)} cells" + (f", {done} done before" if done else ""))
        # A deadline that has come for one phase has come for those after it.
        outcomes = iter(()) if self.is_late or not left else self._outcomes(left)
        done = len(cells) - len(left)
        for outcome in outcomes:
            done += 1
            self._note(outcome, f"{done}/{len(cells)}", left)

    def _outcomes(self, cells: Sequence[Cell]) -> Iterator[Outcome]:
        if self.num_workers == 1:
            return run_here(self.spec, self.out, cells, self._admit)
        return run_in_processes(
            self.spec, self.out, cells, self._admit, num_workers=self.num_workers
        )

    def _admit(self, cell: Cell) -> bool:
        """Whether a cell may begin: whether it would end before the deadline."""
        if self.deadline is None:
            return True
        expected = self.timings.expect(cell) or 0.0
        self.is_late |= time.monotonic() + expected >= self.deadline
        return not self.is_late

    def _note(self, outcome: Outcome, count: str, cells: Sequence[Cell]) -> None:
        """Remember how a cell has ended, and say so in a line."""
        key = outcome.cell.key
        if outcome.failure is not None:
            self._note_failure(outcome.cell, outcome.failure, count)
            return
        result = finished(self.spec, outcome.cell, self.out)
        assert result is not None, "a cell without an error has a result"
        self.found[key] = result
        self.timings.add(outcome.cell, outcome.seconds)
        ended = self.found.keys() | self.failed.keys() | self.diverged.keys()
        rest = [cell for cell in cells if cell.key not in ended]
        expected = [self.timings.expect(cell) for cell in rest]
        left = ""
        if rest and None not in expected:
            seconds = sum(one for one in expected if one is not None) / self.num_workers
            left = f"; about {duration(seconds)} left"
        self.say(
            f"{count} {key}: accuracy {percent(result.accuracy)}, {duration(outcome.seconds)}{left}"
        )

    def _note_failure(self, cell: Cell, failure: Failure, count: str) -> None:
        if cell.purpose == "sweep" and failure.diverged:
            self._note_divergence(cell)
            self.say(f"{count} {cell.key} diverged: {failure.error}")
            return
        self.failed[cell.key] = failure.error
        self.say(f"{count} {cell.key} FAILED: {failure.error}")

    def _note_divergence(self, cell: Cell) -> None:
        divergence = diverged(self.spec, cell, self.out)
        if divergence is not None:
            self.diverged[cell.key] = divergence


def run_compare(
    spec: CompareSpec,
    out: Path,
    console: Console,
    *,
    text: str,
    command: str,
    num_workers: int | None = None,
    hours: float | None = None,
) -> int:
    """Do what is not done yet of a comparison, and write what it has found.

    Args:
        spec: the comparison.
        out: its folder; may hold what was done before.
        console: where progress goes.
        text: of the file that the specification was read from.
        command: the command line, for the report.
        num_workers: processes; None: one per visible GPU if there are several, else this one.
        hours: begin no cell that would not end within so many hours; 0: begin none.

    Returns:
        The exit code: 1 if a cell has failed.

    Raises:
        InterruptedRunError: on a signal; the same command goes on.
        VsaltError: if it cannot begin.
    """
    check_folder(out)
    check_cells(spec)
    durable.create_folder(out)
    with durable.hold(out), stoppable():
        session = Session(
            spec=spec,
            out=out,
            text=text,
            console=console,
            num_workers=num_workers or max(1, len(visible_gpus())),
            deadline=None if hours is None else time.monotonic() + 3600 * hours,
            timings=Timings(out),
        )
        try:
            found = _run(session)
        except InterruptedRunError as error:
            raise InterruptedRunError(
                error.number,
                f"{error}; {len(session.found)} cells are done. The same command goes on:\n"
                f"  {command}",
            ) from error
        durable.write_file(out / SPEC, text)
        results.write_results(found, out)
        page.write_page(found, out, text=text, command=command)
        return _say_end(session, found)


def _run(session: Session) -> results.Results:
    spec, out = session.spec, session.out
    sets = prepare(spec, out, session.say)
    if not (out / SPEC).exists() and not (out / CELLS).exists():
        durable.write_file(out / SPEC, session.text)
    folds = {name: one.folds for name, one in sets.items()}
    sweep = sweep_cells(spec, folds, averaging_arms(spec))
    session.run(sweep, "sweep")
    choices = choose(spec, sweep, session.found, session.diverged)
    cells = compare_cells(spec, folds, choices)
    selection = selection_cells(spec, folds, choices, teaching_arms(spec))
    missing = unchosen(spec, sweep, choices)
    if missing:
        session.say(f"without a choice of the sweep, these do not begin yet: {', '.join(missing)}")
    session.run(_chosen(spec, cells, missing), "comparison")
    session.run(_chosen(spec, selection, missing), "model selection")
    return results.collect(
        spec,
        out,
        sets=sets,
        cells=cells,
        sweep=sweep,
        selection=selection,
        choices=choices,
        found=session.found,
        failed=session.failed,
        diverged=session.diverged,
    )


def _chosen(spec: CompareSpec, cells: Sequence[Cell], missing: Sequence[str]) -> list[Cell]:
    """Return the cells that need not wait for the sweep."""
    return [
        cell
        for cell in cells
        if choice_key(spec, spec.data_set(cell.data), cell.fold, cell.arm) not in missing
    ]


def check_cells(spec: CompareSpec) -> None:
    """Put every configuration together once, so that mistakes are told before anything is made.

    Raises:
        ConfigError: with the mistakes of all cells.
    """
    check_arms(spec)
    folds = {data.name: (None,) for data in spec.data}
    cells = [
        *sweep_cells(spec, folds, averaging_arms(spec)),
        *compare_cells(spec, folds, {}),
        *selection_cells(spec, folds, {}, teaching_arms(spec)),
    ]
    # Rates, seeds and data change nothing about what fits together.
    alike = {
        (cell.arm, cell.student, cell.budget, cell.choice.momentum, cell.stage, cell.variant): cell
        for cell in cells
        if cell.is_trained
    }
    problems: list[str] = []
    for cell in alike.values():
        try:
            cell_config(spec, cell, "rows.csv")
        except ConfigError as error:
            told = [f"{cell.key}: {problem}" for problem in error.problems]
            problems += [text for text in told if text not in problems]
    report_problems(problems)


def averaging_arms(spec: CompareSpec) -> list[str]:
    """Return the arms whose last stage has a moving average."""
    return [
        arm
        for arm in spec.trained_arms
        if has_momentum(last_stage(arm_config(spec, arm, None, Choice())))
    ]


def teaching_arms(spec: CompareSpec) -> list[str]:
    """Return the arms of the model selection whose last stage learns from one before it."""
    arms = spec.selection.arms if spec.selection is not None else ()
    return [
        arm
        for arm in arms
        if last_stage(arm_config(spec, arm, None, Choice())).method.needs_teacher
    ]


def count_done(spec: CompareSpec, out: Path, folds: Folds) -> tuple[int, int]:
    """Return how many cells are done, and how many are not; nothing is written.

    Args:
        spec: the comparison.
        out: its folder, which may not be there.
        folds: of each data set.

    Raises:
        RunFolderError: if a cell was finished with other settings or data.
    """
    sweep = sweep_cells(spec, folds, averaging_arms(spec))
    found = {cell.key: result for cell in sweep if (result := finished(spec, cell, out))}
    ended = [cell.key for cell in sweep if cell.key not in found and diverged(spec, cell, out)]
    choices = choose(spec, sweep, found, ended)
    rest = [
        *compare_cells(spec, folds, choices),
        *selection_cells(spec, folds, choices, teaching_arms(spec)),
    ]
    may_begin = _chosen(spec, rest, unchosen(spec, sweep, choices))
    done = len(found) + len(ended) + sum(finished(spec, one, out) is not None for one in may_begin)
    return done, len(sweep) + len(rest) - done


def _say_failures(session: Session) -> None:
    """Say every reason once, with the cells that it holds for."""
    by_error: dict[str, list[str]] = defaultdict(list)
    for key, error in session.failed.items():
        # A message about a cell may begin with its name.
        by_error[error.removeprefix(f"{key}: ")].append(key)
    for error, keys in by_error.items():
        session.say(f"failed: {error}")
        session.say(f"  in {plural(len(keys), 'cell')}: {', '.join(keys)}")


def _say_end(session: Session, found: results.Results) -> int:
    _say_failures(session)
    session.say(f"written: {', '.join(str(session.out / name) for name in WRITTEN)}")
    if found.left:
        why = "not begun, for there was no time" if session.is_late else "see above"
        left = plural(len(found.left), "cell")
        session.say(f"{left} left ({why}); the same command goes on")
    return 1 if session.failed else 0
