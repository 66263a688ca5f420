"""`vsalt plan`: which run to begin with a budget; or what one needs of machines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from vsalt.cli.parse import Count, option, parse
from vsalt.cli.plan_nodes import NodesArgs, plan_nodes
from vsalt.compute.findings import FINDINGS
from vsalt.errors import ConfigError
from vsalt.models.config import SizeName

if TYPE_CHECKING:
    from rich.table import Table

    from vsalt.training.proposal import Choice, Proposal


@dataclass(frozen=True, kw_only=True)
class PlanArgs:
    """Propose a run of vsalt salt for a budget, and say what each choice rests on.

    Prints the command that begins it. What was never measured near the budget is said so. With
    --nodes or --table, in the place of a budget: what a preset needs of many GPUs, by formula.
    """

    budget_flops: float | None = None
    """Exact operations of both stages, such as 1e15. Needed without --nodes or --table."""
    data_clips: Count | None = None
    """Training clips that you have. Likewise."""
    student: SizeName | None = None
    """Size of the student. Unset: that of the preset whose own cost is nearest to the budget."""
    flops_per_second: float | None = None
    """Exact operations per second of your device, for the hours."""
    measure: bool = False
    """Measure that on the device at hand, by a few steps of the proposed networks."""
    json: bool = False
    """Print one object and nothing else."""
    at_scale: Annotated[NodesArgs, tyro.conf.OmitArgPrefixes] = field(default_factory=NodesArgs)
    """With --nodes or --table only."""


def plan(words: Sequence[str], prog: str) -> int:
    """Run the verb `plan`."""
    _check_size(option(words, "--student"))
    args = parse(PlanArgs, words, prog)
    _check_kind(args)
    if args.at_scale.is_asked:
        return plan_nodes(args.at_scale, args.json)
    assert args.budget_flops is not None
    assert args.data_clips is not None
    if args.measure and args.flops_per_second is not None:
        raise ConfigError(["--measure and --flops-per-second exclude each other; give one of them"])
    rate = args.flops_per_second
    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigError([f"--flops-per-second is {rate}; it must be above 0, and finite"])
    from vsalt.training.proposal import propose

    found = propose(args.budget_flops, args.data_clips, args.student)
    rates = [rate, rate] if rate is not None else _measured(found) if args.measure else None
    hours = None
    if rates is not None:
        hours = sum(flops / each for flops, each in zip(found.flops, rates, strict=True)) / 3600
    if args.json:
        print(json.dumps(_plain(args, found, rates, hours), indent=1, allow_nan=False))
    else:
        _print(args, found, rates, hours)
    return 0


def _check_kind(args: PlanArgs) -> None:
    """Refuse flags of one kind of plan beside those of the other."""
    at_scale = args.at_scale.is_asked
    wrong = [
        f"--{item.name.replace('_', '-')}"
        for part in ([args] if at_scale else [args.at_scale])
        for item in fields(part)
        if item.name not in ("json", "at_scale") and getattr(part, item.name) != item.default
    ]
    if wrong and at_scale:
        raise ConfigError([f"{' and '.join(wrong)}: leave out with --nodes or --table"])
    if wrong:
        raise ConfigError([f"{' and '.join(wrong)}: only with --nodes or --table"])
    missing = [
        flag
        for flag, value in (
            ("--budget-flops", args.budget_flops),
            ("--data-clips", args.data_clips),
        )
        if value is None
    ]
    if missing and not at_scale:
        raise ConfigError(
            [f"{' and '.join(missing)}: needed for a proposal; or take --nodes, to plan machines"]
        )


def _check_size(student: str | None) -> None:
    """Answer a size that is none with the sizes in their order; the parser's have none."""
    sizes = get_args(SizeName)
    if student not in (None, "None", *sizes):
        raise ConfigError([f"--student is {student!r}; there are {', '.join(sizes)}"])


def _measured(found: "Proposal") -> list[float]:
    from vsalt.training.rate import measure_rates

    return measure_rates(found.config)


def _plain(
    args: PlanArgs, found: "Proposal", rates: list[float] | None, hours: float | None
) -> dict[str, Any]:
    return {
        "budget_flops": args.budget_flops,
        "data_clips": args.data_clips,
        "preset": found.preset,
        "steps": dict(zip(("teacher", "student"), found.steps, strict=True)),
        "batch_size": found.config.student.loop.batch_size,
        "flops_exact": dict(zip(("teacher", "student"), found.flops, strict=True)),
        "flops_six_nd": found.six_nd,
        "outside": FINDINGS["budget"].distance(found.six_nd),
        "choices": [_with_finding(choice) for choice in found.choices],
        "warnings": list(found.warnings),
        "flops_per_second": rates,
        "hours": hours,
        "command": found.command,
        "baseline_command": found.baseline,
    }


def _with_finding(choice: "Choice") -> dict[str, Any]:
    finding = FINDINGS[choice.finding] if choice.finding else None
    return {**asdict(choice), "finding": asdict(finding) if finding else None}


def _print(
    args: PlanArgs, found: "Proposal", rates: list[float] | None, hours: float | None
) -> None:
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.print(_table(found.choices))
    total = sum(found.flops)
    console.print(
        f"the budget is {args.budget_flops:.3g} FLOPs; this run takes {total:.4g} "
        f"({found.flops[0]:.3g} teacher, {found.flops[1]:.3g} student), by 6ND "
        f"{found.six_nd:.3g}: {FINDINGS['budget'].distance(found.six_nd)}"
    )
    if hours is not None and rates is not None:
        said = " and ".join(f"{rate:.3g}" for rate in dict.fromkeys(rates))
        how = "measured here with random clips" if args.measure else "as given"
        console.print(f"{_time(hours)} at {said} FLOP/s, {how}; reading clips comes on top")
    for warning in found.warnings:
        console.print(f"careful: {warning}", style="yellow")
    console.print("what the numbers mean:")
    for finding in dict.fromkeys(choice.finding for choice in found.choices):
        if finding is not None:
            each = FINDINGS[finding]
            console.print(f"  [{finding}] {each.says} ({each.source}; {each.measured})")
    console.print("to begin it:")
    console.print(f"  {found.command}", soft_wrap=True)
    console.print("the same budget for V-JEPA (vsalt compare SPEC compares such runs):")
    console.print(f"  {found.baseline}", soft_wrap=True)


def _time(hours: float) -> str:
    """Write a time in the largest unit of which it has two."""
    if hours >= 2:
        return f"{hours:,.0f} hours" if hours >= 100 else f"{hours:.3g} hours"
    minutes = hours * 60
    return f"{minutes:.3g} minutes" if minutes >= 2 else f"{minutes * 60:.3g} seconds"


def _table(choices: Sequence["Choice"]) -> "Table":
    from rich.table import Table

    table = Table(title="a run for this budget", title_justify="left", title_style="bold")
    for name in ("", "proposed", "why"):
        table.add_column(name)
    for choice in choices:
        basis = f"[{choice.finding}]" if choice.finding else "no finding"
        why = f"{choice.rule}. {basis}: {choice.distance}"
        table.add_row(choice.name, choice.value, why, end_section=True)
    return table
