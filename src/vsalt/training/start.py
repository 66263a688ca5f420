"""What the verbs do: say what will happen, write the run folder, run, resume."""

import contextlib
import math
import os
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from vsalt import durable
from vsalt.config import STAGES, PretrainConfig, SaltRunConfig, StageConfig
from vsalt.data.cache_plan import plan_cache
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig
from vsalt.data.quarantine import MIN_READS
from vsalt.data.synthetic import synthesise
from vsalt.data.window_report import WindowReport, report_windows
from vsalt.errors import ConfigError, RunFolderError, printable
from vsalt.presets import baseline_of, stage_title
from vsalt.targets.outside import OutsideTeacher
from vsalt.training import run_folder
from vsalt.training.apply_budget import apply_budget
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.build import resolve, resolve_salt, with_image_masks
from vsalt.training.config import Sharding
from vsalt.training.distributed import LostProcessError, Ranks, join, place_in
from vsalt.training.lengths import SCALED
from vsalt.training.plan import StagePlan, plan_salt, plan_stage, print_plans
from vsalt.training.salt import KIND as SALT
from vsalt.training.salt import create_salt, read_salt, run_salt
from vsalt.training.stage import KIND as STAGE
from vsalt.training.stage import check_processes, create_stage, read_stage, run_stage
from vsalt.training.stage_cost import resolve_any_length
from vsalt.training.stop import InterruptedRunError
from vsalt.training.target_cache import TargetCache
from vsalt.training.teachers import ReadOutside, Teacher, open_teacher, shape_of
from vsalt.training.tracking import TrackerName, choose_tracker, require_tracker

C = TypeVar("C", PretrainConfig, SaltRunConfig)
NO_BUDGET = BudgetConfig()
SYNTHETIC_CLIPS = 640
SYNTHETIC_FPS = 12


def start_salt(
    run: Path,
    config: SaltRunConfig,
    *,
    preset: str | None = None,
    budget: BudgetConfig = NO_BUDGET,
    track: TrackerName = "none",
    dry_run: bool = False,
    say_next: bool = True,
) -> None:
    """Begin all stages in a new run folder.

    Args:
        run: the folder.
        config: of all stages.
        preset: name of the preset that the settings began with, for the plan.
        budget: what the run may take, in the place of the config's numbers of steps, whose ratio
            between stages is kept.
        track: where the records are shown, too.
        dry_run: say what would happen, and stop.
        say_next: at the end, say what can be done with the run.

    Raises:
        RunFolderError: if the folder holds a run already, cannot be written or is too small.
        ConfigError: if settings are wrong.
        DataError: if the sources are.
    """
    if restarted(run):
        resume_run(run, track=track, say_next=say_next)
        return
    with join(config.device) as ranks, contextlib.ExitStack() as held:
        console = _console(ranks)
        require_tracker(track)

        def begin() -> Catalogue | None:
            _check_budget(budget, ranks)
            return _begin_salt(
                run, config, held, console, ranks, preset, budget, track, dry_run=dry_run
            )

        catalogue = ranks.first(begin)
        if dry_run:
            return
        with _say_how_to_resume(run):
            run_salt(run, console, catalogue, ranks)
        if say_next:
            _say_done(run, console)


def _begin_salt(
    run: Path,
    config: SaltRunConfig,
    held: contextlib.ExitStack,
    console: Console,
    ranks: Ranks,
    preset: str | None,
    budget: BudgetConfig,
    track: TrackerName,
    *,
    dry_run: bool,
) -> Catalogue | None:
    """Say what will happen, and write the folder, which `held` holds from then on."""
    run_folder.check_new_run(run)
    resolve_now = resolve_any_length if budget.given else resolve_salt
    resolved = _with_data(resolve_now(config), run, console, dry_run)
    for name in resolved.stages:
        check_processes(resolved.stage(name), ranks)
    catalogue = _read_data(resolved, console)
    config, rates = apply_budget(config, budget, catalogue.shapes, console)
    resolved = replace(resolve_salt(config), data=resolved.data)
    if "image" in catalogue.shapes.shapes:
        resolved = with_image_masks(resolved)
    for name in config.stages:
        given, stage = getattr(config, name), getattr(resolved, name)
        _say_lengths(name, given, stage, console, _followers(budget, f"{name}."))
    plans = plan_salt(resolved, catalogue.shapes)
    _say_rate(budget, console)
    print_plans(plans, console, preset=preset, flops_per_second=rates)
    if dry_run:
        return None
    held.enter_context(_new_run(run, plans))
    choose_tracker(run, track)
    create_salt(run, resolved)
    return catalogue


