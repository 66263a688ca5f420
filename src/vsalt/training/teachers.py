"""The frozen teacher of a run: an encoder of ours, or one from outside; kept in the run's folder.

RUN/teacher/
  model.safetensors  of an encoder of ours: its weights
  transformers/      of a teacher from outside: all its files, as its own library writes them
  meta.json          as of a checkpoint; of a teacher from outside what is not known is null
  seen.jsonl         the rows that it may have seen; of a teacher from outside there is none
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from vsalt import __version__, durable
from vsalt.config import StageConfig, to_dict
from vsalt.errors import ConfigError, RunFolderError
from vsalt.models.config import EncoderConfig
from vsalt.models.vit import Encoder
from vsalt.models.weights import save_weights, weights_hash
from vsalt.objectives.config import METHODS, ImportedConfig
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.outside import OutsideTeacher
from vsalt.training import run_folder
from vsalt.training.checkpoint import META, MODEL, UNKNOWN
from vsalt.training.file_hashes import changed_files, file_hashes
from vsalt.training.locate import OUTSIDE, LoadedEncoder, load_encoder

OUTSIDE_PREFIX = "hf:"
"""What --teacher begins with for a teacher from outside."""

_KEPT = (MODEL, META, run_folder.SEEN, OUTSIDE)
_ABOUT_FILES = ("sha256", "files", "vsalt")
"""What meta.json says of a teacher from outside beside its origin."""

Teacher: TypeAlias = LoadedEncoder | OutsideTeacher
TeacherNetwork: TypeAlias = Encoder | OutsideTeacher
TeacherShape: TypeAlias = EncoderConfig | OutsideTeacher | CachedTeacher
"""What the cost of a teacher follows from."""
ReadOutside: TypeAlias = Callable[[str, StageConfig], OutsideTeacher]
"""Reads a teacher from outside for a student: a folder or a name, and the student's stage."""


def open_teacher(
    given: str | Path, stage: StageConfig, read_outside: ReadOutside | None
) -> Teacher:
    """Load the teacher that is named for a stage.

    Args:
        given: a path as `load_encoder` takes it, or hf:PATH.
        stage: the student's.
        read_outside: reads what follows hf:.

    Raises:
        WeightsError: if there is no encoder at the path.
        InteropError: if the teacher from outside cannot be read or used.
        ConfigError: if there is nothing that reads it.
    """
    name = str(given)
    if name.startswith(f"{OUTSIDE_PREFIX}~"):
        # After a colon no shell expands it.
        name = OUTSIDE_PREFIX + str(Path(name.removeprefix(OUTSIDE_PREFIX)).expanduser())
    if not name.startswith(OUTSIDE_PREFIX):
        return load_encoder(Path(given))
    if read_outside is None:
        raise ConfigError([f"the teacher is {name}, so read_outside is needed: it reads that"])
    return read_outside(name.removeprefix(OUTSIDE_PREFIX), stage)


def shape_of(teacher: Teacher | None) -> TeacherShape | None:
    """Return what the cost of a teacher follows from."""
    return teacher.config.stage.encoder if isinstance(teacher, LoadedEncoder) else teacher


def network_of(shape: TeacherShape | None) -> TeacherNetwork | CachedTeacher | None:
    """Return a network of that cost; of an encoder of ours a new one, with random weights."""
    return Encoder(shape) if isinstance(shape, EncoderConfig) else shape


