"""What a run says before it begins, when it is interrupted and when it is done."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig
from vsalt.data.cache_plan import plan_cache
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig
from vsalt.data.quarantine import MIN_READS
from vsalt.data.window_report import WindowReport, report_windows
from vsalt.errors import printable
from vsalt.presets import baseline_of
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.distributed import LostProcessError, place_in
from vsalt.training.lengths import SCALED
from vsalt.training.stop import InterruptedRunError, UnreadableRunError


def say_data(
    config: PretrainConfig | SaltRunConfig, catalogue: Catalogue, console: Console
) -> None:
    """Say what is in the sources, and how they will be read.

    Raises:
        ConfigError: if the frames are to be kept where there is no room for them.
    """
    console.print(f"data: {_describe_rows(catalogue)}{_describe_splits(config.data, catalogue)}")
    if config.data.repeats > 1:
        repeats = config.data.repeats
        console.print(
            f"data: every decoded clip is used {repeats} times; all clips have been decoded once "
            f"after {catalogue.num_train * repeats:,} clips of training"
        )
    used = [catalogue.rows[index] for part in catalogue.train for index in part]
    cache = plan_cache(used, config.data, seed=config.seed)
    if cache is not None:
        console.print(f"data: {cache}")
        cache.check()
    rows = [row for row in used if not row.is_image]
    report = report_windows(rows, config.clip, seed=config.seed, limits=config.data.limits)
    if report.num_short:
        console.print(f"data: {report}", style="yellow" if report.warns else None)
    if report.num_unreadable:
        console.print(f"data: {_describe_unreadable(report, config.data)}", style="yellow")


def _describe_unreadable(report: WindowReport, data: DataConfig) -> str:
    """Say how many of the sampled clips cannot be read, and what will come of it."""
    num_sampled = report.num_clips + report.num_unreadable
    text = f"{report.num_unreadable} of {num_sampled} sampled clips cannot be read"
    if report.num_unreadable <= data.max_bad_share * num_sampled:
        return f"{text}; other clips will take their place"
    return (
        f"{text}, more than --data.max-bad-share {data.max_bad_share:g} allows, so the run will "
        f"stop at its first check, after {MIN_READS} clips; `vsalt data check SOURCE --write-clean "
        "FILE` writes a manifest without them, or raise --data.max-bad-share"
    )


def _describe_rows(catalogue: Catalogue) -> str:
    """Say how many rows there are; of images and videos apart where there are images."""
    num_train, num_held = catalogue.num_train, len(catalogue.holdout)
    share = catalogue.shapes.image_share
    if not share:
        return f"{num_train} clips to train on, {num_held} held out"
    images = sum(len(part.rows) for part in catalogue.parts if part.shape == "image")
    held = sum(catalogue.rows[index].is_image for index in catalogue.holdout)
    if share == 1:
        return f"{images} images to train on, {held} held out"
    return (
        f"{num_train - images} videos and {images} images to train on, {num_held - held} and "
        f"{held} held out; {float(share):.1%} of the steps are of images"
    )


def _describe_splits(config: DataConfig, catalogue: Catalogue) -> str:
    unused = {
        split: count - catalogue.used_per_split.get(split, 0)
        for split, count in catalogue.rows_per_split.items()
    }
    parts = [f"{count} of split {split}" for split, count in sorted(unused.items()) if count]
    if config.use_test or not parts:
        return ""
    return f"; not used: {', '.join(parts)}"


def say_lengths(
    name: str,
    given: StageConfig,
    resolved: StageConfig,
    console: Console,
    budget: BudgetConfig,
    prefix: str = "",
) -> None:
    """Say how warm-up, cool-down and learning rate follow the length and the batch size.

    Args:
        name: of the stage.
        given: its settings as they were given.
        resolved: and as the run has them.
        console: where to.
        budget: of the run.
        prefix: of the stage's settings among the budget's; "teacher.", or nothing.
    """
    optim, loop = resolved.optim, resolved.loop
    followed = _followers(budget, prefix)

    def how(setting: str) -> str:
        return "in proportion" if setting in followed else "fixed"

    text = f"{name}: {loop.steps:,} steps, warm-up {optim.warmup_steps:,}"
    if not loop.steps:
        console.print(f"{name}: no steps; its initial weights are the result")
        return
    if loop.stop_at is not None:
        text = text.replace(" steps,", f" steps, stopped after {loop.stop_at:,},", 1)
    usual = given.optim.warmup_steps is None
    text += f" ({'8 % of the run' if usual else how('optim.warmup_steps')})"
    if optim.cooldown_steps:
        text += f", cool-down {optim.cooldown_steps:,} ({how('optim.cooldown_steps')})"
    text += f", peak learning rate {optim.lr:.3g}"
    if given.optim.lr_batch_size != loop.batch_size and given.optim.lr_scaling != "none":
        text += (
            f" ({given.optim.lr:.3g} at {given.optim.lr_batch_size} clips, "
            f"scaled by {given.optim.lr_scaling} to {loop.batch_size})"
        )
    console.print(text)


def _followers(budget: BudgetConfig, prefix: str = "") -> set[str]:
    """Return the settings of a stage that have followed the length which the budget pays."""
    if not budget.given:
        return set()
    return {name for name in SCALED if f"{prefix}{name}" not in budget.fixed}


def say_baseline(preset: str | None, method: str, console: Console) -> None:
    """Name the arm that a method with settings made for another one may be taken for."""
    arm = baseline_of(preset, method) if preset else None
    if arm is not None:
        console.print(
            f"method {method} with the settings of the student of preset {preset}; the baseline, "
            f"with settings of its own, is --preset {arm}"
        )


def say_rate(budget: BudgetConfig, console: Console) -> None:
    """Say the rate that hours were turned into operations by, if it was given."""
    if budget.flops_per_second is not None:
        console.print(f"rate: {budget.flops_per_second:.3g} FLOP/s, as given")


def say_done(run: Path, console: Console) -> None:
    """Say what can be done with a run that is done."""
    name = shlex.quote(str(run))
    for line in (
        f"done: {run}",
        f"next: vsalt report {name}",
        f"      vsalt probe fit --encoder {name} --data LABELLED --kind linear --out PROBE",
        f"      vsalt embed --encoder {name} --data VIDEOS --out EMBEDDINGS",
    ):
        console.print(printable(line), soft_wrap=True)


@contextmanager
def say_how_to_resume(run: Path) -> Iterator[None]:
    """Add the command that goes on to what an interrupted run says, or one that lost a process."""
    try:
        yield
    except InterruptedRunError as error:
        raise InterruptedRunError(error.number, f"{error}. {_resume(run)}") from error
    except UnreadableRunError as error:
        raise UnreadableRunError(f"{error}. {_resume(run)}, once they can be read") from error
    except LostProcessError as error:
        raise LostProcessError(f"{error}. {_resume(run, ' from the last checkpoint')}") from error


def _resume(run: Path, whence: str = "") -> str:
    command = f"`vsalt resume {shlex.quote(str(run))}` goes on{whence}"
    if place_in(os.environ) is None:
        return command
    return f"{command}; by torchrun, which may start as many processes as before or others"