def start_stage(
    run: Path,
    config: PretrainConfig,
    *,
    teacher: Path | str | None,
    preset: str | None = None,
    budget: BudgetConfig = NO_BUDGET,
    track: TrackerName = "none",
    dry_run: bool = False,
    read_outside: ReadOutside | None = None,
    targets: Path | None = None,
) -> None:
    """Begin one stage in a new run folder; raises as `start_salt` does.

    Args:
        run: the folder.
        config: of the stage.
        teacher: for methods that need one: a run, a checkpoint, what `vsalt import` wrote, or
            hf:PATH.
        preset: as of `start_salt`, and so are the next three.
        budget: see there.
        track: see there.
        dry_run: see there.
        read_outside: what reads a teacher hf:PATH, `vsalt.read_hf_teacher`.
        targets: a folder of cached targets, in the place of the teacher; with a teacher, they must
            be that one's.
    """
    if restarted(run):
        resume_run(run, track=track, read_outside=read_outside)
        return
    title = stage_title(preset, config.stage.method.name) if preset else config.stage.method.name
    with join(config.device) as ranks, contextlib.ExitStack() as held:
        console = _console(ranks)
        require_tracker(track)

        def begin() -> Catalogue | None:
            _check_budget(budget, ranks)
            loaded = _open_teacher(run, config, teacher, targets, console, read_outside)
            cache = TargetCache(targets) if targets else None
            return _begin_stage(
                run,
                config,
                loaded,
                cache,
                held,
                console,
                ranks,
                title,
                preset,
                budget,
                track,
                dry_run,
            )

        catalogue = ranks.first(begin)
        if dry_run:
            return
        with _say_how_to_resume(run):
            run_stage(run, catalogue, console, title, read_outside, ranks)
        _say_done(run, console)


def _open_teacher(
    run: Path,
    config: PretrainConfig,
    teacher: Path | str | None,
    targets: Path | None,
    console: Console,
    read_outside: ReadOutside | None,
) -> Teacher | None:
    """Read the teacher of a new run, if its method has one and it is named."""
    method = config.stage.method
    if method.needs_teacher and teacher is None and targets is None:
        raise ConfigError(
            [
                f"method {method.name} needs a teacher: --teacher RUN, a run or checkpoint, or "
                "--teacher hf:PATH, a model of transformers; or --targets FOLDER, what `vsalt "
                "cache-targets` wrote"
            ]
        )
    for flag, given in (("--teacher", teacher), ("--targets", targets)):
        if given is not None and not method.needs_teacher:
            raise ConfigError([f"{flag} means nothing to method {method.name}"])
    run_folder.check_new_run(run)
    loaded = open_teacher(teacher, config.stage, read_outside) if teacher else None
    if isinstance(loaded, OutsideTeacher):
        console.print(f"teacher: {loaded.describe()}")
    return loaded