def keep_teacher(teacher: Teacher, folder: Path) -> None:
    """Write a teacher into its run's folder, in the place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if isinstance(teacher, OutsideTeacher):
        (folder / OUTSIDE).mkdir()
        teacher.save(folder / OUTSIDE)
        files = file_hashes((folder / OUTSIDE).iterdir())
        durable.write_json(folder / META, _outside_meta(teacher, files))
    else:
        _keep_encoder(teacher, folder)
    durable.sync_tree(folder)


def remove_kept(run: Path) -> None:
    """Remove the teacher that an interrupted start has kept in a run's folder, if there is one.

    A folder of that name that holds anything else, such as a run of its own, is left alone.
    """
    folder = run / run_folder.TEACHER
    if not folder.is_dir() or folder.is_symlink():
        return
    kept = {*_KEPT, *(durable.temporary_name(folder / name).name for name in _KEPT)}
    if kept.issuperset(path.name for path in folder.iterdir()):
        shutil.rmtree(folder)


def copy_teacher(kept: Path, folder: Path) -> None:
    """Copy a teacher that is kept elsewhere into its run's folder, which has none.

    Raises:
        RunFolderError: if there is none.
    """
    if not (kept / META).is_file():
        raise RunFolderError(f"{kept} holds no teacher; write the cache of targets anew")
    shutil.copytree(kept, folder)
    durable.sync_tree(folder)


def load_teacher(
    run: Path, stage: StageConfig, read_outside: ReadOutside | None, *, sha256: str | None = None
) -> TeacherNetwork:
    """Load the teacher that a run keeps.

    Args:
        run: a stage's folder.
        stage: the student's.
        read_outside: reads a teacher from outside.
        sha256: of the teacher that the run began with; None: any is taken.

    Raises:
        RunFolderError: if the teacher is another one, or there is nothing that reads it.
        VsaltError: if it cannot be read.
    """
    folder = run / run_folder.TEACHER
    if not (folder / OUTSIDE).is_dir():
        loaded = load_encoder(folder)
        network: TeacherNetwork = loaded.encoder
        found = loaded.sha256
    elif read_outside is None:
        raise RunFolderError(
            f"the teacher of {run} comes from outside, so read_outside is needed: it reads "
            f"{folder / OUTSIDE}"
        )
    else:
        _check_files(folder)
        network = outside = read_outside(str(folder / OUTSIDE), stage)
        found = outside.sha256
    if sha256 not in (None, found):
        raise RunFolderError(
            f"the teacher in {folder} is not the one that this run began with; "
            "begin a new run with another --out"
        )
    return network


def origin_of_kept(run: Path) -> dict[str, Any] | None:
    """Return what `OutsideTeacher.origin` says of the teacher that a run keeps.

    None if it has no teacher, or one of ours.
    """
    path = run / run_folder.TEACHER / META
    outside = durable.read_json(path).get("outside") if path.exists() else None
    if outside is None:
        return None
    return {name: value for name, value in outside.items() if name not in _ABOUT_FILES}


def teacher_flops(
    run: Path, cached: Mapping[str, Any] | None = None
) -> dict[str, int | float | None]:
    """Return what the training of the frozen teacher took, with that of its own teachers.

    0 without a teacher; null where a checkpoint does not tell: of an earlier version, imported, or
    from outside.

    Args:
        run: a stage's folder.
        cached: of a teacher whose latents are cached, `flops_exact` and `flops_six_nd` of its
            passes over all cached views; they are added, as no step of the run has them.
    """
    keys = {f"teacher_{name}": name for name in ("flops_exact", "flops_six_nd")}
    path = run / run_folder.TEACHER / META
    if not path.exists():
        return dict.fromkeys(keys, 0)
    meta = durable.read_json(path)
    method = METHODS.get(meta["config"]["stage"]["method"]["name"])
    needed_one = method is None or method.needs_teacher
    cached = cached or {}
    spent: dict[str, int | float | None] = {}
    for key, name in keys.items():
        before = meta.get(key, None if needed_one else 0)
        spent[key] = None if before is None else meta[name] + before + cached.get(name, 0)
    return spent


def _keep_encoder(teacher: LoadedEncoder, folder: Path) -> None:
    """Write a teacher's kept encoder, its meta.json and the rows it may have seen."""
    state = teacher.encoder.state_dict()
    prefix = teacher.config.stage.method.kept_weights
    tensors = {f"{prefix}.{name}": tensor for name, tensor in state.items()}
    save_weights(folder / MODEL, tensors)
    meta = {**teacher.checkpoint.meta, "weights_sha256": weights_hash(tensors)}
    durable.write_json(folder / META, meta)
    seen = "".join(path.read_text(encoding="utf-8") for path in teacher.seen)
    if teacher.seen:
        durable.write_file(folder / run_folder.SEEN, seen)


def _check_files(folder: Path) -> None:
    """Refuse a kept teacher from outside of which a file has changed: settings count, too."""
    kept = durable.read_json(folder / META)["outside"]["files"]
    changed = changed_files(kept, file_hashes((folder / OUTSIDE).iterdir()))
    if changed:
        raise RunFolderError(
            f"{', '.join(changed)} in {folder / OUTSIDE} changed since the run began, so the "
            "teacher is not the one that it began with; put it back, or begin a new run with "
            "another --out"
        )


def _outside_meta(teacher: OutsideTeacher, files: dict[str, str]) -> dict[str, Any]:
    about_files = dict(zip(_ABOUT_FILES, (teacher.sha256, files, __version__), strict=True))
    return {
        "outside": {**teacher.origin(), **about_files},
        "config": {"stage": {"method": to_dict(ImportedConfig())}},
        **dict.fromkeys(UNKNOWN),
    }
