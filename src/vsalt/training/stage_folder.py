"""The folder of a stage: written once, before its first step; `run_stage` trains what it says."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.config import PretrainConfig, from_dict, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.errors import RunFolderError
from vsalt.training import run_folder
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.target_cache import TargetCache
from vsalt.training.teachers import Teacher, copy_teacher, keep_teacher, origin_of_kept, remove_kept

KIND = "stage"


@dataclass(frozen=True)
class StageRecord:
    """What config.json of a stage says."""

    config: PretrainConfig
    manifest_sha256: str
    teacher_sha256: str | None
    targets: dict[str, Any] | None = None


def create_stage(
    run: Path,
    config: PretrainConfig,
    catalogue: Catalogue,
    teacher: Teacher | None,
    targets: TargetCache | None = None,
) -> None:
    """Write a stage's folder: the rows it may see, its teacher, and its configuration last.

    Args:
        run: the folder; what an interrupted creation left in it is replaced.
        config: resolved configuration.
        catalogue: the rows of its sources.
        teacher: the frozen teacher of a salt stage; copied into the folder.
        targets: in its place what it says of all clips; the teacher beside them is copied.

    Raises:
        RunFolderError: if it cannot be written, or other files lie where the teacher belongs.
    """
    durable.create_folder(run)
    with durable.explain_write_errors(f"to {run}"):
        # Also without a teacher: FLOPs and seen rows would be taken from one that was left there.
        remove_kept(run)
        if os.path.lexists(run / run_folder.TEACHER):
            raise RunFolderError(
                f"{run / run_folder.TEACHER} is where this stage would keep its teacher, and holds "
                "other files; choose another --out"
            )
        if teacher is not None:
            keep_teacher(teacher, run / run_folder.TEACHER)
        elif targets is not None:
            copy_teacher(targets.folder / run_folder.TEACHER, run / run_folder.TEACHER)
        seen = [json.dumps(row._asdict()) + "\n" for row in catalogue.seen_rows()]
        durable.write_file(run / run_folder.SEEN, "".join(seen))
        run_folder.write_config(
            run,
            KIND,
            to_dict(config),
            data={
                "manifest_sha256": catalogue.manifest_hash,
                "rows_per_split": catalogue.rows_per_split,
                "used_per_split": catalogue.used_per_split,
                "num_train": catalogue.num_train,
                "num_holdout": len(catalogue.holdout),
            },
            teacher_sha256=(
                targets.teacher_sha256 if targets else teacher.sha256 if teacher else None
            ),
            teacher_outside=origin_of_kept(run),
            targets=targets.record() if targets else None,
        )


def read_stage(run: Path) -> StageRecord:
    """Read a stage's config.json strictly.

    Raises:
        RunFolderError: if it is not that of a stage.
        ConfigError: if a setting is unknown or not allowed.
    """
    record = durable.read_json(run / run_folder.CONFIG)
    if record.get("kind") != KIND:
        raise RunFolderError(f"{run} is not the run folder of a stage")
    return StageRecord(
        config=from_dict(PretrainConfig, record["config"]),
        manifest_sha256=record["data"]["manifest_sha256"],
        teacher_sha256=record["teacher_sha256"],
        targets=record.get("targets"),
    )


def is_done(run: Path, config: PretrainConfig) -> bool:
    """Whether a stage's newest checkpoint is of its last step."""
    latest = CheckpointFolder(run, keep_last=1).latest()
    return latest is not None and latest.step == config.stage.loop.end


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return a line for each setting in which two configurations, as plain values, differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in sorted(old.keys() | new.keys()):
            lines += differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        return lines
    return [] if old == new else [f"{path}: {old!r} there, {new!r} in config.json"]