def _begin_stage(
    run: Path,
    config: PretrainConfig,
    teacher: Teacher | None,
    cache: TargetCache | None,
    held: contextlib.ExitStack,
    console: Console,
    ranks: Ranks,
    title: str,
    preset: str | None,
    budget: BudgetConfig,
    track: TrackerName,
    dry_run: bool,
) -> Catalogue | None:
    """Say what will happen, and write the folder, which `held` holds from then on."""
    if cache is not None:
        _check_teacher(cache, teacher)
        teacher = None
        if config.data.views is None:
            config = replace(config, data=replace(config.data, views=cache.num_views))
    shape = cache.teacher() if cache else shape_of(teacher)
    resolve_now = resolve_any_length if budget.given else resolve
    resolved = _with_data(resolve_now(config), run, console, dry_run)
    check_processes(resolved, ranks)
    catalogue = _read_data(resolved, console)
    if cache is not None:
        cache.check(resolved, catalogue)
        cache.latents(catalogue)
        console.print(f"targets: {cache.describe()}", soft_wrap=True)
    config, rates = apply_budget(config, budget, catalogue.shapes, console, shape)
    resolved = replace(resolve(config), data=resolved.data)
    if "image" in catalogue.shapes.shapes:
        resolved = with_image_masks(resolved)
    _say_baseline(preset, config.stage.method.name, console)
    _say_lengths(title, config.stage, resolved.stage, console, _followers(budget))
    plan = plan_stage(resolved, shape, title, catalogue.shapes)
    _say_rate(budget, console)
    print_plans([plan], console, preset=preset, flops_per_second=rates)
    if dry_run:
        return None
    held.enter_context(_new_run(run, [plan]))
    choose_tracker(run, track)
    create_stage(run, resolved, catalogue, teacher, cache)
    return catalogue


def _check_teacher(cache: TargetCache, teacher: Teacher | None) -> None:
    """Refuse the targets of another teacher than the one that is named beside them."""
    if teacher is not None and teacher.sha256 != cache.teacher_sha256:
        raise RunFolderError(
            f"the targets in {cache.folder} are of another teacher than --teacher; leave one of "
            "them out, or write the cache anew"
        )


def resume_run(
    run: Path,
    *,
    track: TrackerName | None = None,
    say_next: bool = True,
    read_outside: ReadOutside | None = None,
    sharding: Sharding | None = None,
) -> None:
    """Go on with a run of either kind.

    Args:
        run: its folder.
        track: where the records are shown from now on, too; None: as before.
        say_next: at the end, say what can be done with the run.
        read_outside: what reads a teacher from outside, `vsalt.read_hf_teacher`.
        sharding: of several processes: whether each holds the trained networks or a part of them,
            this time; None: as the run began.

    Raises:
        RunFolderError: if there is no run, it is in use, or it does not belong together.
    """
    require_tracker(track or "none")
    if not (run / run_folder.CONFIG).is_file():
        raise RunFolderError(
            f"{run} holds no run: it has no {run_folder.CONFIG}. Runs are begun by `vsalt salt` "
            "and `vsalt pretrain`"
        )
    kind = durable.read_json(run / run_folder.CONFIG).get("kind")
    if kind not in (SALT, STAGE):
        raise RunFolderError(f"{run / run_folder.CONFIG} is of unknown kind {kind!r}")
    device = read_salt(run).device if kind == SALT else read_stage(run).config.device
    with join(device) as ranks, contextlib.ExitStack() as held, _say_how_to_resume(run):
        console = _console(ranks)

        def take() -> None:
            durable.create_folder(run)
            held.enter_context(durable.hold(run))
            if track is not None:
                choose_tracker(run, track)

        ranks.first(take)
        if kind == SALT:
            run_salt(run, console, None, ranks, sharding)
        else:
            run_stage(run, None, console, None, read_outside, ranks, sharding)
        if say_next:
            _say_done(run, console)


