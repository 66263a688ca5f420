"""The clips that a stage's pictures show, as validation sees them: same views, same masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vsalt.config import PretrainConfig
from vsalt.data.catalogue import Catalogue, parse_source
from vsalt.data.clip_table import ClipTable
from vsalt.data.config import Shape
from vsalt.data.dataset import MAX_ATTEMPTS, HeldOutClip, HoldoutDataset
from vsalt.data.jobs import Job
from vsalt.data.loader import HOLDOUT_TRIES
from vsalt.data.manifest import Row, read_source
from vsalt.data.quarantine import Quarantine
from vsalt.data.types import Batch, SampleKey
from vsalt.errors import DataError, printable
from vsalt.training.build import with_image_masks
from vsalt.training.checkpoint import Checkpoint
from vsalt.training.data import held_out_rows, holdout_dataset
from vsalt.training.run_folder import QUARANTINE

_OTHER_SOURCE = "to draw clips of other videos, give --data SOURCE"


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownClips:
    """Clips of one shape with their masks.

    Attributes:
        batches: one clip each, in the order of the pictures.
        names: the clips' files as their source names them.
        origin: a sentence that tells which clips these are.
    """

    batches: tuple[Batch, ...]
    names: tuple[str, ...]
    origin: str


def read_clips(
    config: PretrainConfig,
    checkpoint: Checkpoint,
    *,
    num_clips: int,
    data: str | None,
    masked: bool = True,
) -> ShownClips:
    """Read clips of a stage; nothing is written.

    Held-out clips, spread evenly over all of them, at the positions at which val_loss is computed
    on them; videos where there are both. Where nothing is held out, and of another source, the
    first clips that can be read.

    Args:
        config: resolved configuration of the stage.
        checkpoint: of the stage, in its run folder or not.
        num_clips: how many clips to read, at least 1.
        data: another source, or the place where that of the run lies now; None is where it was.
        masked: whether batches have masks, which of an encoder alone say nothing.

    Raises:
        DataError: if they cannot be read any more, or the source has changed, with what to do.
    """
    catalogue = _own_catalogue(config, checkpoint, data)
    if catalogue is not None and catalogue.holdout:
        quarantine = checkpoint.path.parent.parent / QUARANTINE
        return _held_out(config, catalogue, quarantine, num_clips, masked)
    if catalogue is not None:
        numbers = sorted(index for part in catalogue.train for index in part)
        rows: Sequence[Row] = [catalogue.rows[index] for index in numbers]
        origin = "Nothing was held out of this run: it has trained on these clips."
    else:
        assert data is not None
        rows = read_source(parse_source(data)[0]).rows
        origin = f"The first clips of {printable(data)}, which are not those of val_loss."
    return _first(config, rows, num_clips, origin, masked)


def _own_catalogue(
    config: PretrainConfig, checkpoint: Checkpoint, data: str | None
) -> Catalogue | None:
    """Return the rows of the run, which may have moved to `data`; None if that is another set."""
    wanted = checkpoint.meta["manifest_sha256"]
    if data is None and wanted is None:
        raise DataError(f"{checkpoint.path} was imported and knows no videos; give --data SOURCE")
    if data is not None:
        try:
            moved = Catalogue.load(replace(config.data, sources=(data,)), config.seed)
        except DataError:
            # Another set need not have rows to train on; whether it can be read shows later.
            return None
        return moved if moved.manifest_hash == wanted else None
    try:
        catalogue = Catalogue.load(config.data, config.seed)
    except DataError as error:
        raise DataError(
            f"the videos of the run cannot be found: {error}. If they have moved, give "
            f"--data SOURCE with their new place; {_OTHER_SOURCE}"
        ) from error
    if catalogue.manifest_hash != wanted:
        raise DataError(
            "the data has changed since the run began (rows, labels, splits or files), so that "
            f"its held-out clips are not known any more; {_OTHER_SOURCE}"
        )
    return catalogue


def _held_out(
    config: PretrainConfig, catalogue: Catalogue, quarantine: Path, num_clips: int, masked: bool
) -> ShownClips:
    shape, rows = next(iter(held_out_rows(catalogue).items()))
    dataset = holdout_dataset(config, catalogue.table(), shape, masked=masked)
    # What could not be read when the run began was left out before positions were counted.
    left_out = Quarantine(quarantine, max_bad_share=1.0).positions(dataset.step)
    rows = [row for position, row in enumerate(rows) if position not in left_out]
    shown = min(num_clips, len(rows))
    positions = [index * len(rows) // shown for index in range(shown)]
    batches = []
    for position in positions:
        batch = _read(dataset, position, rows[position])
        for bad in batch.bad_files:
            raise DataError(
                f"the held-out clip {bad.path} cannot be read any more: {bad.error}; "
                f"{_OTHER_SOURCE}"
            )
        batches.append(batch)
    return ShownClips(
        batches=tuple(batches),
        names=tuple(printable(catalogue.rows[rows[at]].relative_path) for at in positions),
        origin="Clips that are held out of training, with the views and masks of val_loss."
        if masked
        else "Clips that are held out of training, with the views of val_loss.",
    )


def _first(
    config: PretrainConfig, rows: Sequence[Row], num_clips: int, origin: str, masked: bool
) -> ShownClips:
    """Read the first clips that can be read; of images only where there are no videos."""
    videos = [row for row in rows if not row.is_image]
    shape: Shape = "video" if videos else "image"
    candidates = (videos or rows)[: num_clips + MAX_ATTEMPTS]
    if shape == "image" and masked and config.stage.image_masks is None:
        config = with_image_masks(config)
    dataset = holdout_dataset(config, ClipTable(candidates), shape, masked=masked)
    batches: list[Batch] = []
    errors = []
    for row in range(len(candidates)):
        batch = _read(dataset, len(batches), row)
        errors += [bad.error for bad in batch.bad_files]
        if not batch.bad_files:
            batches.append(batch)
        if len(batches) == num_clips:
            break
    if not batches:
        raise DataError(
            f"none of the first {len(candidates)} clips can be read: {errors[0]}; {_OTHER_SOURCE}"
        )
    names = tuple(printable(candidates[batch.rows[0]].relative_path) for batch in batches)
    return ShownClips(batches=tuple(batches), names=names, origin=origin)


def _read(dataset: HoldoutDataset, position: int, row: int) -> Batch:
    """Read one clip as a batch of its own: groups of masks may differ in their counts."""
    key = SampleKey(dataset.step, position)
    return dataset.read([HeldOutClip(key, row, HOLDOUT_TRIES)], Job())
