"""What the verbs do: refuse early, say what will happen, write the run folder, run, resume."""

import contextlib
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from vsalt import durable
from vsalt.config import STAGES, PretrainConfig, SaltRunConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.synthetic import synthesise
from vsalt.errors import ConfigError, RunFolderError
from vsalt.presets import stage_title
from vsalt.targets.outside import OutsideTeacher
from vsalt.training import run_folder
from vsalt.training.announce import (
    say_baseline,
    say_data,
    say_done,
    say_how_to_resume,
    say_lengths,
    say_rate,
)
from vsalt.training.apply_budget import apply_budget
from vsalt.training.budget_config import BudgetConfig
from vsalt.training.build import resolve, resolve_salt, with_image_masks
from vsalt.training.config import Sharding
from vsalt.training.distributed import Ranks, join
from vsalt.training.plan import StagePlan, plan_salt, plan_stage, print_plans
from vsalt.training.salt import KIND as SALT
from vsalt.training.salt import create_salt, read_salt, run_salt
from vsalt.training.stage import check_processes, run_stage
from vsalt.training.stage_cost import resolve_any_length
from vsalt.training.stage_folder import KIND as STAGE
from vsalt.training.stage_folder import create_stage, read_stage
from vsalt.training.target_cache import TargetCache
from vsalt.training.teachers import ReadOutside, Teacher, open_teacher, shape_of
from vsalt.training.tracking import TrackerName, choose_tracker, require_tracker

C = TypeVar("C", PretrainConfig, SaltRunConfig)
NO_BUDGET = BudgetConfig()
SYNTHETIC_CLIPS = 640
SYNTHETIC_FPS = 12


@dataclass(frozen=True)
class _Start:
    """What is asked of a new run, whatever its kind, and how it is begun."""

    run: Path
    preset: str | None
    budget: BudgetConfig
    track: TrackerName
    dry_run: bool
    ranks: Ranks
    held: contextlib.ExitStack
    """Holds the folder once it is begun."""

    @property
    def console(self) -> Console:
        """Where this process says what it does."""
        return _console(self.ranks)

    def check(self) -> None:
        """Refuse a folder that has a run, and hours at the rate of one of several processes."""
        budget = self.budget
        if self.ranks.several and budget.hours is not None and budget.flops_per_second is None:
            raise ConfigError(
                [
                    f"--hours measures the rate of one process, and there are {self.ranks.size}; "
                    "give --flops-per-second, of all together, or --budget-flops"
                ]
            )
        run_folder.check_new_run(self.run)

    def with_data(self, config: C) -> C:
        """Without --data, make the synthetic set beside the run; its clips are window-long."""
        if config.data.sources:
            return config
        if self.dry_run:
            raise ConfigError(
                ["--dry-run needs --data; a run without it makes a synthetic set first"]
            )
        folder = self.run.with_name(f"{self.run.name}-synthetic")
        if not folder.exists():
            self.console.print(f"no --data: making {SYNTHETIC_CLIPS} synthetic clips in {folder}")
            partial = folder.with_name(f".{folder.name}-partial")
            shutil.rmtree(partial, ignore_errors=True)
            clip = config.clip
            frames = clip.num_frames * clip.frame_step
            if clip.fps is not None:
                frames = math.ceil(clip.num_frames / clip.fps * SYNTHETIC_FPS)
            with durable.explain_write_errors(f"to {folder}"):
                synthesise(
                    partial,
                    num_clips=SYNTHETIC_CLIPS,
                    num_frames=max(24, frames),
                    fps=SYNTHETIC_FPS,
                )
                partial.rename(folder)
        self.console.print("flips are off: left and right are classes of the synthetic set")
        sources = (str((folder / "labels.csv").absolute()),)
        return replace(config, data=replace(config.data, sources=sources, flip=0.0))

    def agree(self, plans: list[StagePlan], rates: Sequence[float]) -> bool:
        """Show the plans; unless that was all that was asked, hold a folder with enough room.

        Args:
            plans: of all stages.
            rates: what `apply_budget` returned.

        Returns:
            Whether the run begins.
        """
        say_rate(self.budget, self.console)
        print_plans(plans, self.console, preset=self.preset, flops_per_second=rates)
        if self.dry_run:
            return False
        durable.create_folder(self.run)
        self.held.enter_context(durable.hold(self.run))
        run_folder.check_new_run(self.run)
        durable.require_free_disk(self.run, sum(plan.disk_bytes for plan in plans))
        choose_tracker(self.run, self.track)
        return True


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
        require_tracker(track)
        start = _Start(run, preset, budget, track, dry_run, ranks, held)
        catalogue = ranks.first(lambda: _begin_salt(start, config))
        if dry_run:
            return
        with say_how_to_resume(run):
            run_salt(run, start.console, catalogue, ranks)
        if say_next:
            say_done(run, start.console)