def restarted(run: Path) -> bool:
    """Whether torchrun has started this command again, and it has begun the run before.

    A command that begins a run goes on with it then (`torchrun --max-restarts`). That it was this
    command, word for word, stands in environment.json.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return False
    if not (run / run_folder.CONFIG).is_file():
        return False
    for folder in (run, run / STAGES[0]):
        if (folder / run_folder.ENVIRONMENT).is_file():
            starts = durable.read_json(folder / run_folder.ENVIRONMENT)["starts"]
            return bool(starts[0]["command"] == sys.argv)
    return False


def _console(ranks: Ranks) -> Console:
    """Return where progress goes; nowhere, if another process leads."""
    return Console(markup=False, highlight=False, quiet=not ranks.leads)


def _check_budget(budget: BudgetConfig, ranks: Ranks) -> None:
    """Refuse hours by a rate that one process alone would measure."""
    if ranks.several and budget.hours is not None and budget.flops_per_second is None:
        raise ConfigError(
            [
                f"--hours measures the rate of one process, and there are {ranks.size}; give "
                "--flops-per-second, of all together, or --budget-flops"
            ]
        )


def _with_data(config: C, run: Path, console: Console, dry_run: bool) -> C:
    """Without --data, make the synthetic set beside the run, with clips as long as the window."""
    if config.data.sources:
        return config
    if dry_run:
        raise ConfigError(["--dry-run needs --data; a run without it makes a synthetic set first"])
    folder = run.with_name(f"{run.name}-synthetic")
    if not folder.exists():
        console.print(f"no --data: making {SYNTHETIC_CLIPS} synthetic clips in {folder}")
        partial = folder.with_name(f".{folder.name}-partial")
        shutil.rmtree(partial, ignore_errors=True)
        clip = config.clip
        frames = clip.num_frames * clip.frame_step
        if clip.fps is not None:
            frames = math.ceil(clip.num_frames / clip.fps * SYNTHETIC_FPS)
        with durable.explain_write_errors(f"to {folder}"):
            synthesise(
                partial, num_clips=SYNTHETIC_CLIPS, num_frames=max(24, frames), fps=SYNTHETIC_FPS
            )
            partial.rename(folder)
    console.print("flips are off: left and right are classes of the synthetic set")
    sources = (str((folder / "labels.csv").absolute()),)
    return replace(config, data=replace(config.data, sources=sources, flip=0.0))


@contextmanager
def _new_run(run: Path, plans: list[StagePlan]) -> Iterator[None]:
    """Hold a folder that has no run and enough room."""
    durable.create_folder(run)
    with durable.hold(run):
        run_folder.check_new_run(run)
        durable.require_free_disk(run, sum(plan.disk_bytes for plan in plans))
        yield


@contextmanager
def _say_how_to_resume(run: Path) -> Iterator[None]:
    """Add the command that goes on to what an interrupted run says, or one that lost a process."""
    try:
        yield
    except InterruptedRunError as error:
        raise InterruptedRunError(error.number, f"{error}. {_resume(run)}") from error
    except LostProcessError as error:
        raise LostProcessError(f"{error}. {_resume(run, ' from the last checkpoint')}") from error


def _resume(run: Path, whence: str = "") -> str:
    command = f"`vsalt resume {shlex.quote(str(run))}` goes on{whence}"
    if place_in(os.environ) is None:
        return command
    return f"{command}; by torchrun, which may start as many processes as before or others"


def _read_data(config: PretrainConfig | SaltRunConfig, console: Console) -> Catalogue:
    """Read the sources and say what is in them."""
    catalogue = Catalogue.load(config.data, seed=config.seed)
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
    return catalogue


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


def _followers(budget: BudgetConfig, prefix: str = "") -> set[str]:
    """Return the settings of a stage that have followed the length which the budget pays."""
    if not budget.given:
        return set()
    return {name for name in SCALED if f"{prefix}{name}" not in budget.fixed}


def _say_lengths(
    name: str,
    given: StageConfig,
    resolved: StageConfig,
    console: Console,
    followers: Collection[str],
) -> None:
    """Say how warm-up, cool-down and learning rate follow the length and the batch size."""
    optim, loop = resolved.optim, resolved.loop

    def how(setting: str) -> str:
        return "in proportion" if setting in followers else "fixed"

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


def _say_baseline(preset: str | None, method: str, console: Console) -> None:
    """Name the arm that a method with settings made for another one may be taken for."""
    arm = baseline_of(preset, method) if preset else None
    if arm is not None:
        console.print(
            f"method {method} with the settings of the student of preset {preset}; the baseline, "
            f"with settings of its own, is --preset {arm}"
        )


def _say_rate(budget: BudgetConfig, console: Console) -> None:
    if budget.flops_per_second is not None:
        console.print(f"rate: {budget.flops_per_second:.3g} FLOP/s, as given")


def _say_done(run: Path, console: Console) -> None:
    name = shlex.quote(str(run))
    for line in (
        f"done: {run}",
        f"next: vsalt report {name}",
        f"      vsalt probe fit --encoder {name} --data LABELLED --kind linear --out PROBE",
        f"      vsalt embed --encoder {name} --data VIDEOS --out EMBEDDINGS",
    ):
        console.print(printable(line), soft_wrap=True)
