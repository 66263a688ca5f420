"""One stage, run from where its folder stands until it is done, as often as it takes.

Starting and resuming are the same thing: `create_stage` (`stage_folder.py`) writes all that defines
the stage, config.json last; `run_stage` goes on from the newest checkpoint, or from step 0.
"""

import contextlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console

from vsalt.config import PretrainConfig, to_dict
from vsalt.data.activity import hard_limit_s
from vsalt.data.catalogue import Catalogue
from vsalt.errors import ConfigError, RunFolderError
from vsalt.targets.cached import CachedTeacher
from vsalt.training import environment, run_folder
from vsalt.training.config import Sharding
from vsalt.training.data import StageData, leave_out_unreadable
from vsalt.training.device import choose_device, choose_precision, set_up
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.division import divide_stage
from vsalt.training.loop import Trainer
from vsalt.training.place import choose_sharding
from vsalt.training.progress import Progress
from vsalt.training.stage_folder import StageRecord, is_done, read_stage
from vsalt.training.stage_trainer import build_trainer
from vsalt.training.stop import InterruptedRunError, StopFlag, in_stage
from vsalt.training.target_cache import StoredLatents, open_again
from vsalt.training.teachers import ReadOutside, TeacherNetwork, load_teacher
from vsalt.training.tracking import tracking
from vsalt.training.validation import validate


def run_stage(
    run: Path,
    catalogue: Catalogue | None,
    console: Console,
    title: str | None,
    read_outside: ReadOutside | None = None,
    ranks: Ranks = ALONE,
    sharding: Sharding | None = None,
) -> None:
    """Train a stage from its newest checkpoint to its last step; the caller holds the folder.

    Args:
        run: the stage's folder, written by `create_stage`.
        catalogue: its rows, if they have been read already.
        console: where progress goes.
        title: name of the stage; None: its method's.
        read_outside: reads a teacher from outside, if the stage has one.
        ranks: the processes of the run, all of which call this.
        sharding: this time, in the place of the configuration's.

    Raises:
        RunFolderError: if the folder does not belong together, or cannot be written.
        ConfigError: if its batches do not divide among the processes.
        NonFiniteError: see `Trainer.run`.
        InterruptedRunError: see `Trainer.run`.
    """
    record = read_stage(run)
    config = record.config
    title = title or config.stage.method.name
    check_processes(config, ranks)
    stop = StopFlag()
    with stop.listen():
        device = choose_device(config.device.device)
        threads = set_up(config.device, device)
        precision = choose_precision(config.device, device)
        limit_s = hard_limit_s(config.data.limits)
        if ranks.several and limit_s >= config.device.timeout_s:
            console.print(
                f"a file that hangs is given up after {limit_s:g} s (twice "
                "--data.limits.timeout-s, and 5), and the other processes wait "
                f"{config.device.timeout_s} s for a step (--device.timeout-s), so it may end the "
                "run",
                style="yellow",
            )
        catalogue = catalogue or Catalogue.load(config.data, seed=config.seed)
        _check_manifest(run, record, catalogue)
        sharding = choose_sharding(config.device, ranks, sharding)
        entry = environment.describe(
            device, precision, threads, catalogue.manifest_hash, ranks.size, sharding
        )

        def note() -> list[str]:
            return [] if is_done(run, config) else environment.record(run, entry)

        for difference in ranks.first(note) or []:
            console.print(f"not bit-equal to an undisturbed run: {difference}", style="yellow")
        sha256 = record.teacher_sha256
        cache = open_again(record.targets) if record.targets else None
        teacher: TeacherNetwork | CachedTeacher | None = None
        if cache is not None:
            teacher = cache.teacher()
        elif sha256 is not None:
            teacher = load_teacher(run, config.stage, read_outside, sha256=sha256)

        def say(text: str) -> None:
            console.print(f"{title}: {text}", style="yellow")

        trainer = build_trainer(
            run, record, catalogue, teacher, device, precision, ranks, sharding, say
        )
        if trainer.saved_step == config.stage.loop.end:
            console.print(f"{title}: all {trainer.done.step} steps were done before")
            for log in trainer.logs:
                log.close()
        else:
            if trainer.done.step:
                console.print(f"{title}: goes on after step {trainer.done.step}")
            if config.device.compile:
                console.print("networks are compiled in the first step, for some minutes")
            latents = cache.latents(catalogue) if cache else None
            _train(trainer, config, catalogue, stop, console, title, latents)
        signal = next((number for number in ranks.gather(stop.number) if number), None)
        if signal is not None:
            raise ranks.agreed(
                InterruptedRunError(signal, f"stopped{in_stage(title)} after the last step; saved")
            )


