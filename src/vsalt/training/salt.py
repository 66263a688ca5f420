"""Both stages of SALT as one resumable job.

RUN/config.json   the resolved configuration of both stages
RUN/teacher/      stage 1, a run folder of its own
RUN/student/      stage 2, likewise; it holds a copy of the frozen teacher
"""

from pathlib import Path

from rich.console import Console

from vsalt import __version__
from vsalt.config import SaltRunConfig, StageName, from_dict, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.errors import RunFolderError
from vsalt.training import run_folder
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.locate import load_encoder
from vsalt.training.stage import create_stage, differences, read_stage, run_stage, steps_done

KIND = "salt"
TEACHER: StageName = "teacher"
STUDENT: StageName = "student"


def create_salt(run: Path, config: SaltRunConfig) -> None:
    """Write a job's config.json into its folder; `config` must be resolved."""
    run_folder.create_folder(run)
    run_folder.write_json(
        run / run_folder.CONFIG,
        {"kind": KIND, "vsalt": __version__, "config": to_dict(config)},
    )


def read_salt(run: Path) -> SaltRunConfig:
    """Read a job's config.json strictly."""
    record = run_folder.read_json(run / run_folder.CONFIG)
    if record.get("kind") != KIND:
        raise RunFolderError(f"{run} is not the run folder of `vsalt salt`")
    return from_dict(SaltRunConfig, record["config"])


def run_salt(run: Path, console: Console, catalogue: Catalogue | None = None) -> None:
    """Run what is left of both stages; the caller holds the folder.

    Args:
        run: the job's folder, written by `create_salt`.
        console: where progress goes.
        catalogue: the rows, if they have been read already.
    """
    config = read_salt(run)
    catalogue = catalogue or Catalogue.load(config.data, seed=config.seed)
    teacher, student = run / TEACHER, run / STUDENT
    _check_stages(run, config)
    if not (teacher / run_folder.CONFIG).exists():
        create_stage(teacher, config.stage("teacher"), catalogue, teacher=None)
    if steps_done(teacher) < config.teacher.loop.steps:
        with run_folder.hold(teacher):
            run_stage(teacher, catalogue, console, "teacher")
    if not (student / run_folder.CONFIG).exists():
        last = CheckpointFolder(teacher, keep_last=1).latest()
        assert last is not None, "a finished stage has a checkpoint"
        create_stage(student, config.stage("student"), catalogue, load_encoder(last.path))
    with run_folder.hold(student):
        run_stage(student, catalogue, console, "student")


def _check_stages(run: Path, config: SaltRunConfig) -> None:
    """Refuse stages that were begun with another configuration than the job's."""
    for name in (TEACHER, STUDENT):
        if not (run / name / run_folder.CONFIG).exists():
            continue
        begun = to_dict(read_stage(run / name).config)
        changed = differences(begun, to_dict(config.stage(name)))
        if changed:
            raise RunFolderError(
                f"{run / run_folder.CONFIG} has changed since the {name} began:\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nPut it back, or begin a new run with another --out"
            )
