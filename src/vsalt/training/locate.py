"""Find and load the encoder that a path means: a run, a stage's run, a checkpoint, an import."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vsalt import durable
from vsalt.config import STAGES, PretrainConfig, from_dict
from vsalt.errors import WeightsError
from vsalt.models.vit import Encoder
from vsalt.models.weights import load_strictly, part_of, weights_hash
from vsalt.objectives.config import METHODS
from vsalt.training import run_folder
from vsalt.training.checkpoint import META, MODEL, Checkpoint, read_checkpoint, read_verified
from vsalt.training.encoder_names import STAGE_OF_METHOD

OUTSIDE = "transformers"
"""Folder beside the meta.json of a teacher from outside."""
MAX_CANDIDATES = 20
MAX_FOLDERS = 2000
"""How many folders are looked into for encoders to suggest."""


@dataclass(frozen=True)
class LoadedEncoder:
    """An encoder in eval mode, and all that is needed to use it right.

    Attributes:
        encoder: the network, on the CPU.
        config: the configuration of the stage that trained it (clip, normalisation, data). Of
            imported weights its clip, encoder and predictor alone say something.
        checkpoint: where it came from.
        sha256: hash of the encoder's weights (`weights_hash`).
        seen: files that list the rows which pretraining may have drawn, the teacher's included;
            empty if they are not known: the checkpoint was moved out of its run, or it or its
            teacher was imported.
    """

    encoder: Encoder
    config: PretrainConfig
    checkpoint: Checkpoint
    sha256: str
    seen: tuple[Path, ...]


def load_encoder(path: Path) -> LoadedEncoder:
    """Load the encoder that a path means.

    A salt run means its student, RUN/teacher and RUN/assistant its other stages; a stage's run
    means its best checkpoint by val_loss, or the latest if nothing was held out or the method's
    loss does not tell which is better; a checkpoint (or the pointers `latest` and `best`) means
    itself, and so does what `vsalt import` wrote. Of two encoders in a checkpoint it is the one
    that the method keeps.

    Raises:
        WeightsError: if there is no encoder at the path, with what was found near it.
    """
    checkpoint = find_checkpoint(Path(path))
    config = from_dict(PretrainConfig, checkpoint.meta["config"])
    tensors = part_of(read_verified(checkpoint), config.stage.method.kept_weights)
    encoder = Encoder(config.stage.encoder)
    load_strictly(encoder, tensors, str(checkpoint.path))
    return LoadedEncoder(
        encoder=encoder.eval(),
        config=config,
        checkpoint=checkpoint,
        sha256=weights_hash(tensors),
        seen=_seen_files(checkpoint.path),
    )


def find_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint that a path means (see `load_encoder`)."""
    if path.name == MODEL:
        path = path.parent
    if (path / OUTSIDE).is_dir():
        raise WeightsError(
            f"the teacher in {path} comes from outside; vsalt takes its tokens as targets and has "
            f"no encoder of it. {path / OUTSIDE} is what transformers loads"
        )
    if path.is_file() and path.name in (run_folder.BEST, run_folder.LATEST):
        return read_checkpoint(path)
    if (path / META).is_file():
        return read_checkpoint(path)
    for folder in (path / "student", path):
        chosen = _of_stage(folder / run_folder.CHECKPOINTS)
        if chosen is not None:
            return chosen
        if folder != path and folder.exists():
            raise WeightsError(_unfinished(path))
    raise WeightsError(_not_found(path))


def _of_stage(checkpoints: Path) -> Checkpoint | None:
    """Return the checkpoint that a stage means; None if there is none yet."""
    for pointer in (run_folder.BEST, run_folder.LATEST):
        if (checkpoints / pointer).is_file():
            found = read_checkpoint(checkpoints / pointer)
            method = METHODS.get(found.meta["config"]["stage"]["method"]["name"])
            if pointer == run_folder.LATEST or method is None or method.loss_selects:
                return found
    return None


def stage_of(checkpoint: Checkpoint) -> str:
    """Return what the encoder of a checkpoint is: teacher, assistant, student, or imported.

    In a salt run its folder says so, and the copy inside of a student is that student's teacher.
    A run of `vsalt pretrain`, or a checkpoint elsewhere, is what its method trains in a salt run;
    of any other method the method's name.
    """
    path = Path(os.path.abspath(checkpoint.path))
    run = path.parent.parent
    if (
        path.parent.name == run_folder.CHECKPOINTS
        and run.name in STAGES
        and _kind(run.parent) == "salt"
    ):
        return run.name
    if path.name == run_folder.TEACHER and _kind(path.parent) == "stage":
        return run_folder.TEACHER
    method = str(checkpoint.meta["config"]["stage"]["method"]["name"])
    return STAGE_OF_METHOD.get(method, method)


def _kind(folder: Path) -> object:
    """What a run's config.json says it is; None where there is no run."""
    path = folder / run_folder.CONFIG
    return durable.read_json(path).get("kind") if path.is_file() else None


def _unfinished(path: Path) -> str:
    before = path / ("assistant" if (path / "assistant").exists() else run_folder.TEACHER)
    return (
        f"the student of {path} has no checkpoint yet; `vsalt resume {path}` goes on. "
        f"Its teacher can be used as --encoder {before}"
    )


def _not_found(path: Path) -> str:
    if (path / run_folder.CONFIG).is_file():
        if "model_type" in durable.read_json(path / run_folder.CONFIG):
            return (
                f"{path} is a model of transformers: as a teacher it is named hf:{path}; weights "
                "of V-JEPA 2 can be imported (`vsalt import`)"
            )
        return f"{path} has no checkpoint yet; `vsalt resume {path}` goes on with it"
    if not path.exists():
        return f"there is no encoder at {path}: it does not exist{_candidates(path.parent)}"
    return f"there is no encoder at {path}{_candidates(path)}"


def _candidates(folder: Path) -> str:
    found = list(itertools.islice(_encoders_below(folder), MAX_CANDIDATES))
    if not found:
        return (
            ". --encoder takes the folder of a `vsalt salt` or `vsalt pretrain` run, "
            "one of its checkpoints, or what `vsalt import` wrote"
        )
    return ". There are encoders at:" + "".join(f"\n  {name}" for name in found)


def _encoders_below(folder: Path) -> Iterator[str]:
    """Yield runs and checkpoints, looking into a limited number of folders."""
    walk = os.walk(folder)
    # A stage has checkpoints; the stage that every salt run begins with is called teacher.
    marks = {run_folder.CHECKPOINTS, run_folder.TEACHER}
    for parent, subfolders, names in itertools.islice(walk, MAX_FOLDERS):
        depth = len(Path(parent).relative_to(folder).parts)
        is_run = run_folder.CONFIG in names and marks & {*subfolders}
        if depth and (is_run or META in names) and OUTSIDE not in subfolders:
            yield parent
        # A checkpoint lies four below the folder of a salt run.
        subfolders[:] = sorted(subfolders) if depth < 5 else []


def _seen_files(checkpoint: Path) -> tuple[Path, ...]:
    """The lists of rows beside a checkpoint of a run, or inside a copied teacher."""
    run = checkpoint.parent.parent
    places = [checkpoint / run_folder.SEEN]
    if checkpoint.parent.name == run_folder.CHECKPOINTS:
        teacher = run / run_folder.TEACHER
        if (teacher / META).is_file() and not (teacher / run_folder.SEEN).is_file():
            return ()  # what its teacher has seen is not known, so neither is what it has
        places += [run / run_folder.SEEN, run / run_folder.TEACHER / run_folder.SEEN]
    return tuple(place for place in places if place.is_file())