def check_processes(config: PretrainConfig, ranks: Ranks) -> None:
    """Refuse a stage that cannot be run by so many processes.

    Raises:
        ConfigError: its batches do not divide, or each process would keep all frames in memory.
    """
    try:
        divide_stage(config.stage, ranks.size, config.data.repeats)
        if ranks.several and config.data.cache == "ram":
            raise ConfigError(
                [
                    "--data.cache ram is for a run of one process, and each of "
                    f"{ranks.size} would keep all frames; give --data.cache disk, which the "
                    "processes of a node share, or none"
                ]
            )
    except ConfigError as error:
        raise ranks.agreed(error) from None


def _train(
    trainer: Trainer,
    config: PretrainConfig,
    catalogue: Catalogue,
    stop: StopFlag,
    console: Console,
    title: str,
    latents: StoredLatents | None = None,
) -> None:
    loop = config.stage.loop
    progress = Progress(
        console,
        title=title,
        first_step=trainer.done.step,
        num_steps=loop.end,
        batch_size=loop.batch_size,
    )
    pin_memory, ranks = trainer.device == "cuda", trainer.ranks
    data = StageData(config, catalogue, pin_memory=pin_memory, latents=latents, ranks=ranks)
    with contextlib.ExitStack() as logs:
        for log in trainer.logs:
            logs.enter_context(contextlib.closing(log))
        if ranks.leads:
            logs.enter_context(_tracking(trainer, config, progress))
        holdout = data.holdout()
        for clips in holdout.values():
            logs.enter_context(clips)
            resumed = trainer.done.step > 0
            leave_out_unreadable(clips, trainer.quarantine, console, resumed=resumed, ranks=ranks)
        if holdout:
            trainer.validate = lambda: validate(
                trainer.objective,
                holdout,
                trainer.device,
                trainer.precision,
                loss=trainer.joint.loss if trainer.joint else None,
                ranks=ranks,
            )
        verdicts = trainer.quarantine.verdicts()
        with progress.shown(), data.batches(trainer.done.step, verdicts) as batches:
            trainer.run(batches, stop, progress)
    if ranks.leads:
        _sum_up(trainer, config.data.cache if data.cache_lacks_room else None, progress)


def _tracking(
    trainer: Trainer, config: PretrainConfig, progress: Progress
) -> AbstractContextManager[None]:
    run = trainer.metrics.path.parent
    logs = {"": trainer.metrics, "timing": trainer.timings, "warning": trainer.health.alarms.log}
    step = trainer.done.step
    return tracking(run, logs, to_dict(config), done_step=step, say=progress.note)


def _sum_up(trainer: Trainer, full_cache: str | None, progress: Progress) -> None:
    """Say what has gone wrong without ending the run."""
    if full_cache is not None:
        progress.note(
            f"--data.cache {full_cache} had no room for all frames; clips of the other "
            "files were decoded every time"
        )
    if trainer.done.bad_reads:
        progress.note(
            f"{trainer.done.bad_reads} of {trainer.done.reads} clips could not be read and were "
            f"replaced; {run_folder.QUARANTINE} in the run folder names the files"
        )
    alarms = trainer.health.alarms
    warned = describe_warnings(alarms.log.path, alarms.memory.active)
    if warned is not None:
        progress.note(warned)


def describe_warnings(log: Path, active: Sequence[str]) -> str | None:
    """Say in one line what a stage's warnings have come to; None if there were none.

    Args:
        log: its warnings.jsonl.
        active: kinds that have not recovered.
    """
    warnings = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    if not warnings:
        return None
    # A kind is written when it begins, so its last line says since when it has been active.
    last = {warning["kind"]: warning["step"] for warning in warnings}
    still = ", ".join(f"{kind} (since step {last[kind]})" for kind in active)
    count = f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''} in {log.name}"
    return f"{count}; " + (f"still active: {still}" if still else "none is active any more")


def _check_manifest(run: Path, record: StageRecord, catalogue: Catalogue) -> None:
    if catalogue.manifest_hash != record.manifest_sha256:
        raise RunFolderError(
            f"the data of {run} has changed since it began (rows, labels, splits or files); "
            "put it back to resume, or begin a new run with another --out"
        )
