"""The trainer of a stage as its folder says it, at its newest checkpoint or at step 0."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path

from vsalt import durable
from vsalt.config import PretrainConfig, from_dict, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.data.quarantine import Quarantine, ReadCounts
from vsalt.errors import RunFolderError
from vsalt.targets.cached import CachedTeacher
from vsalt.training import run_folder
from vsalt.training.alarms import Alarms, Memory
from vsalt.training.build import build_objective
from vsalt.training.checkpoint import (
    META,
    Checkpoint,
    CheckpointFolder,
    restore_optimiser,
    restore_weights,
)
from vsalt.training.config import Sharding
from vsalt.training.device import saves_in_background
from vsalt.training.distributed import Ranks
from vsalt.training.division import divide_stage
from vsalt.training.health import Health
from vsalt.training.loop import Progressed, Trainer
from vsalt.training.optim import build_optimiser
from vsalt.training.place import place
from vsalt.training.plan import clip_shapes
from vsalt.training.saver import Saver
from vsalt.training.stage_folder import StageRecord, differences
from vsalt.training.teachers import TeacherNetwork, teacher_flops


def build_trainer(
    run: Path,
    record: StageRecord,
    catalogue: Catalogue,
    teacher: TeacherNetwork | CachedTeacher | None,
    device: str,
    precision: str,
    ranks: Ranks,
    sharding: Sharding,
    say: Callable[[str], None],
) -> Trainer:
    """Build a stage's networks, optimiser and logs, and restore them from its newest checkpoint.

    Checkpoints that were not finished are removed, and so is what logs and quarantine say of later
    steps. All processes of the run call this.

    Args:
        run: the stage's folder.
        record: its config.json.
        catalogue: its rows.
        teacher: the frozen one, if the method has one.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        ranks: the processes of the run.
        sharding: of several: whether each holds the trained networks or a part of them.
        say: told what the user should know of the checkpoints.

    Raises:
        RunFolderError: if the checkpoint is of another configuration, or cannot be read.
    """
    config, stage = record.config, record.config.stage
    objective = build_objective(config, teacher)
    checkpoints = CheckpointFolder(run, stage.loop.keep_last)
    latest = ranks.lead(lambda: checkpoints.clean(say))
    done, memory = Progressed(), Memory()
    if latest is not None:
        _check_same_config(latest, config)
        restore_weights(latest, objective)
        done = Progressed(**{item.name: latest.meta[item.name] for item in fields(Progressed)})
        memory = Memory.from_dict(latest.meta.get("health"), str(latest.path / META))

    # Sharding replaces the weights by their parts, which the optimiser must be built over.
    num_parts = divide_stage(stage, ranks.size).num_parts
    joint = place(objective, config.device, sharding, ranks, device, num_parts)
    optimiser = build_optimiser(objective.param_groups(), stage.optim)
    if latest is not None:
        restore_optimiser(latest, objective, optimiser, ranks)

    def open_quarantine() -> Quarantine:
        quarantine = Quarantine(
            run / run_folder.QUARANTINE,
            max_bad_share=config.data.max_bad_share,
            counts=ReadCounts(done.reads, done.bad_reads),
            writes=ranks.leads,
        )
        with durable.explain_write_errors(str(run / run_folder.QUARANTINE)):
            quarantine.cut(done.step)
        return quarantine

    # The others read what the leader has cut.
    quarantine = ranks.first(open_quarantine) or open_quarantine()
    log_type = run_folder.JsonLines if ranks.leads else run_folder.NoLog

    def open_log(name: str) -> run_folder.JsonLines:
        return log_type(run / name, keep_to_step=done.step)

    def describe_rows(rows: Iterable[int]) -> list[str]:
        return [str(catalogue.rows[row].media) for row in rows]

    alarms = Alarms(open_log(run_folder.WARNINGS), describe_rows, stage.optim, memory)
    return Trainer(
        objective=objective,
        optimiser=optimiser,
        optim=stage.optim,
        loop=stage.loop,
        shapes=catalogue.shapes,
        clip_flops={
            shape: objective.flops(clip_shapes(config, shape)) for shape in catalogue.shapes.shapes
        },
        device=device,
        precision=precision,
        saver=Saver(
            checkpoints,
            ranks,
            sharded=joint is not None and joint.sharded,
            background=saves_in_background(stage.loop, device),
        ),
        metrics=open_log(run_folder.METRICS),
        timings=open_log(run_folder.TIMINGS),
        quarantine=quarantine,
        health=Health(stage.loop, alarms, catalogue.shapes),
        validate=None,
        describe_rows=describe_rows,
        meta={
            "config": to_dict(config),
            "manifest_sha256": record.manifest_sha256,
            **teacher_flops(run, record.targets),
        },
        done=done,
        saved_step=latest.step if latest else None,
        ranks=ranks,
        joint=joint,
    )


def _check_same_config(checkpoint: Checkpoint, config: PretrainConfig) -> None:
    # Read and written again, so that settings which an earlier version lacked have their defaults.
    begun = to_dict(from_dict(PretrainConfig, checkpoint.meta["config"]))
    differing = differences(begun, to_dict(config))
    if differing:
        raise RunFolderError(
            f"checkpoint {checkpoint.path} was written with another configuration:\n"
            + "\n".join(f"  {line}" for line in differing)
            + "\nA run's configuration cannot change; begin a new one with another --out"
        )
