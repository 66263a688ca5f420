"""The batches of a stage: its rows, its masks and its order put together."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

from rich.console import Console

from vsalt import durable
from vsalt.config import PretrainConfig, clip_grid
from vsalt.data.catalogue import Catalogue
from vsalt.data.clip_table import ClipTable
from vsalt.data.config import SHAPES, Shape
from vsalt.data.dataset import ClipDataset, HoldoutDataset, ImageClips
from vsalt.data.frame_cache import FrameCache, make_frame_cache
from vsalt.data.loader import (
    HOLDOUT_TRIES,
    ClipLoader,
    HoldoutLoader,
    Verdicts,
    no_longer_readable,
)
from vsalt.data.quarantine import Quarantine
from vsalt.data.records import Records
from vsalt.data.shapes_by_step import StepShapes
from vsalt.errors import DataError
from vsalt.masking.sampler import MaskSampler, build_mask_sampler
from vsalt.training import run_folder
from vsalt.training.distributed import ALONE, Ranks
from vsalt.training.division import divide_stage
from vsalt.training.target_cache import StoredLatents


class StageData:
    """Makes the loaders of a stage.

    Args:
        config: resolved configuration.
        catalogue: the rows of its sources.
        pin_memory: put batches into page-locked memory, for copies to CUDA devices.
        latents: a teacher's, if they are cached.
        ranks: the processes of the run, of which this one reads its share.
    """

    def __init__(
        self,
        config: PretrainConfig,
        catalogue: Catalogue,
        *,
        pin_memory: bool,
        latents: StoredLatents | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._latents = latents
        self.config = config
        self.ranks = ranks
        self._division = divide_stage(config.stage, ranks.size, config.data.repeats)
        self.catalogue = catalogue
        self.pin_memory = pin_memory
        self._table = catalogue.table()
        self.mask_sampler = _mask_sampler(config, "video")
        self._cache: FrameCache | None = None

    @property
    def cache_lacks_room(self) -> bool:
        """Whether clips were decoded anew every time because the frame cache was full."""
        return self._cache is not None and self._cache.lacks_room

    def batches(self, start: int, verdicts: Verdicts) -> ClipLoader:
        """Return the training batches from a step to the stage's last.

        Args:
            start: the step.
            verdicts: time-outs that are known of these steps.
        """
        config, loop = self.config, self.config.stage.loop
        self._cache = make_frame_cache(config.data, num_rows=len(self.catalogue.rows))
        dataset = ClipDataset(
            table=self._table,
            order=self.catalogue.order(config.seed),
            batch_size=loop.batch_size,
            clip=config.clip,
            data=config.data,
            seed=config.seed,
            draw_masks=self.mask_sampler,
            images=_images(config, self.catalogue.shapes),
            still=config.stage.still_frames,
            cache=self._cache,
            latents=self._latents.train if self._latents else None,
        )
        return ClipLoader(
            dataset,
            start=start,
            stop=loop.end,
            batch_size=loop.batch_size,
            micro_batch_size=self._division.micro_batch_size,
            rank=self.ranks.rank,
            world_size=self.ranks.size,
            workers=config.data.workers,
            prefetch=config.data.prefetch,
            pin_memory=self.pin_memory,
            limits=config.data.limits,
            verdicts=verdicts,
        )

    def holdout(self) -> dict[Shape, HoldoutLoader]:
        """Return the held-out batches of each shape that has some."""
        found = held_out_rows(self.catalogue)
        return {shape: self._holdout_loader(shape, rows) for shape, rows in found.items()}

    def _holdout_loader(self, shape: Shape, rows: Sequence[int]) -> HoldoutLoader:
        config = self.config
        return HoldoutLoader(
            holdout_dataset(
                config, self._table, shape, latents=self._latents.holdout if self._latents else None
            ),
            rows=rows,
            batch_size=self._division.micro_batch_size,
            rank=self.ranks.rank,
            world_size=self.ranks.size,
            # A process of its own, so that a file that hangs or crashes cannot end the run.
            workers=min(1, config.data.workers),
            prefetch=config.data.prefetch,
            limits=config.data.limits,
        )


def held_out_rows(catalogue: Catalogue) -> dict[Shape, list[int]]:
    """Return the held-out rows of each shape that has some, in the order of their positions."""
    found: dict[Shape, list[int]] = {
        shape: [
            row for row in catalogue.holdout if catalogue.rows[row].is_image == (shape == "image")
        ]
        for shape in SHAPES
    }
    return {shape: rows for shape, rows in found.items() if rows}


def holdout_dataset(
    config: PretrainConfig,
    table: ClipTable,
    shape: Shape,
    *,
    masked: bool = True,
    latents: Records | None = None,
) -> HoldoutDataset:
    """Return the samples of one shape whose views and masks never change.

    Args:
        config: resolved configuration.
        table: where the rows' clips are.
        shape: what all clips are that will be asked for.
        masked: whether batches have masks.
        latents: a teacher's, if they are cached.
    """
    one_shape = StepShapes(Fraction(1))
    return HoldoutDataset(
        table=table,
        clip=config.clip,
        data=config.data,
        seed=config.seed,
        draw_masks=_mask_sampler(config, "video") if masked else None,
        images=_images(config, one_shape, masked=masked) if shape == "image" else None,
        still=config.stage.still_frames,
        latents=latents,
    )


def _images(
    config: PretrainConfig, shapes: StepShapes, *, masked: bool = True
) -> ImageClips | None:
    """Return what images become, at the steps that are theirs."""
    if "image" not in shapes.shapes:
        return None
    return ImageClips(
        num_frames=config.stage.encoder.tubelet[0],
        shapes=shapes,
        draw_masks=_mask_sampler(config, "image") if masked else None,
    )


def _mask_sampler(config: PretrainConfig, shape: Shape) -> MaskSampler:
    grid = clip_grid(config.clip, config.stage, shape)
    return build_mask_sampler(config.stage.masks_of(shape), grid, config.seed)


def leave_out_unreadable(
    holdout: HoldoutLoader,
    quarantine: Quarantine,
    console: Console,
    *,
    resumed: bool,
    ranks: Ranks = ALONE,
) -> None:
    """Read every held-out clip of a shape once, and leave out those that cannot be read.

    They are written down, and stay left out when the run is resumed, even if they can be read by
    then. So val_loss is always taken over the same clips. Of several processes each reads a share.

    Raises:
        DataError: if none can be read, or one that could be read before cannot any more.
    """
    left_out = quarantine.positions(holdout.step)
    tries = HOLDOUT_TRIES if resumed else 1
    found = ranks.gather(holdout.unreadable(passed_over=left_out, tries=tries))
    for bad_file in sorted(itertools.chain(*found)):
        if resumed:
            raise ranks.agreed(no_longer_readable(bad_file))
        with durable.explain_write_errors(run_folder.QUARANTINE):
            quarantine.note(bad_file)
        left_out.add(bad_file.position)
    num_rows = len(holdout.rows)
    holdout.rows = tuple(row for i, row in enumerate(holdout.rows) if i not in left_out)
    if not holdout.rows:
        raise ranks.agreed(
            DataError(
                f"none of the {num_rows} held-out clips can be read; mend the files, or begin "
                "a run with --data.holdout 0"
            )
        )
    if left_out:
        console.print(
            f"{len(left_out)} held-out clips cannot be read and are left out", style="yellow"
        )