def _begin_salt(start: _Start, config: SaltRunConfig) -> Catalogue | None:
    """Say what will happen, and write the folder, which the start holds from then on."""
    start.check()
    console, budget = start.console, start.budget
    resolve_now = resolve_any_length if budget.given else resolve_salt
    resolved = start.with_data(resolve_now(config))
    for name in resolved.stages:
        check_processes(resolved.stage(name), start.ranks)
    catalogue = Catalogue.load(resolved.data, seed=resolved.seed)
    say_data(resolved, catalogue, console)
    config, rates = apply_budget(config, budget, catalogue.shapes, console)
    resolved = replace(resolve_salt(config), data=resolved.data)
    if "image" in catalogue.shapes.shapes:
        resolved = with_image_masks(resolved)
    for name in config.stages:
        given, stage = getattr(config, name), getattr(resolved, name)
        say_lengths(name, given, stage, console, budget, f"{name}.")
    if not start.agree(plan_salt(resolved, catalogue.shapes), rates):
        return None
    create_salt(start.run, resolved)
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
        require_tracker(track)
        start = _Start(run, preset, budget, track, dry_run, ranks, held)

        def begin() -> Catalogue | None:
            start.check()
            loaded = _open_teacher(config, teacher, targets, start.console, read_outside)
            cache = TargetCache(targets) if targets else None
            return _begin_stage(start, config, title, loaded, cache)

        catalogue = ranks.first(begin)
        if dry_run:
            return
        with say_how_to_resume(run):
            run_stage(run, catalogue, start.console, title, read_outside, ranks)
        say_done(run, start.console)


def _open_teacher(
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
    loaded = open_teacher(teacher, config.stage, read_outside) if teacher else None
    if isinstance(loaded, OutsideTeacher):
        console.print(f"teacher: {loaded.describe()}")
    return loaded


def _begin_stage(
    start: _Start,
    config: PretrainConfig,
    title: str,
    teacher: Teacher | None,
    cache: TargetCache | None,
) -> Catalogue | None:
    """Say what will happen, and write the folder, which the start holds from then on."""
    console, budget = start.console, start.budget
    if cache is not None:
        _check_teacher(cache, teacher)
        teacher = None
        if config.data.views is None:
            config = replace(config, data=replace(config.data, views=cache.num_views))
    shape = cache.teacher() if cache else shape_of(teacher)
    resolve_now = resolve_any_length if budget.given else resolve
    resolved = start.with_data(resolve_now(config))
    check_processes(resolved, start.ranks)
    catalogue = Catalogue.load(resolved.data, seed=resolved.seed)
    say_data(resolved, catalogue, console)
    if cache is not None:
        cache.check(resolved, catalogue)
        cache.latents(catalogue)
        console.print(f"targets: {cache.describe()}", soft_wrap=True)
    config, rates = apply_budget(config, budget, catalogue.shapes, console, shape)
    resolved = replace(resolve(config), data=resolved.data)
    if "image" in catalogue.shapes.shapes:
        resolved = with_image_masks(resolved)
    say_baseline(start.preset, config.stage.method.name, console)
    say_lengths(title, config.stage, resolved.stage, console, budget)
    if not start.agree([plan_stage(resolved, shape, title, catalogue.shapes)], rates):
        return None
    create_stage(start.run, resolved, catalogue, teacher, cache)
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
    with join(device) as ranks, contextlib.ExitStack() as held, say_how_to_resume(run):
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
            say_done(run, console)


def restarted(run: Path) -> bool:
    """Whether torchrun has started this command again, and it has begun the run before.

    A command that begins a run goes on with it then (`torchrun --max-restarts`). That it was this
    command, word for word, stands in config.json, so that it is known as soon as there is a run.
    """
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return False
    if not (run / run_folder.CONFIG).is_file():
        return False
    record = durable.read_json(run / run_folder.CONFIG)
    if "command" in record:
        return bool(record["command"] == sys.argv)
    # Earlier versions wrote it into environment.json alone.
    for folder in (run, run / STAGES[0]):
        if (folder / run_folder.ENVIRONMENT).is_file():
            starts = durable.read_json(folder / run_folder.ENVIRONMENT)["starts"]
            return bool(starts[0]["command"] == sys.argv)
    return False


def _console(ranks: Ranks) -> Console:
    """Return where progress goes; nowhere, if another process leads."""
    return Console(markup=False, highlight=False, quiet=not ranks.leads)
