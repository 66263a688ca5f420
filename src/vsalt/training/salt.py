"""All stages of SALT as one resumable job.

RUN/config.json   the resolved configuration of all stages
RUN/teacher/      the first stage, a run folder of its own
RUN/assistant/    likewise, of runs with three stages; it holds a copy of the frozen teacher
RUN/student/      likewise; it holds a copy of the stage before it, which is its frozen teacher
"""

import contextlib
from functools import partial
from pathlib import Path

from rich.console import Console

from vsalt import durable
from vsalt.config import STAGES, PretrainConfig, SaltRunConfig, from_dict, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.errors import RunFolderError
from vsalt.training import run_folder
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.config import Sharding
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.locate import LoadedEncoder, load_encoder
from vsalt.training.stage import run_stage
from vsalt.training.stage_folder import create_stage, differences, is_done, read_stage
from vsalt.training.teachers import remove_kept

KIND = "salt"


def create_salt(run: Path, config: SaltRunConfig) -> None:
    """Write a job's config.json into its folder; `config` must be resolved.

    What an interrupted start of one stage has left there is removed.
    """
    durable.create_folder(run)
    with durable.explain_write_errors(f"to {run}"):
        # It would be taken for the encoder of the first stage, whose folder has the same name.
        remove_kept(run)
    run_folder.write_config(run, KIND, to_dict(config))


def read_salt(run: Path) -> SaltRunConfig:
    """Read a job's config.json strictly."""
    record = durable.read_json(run / run_folder.CONFIG)
    if record.get("kind") != KIND:
        raise RunFolderError(f"{run} is not the run folder of `vsalt salt`")
    return from_dict(SaltRunConfig, record["config"])


def run_salt(
    run: Path,
    console: Console,
    catalogue: Catalogue | None = None,
    ranks: Ranks = ALONE,
    sharding: Sharding | None = None,
) -> None:
    """Run what is left of all stages, each after the one before it; the caller holds the folder.

    Args:
        run: the job's folder, written by `create_salt`.
        console: where progress goes.
        catalogue: the rows, if they have been read already.
        ranks: the processes of the run, all of which call this.
        sharding: as of `run_stage`.
    """
    config = read_salt(run)
    rows = catalogue or Catalogue.load(config.data, seed=config.seed)
    ranks.first(lambda: _check_stages(run, config))
    before: Path | None = None
    for name in config.stages:
        folder, stage = run / name, config.stage(name)
        prepare = partial(_prepare, folder, stage, rows, before)
        # The last stage is always run, so that a finished job says that it is done.
        if not ranks.lead(prepare) or name == config.stages[-1]:
            with contextlib.ExitStack() as held:
                ranks.first(partial(held.enter_context, durable.hold(folder)))
                run_stage(folder, rows, console, name, ranks=ranks, sharding=sharding)
        before = folder


def _prepare(
    folder: Path, stage: PretrainConfig, catalogue: Catalogue, before: Path | None
) -> bool:
    """Create a stage if it has not been, and return whether it is done."""
    if not (folder / run_folder.CONFIG).exists():
        create_stage(folder, stage, catalogue, _hand_over(before) if before else None)
    return is_done(folder, stage)


def _hand_over(stage: Path) -> LoadedEncoder:
    """Return the encoder that a finished stage leaves to the next: that of its last step."""
    last = CheckpointFolder(stage, keep_last=1).latest()
    assert last is not None, "a finished stage has a checkpoint"
    return load_encoder(last.path)


def _check_stages(run: Path, config: SaltRunConfig) -> None:
    """Refuse stages that were begun with another configuration than the job's."""
    names = tuple(name for name in STAGES if (run / name / run_folder.CONFIG).exists())
    if names != config.stages[: len(names)]:
        raise RunFolderError(
            f"{run / run_folder.CONFIG} has the stages {', '.join(config.stages)}, but {run} holds "
            f"{', '.join(names)}; put back what is missing, or begin a new run with another --out"
        )
    for name in names:
        begun = to_dict(read_stage(run / name).config)
        changed = differences(begun, to_dict(config.stage(name)))
        if changed:
            raise RunFolderError(
                f"{run / run_folder.CONFIG} has changed since the {name} began:\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nPut it back, or begin a new run with another --out"
            )
