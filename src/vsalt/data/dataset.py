"""Samples by their key: decoding, view and masks of one clip, in a worker process.

The data sets hold plain arrays and settings, so that they can be sent to spawned processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vsalt.data.clip_table import ClipPlace, ClipTable
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.decode import Video
from vsalt.data.order import Order
from vsalt.data.sampling import clip_times, stretch
from vsalt.data.transforms import centre_view, random_view
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.errors import DataError, DecodeError, VsaltError
from vsalt.masking.types import Mask, MaskBatch
from vsalt.randomness import keyed_generator

DrawMasks: TypeAlias = Callable[[int, int, Tensor], tuple[Mask, ...]]
"""Draws the masks of a clip (3, T, H, W) from (step, position, clip); must be picklable."""

HOLDOUT_STEP = -1
"""The step of held-out samples, whose views and masks never change."""

MAX_ATTEMPTS = 8
"""Clips that are tried for one sample before the run gives up."""


@dataclass(frozen=True)
class Sample:
    """One clip with its masks.

    Attributes:
        clip: RGB frames, shape (3, T, H, W).
        masks: one per mask kind.
        row: number of its row in the catalogue.
        bad_files: the files that could not be read in its place.
    """

    clip: UInt8[Tensor, "3 T H W"]
    masks: tuple[Mask, ...]
    row: int
    bad_files: tuple[BadFile, ...]


@dataclass(frozen=True)
class Failure:
    """An error on its way to the main process, which raises it with its own type and message."""

    kind: type[VsaltError]
    message: str


class _SampleDataset(Dataset[Sample]):
    """What training and held-out samples share: replacing unreadable files, and batches."""

    def __init__(
        self,
        *,
        table: ClipTable,
        clip: ClipConfig,
        data: DataConfig,
        seed: int,
        draw_masks: DrawMasks | None,
    ) -> None:
        self._table = table
        self._clip = clip
        self._data = data
        self._seed = seed
        self._draw_masks = draw_masks

    def __getitem__(self, key: SampleKey) -> Sample:
        bad_files: list[BadFile] = []
        for attempt in range(MAX_ATTEMPTS):
            row = self._row(key, attempt)
            place = self._table[row]
            try:
                view = self._view(key, attempt, place)
            except DecodeError as error:
                bad_files.append(BadFile(*key, attempt, str(place.media), str(error)))
                continue
            masks = self._draw_masks(*key, view) if self._draw_masks else ()
            return Sample(view, masks, row, tuple(bad_files))
        last = bad_files[-1]
        raise DataError(
            f"{MAX_ATTEMPTS} clips in a row could not be read for step {key.step}, position "
            f"{key.position}; the last error: {last.error}"
        )

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[Sample] | Failure:
        """Return the samples of a micro-batch, or the error meant for the user that ended it."""
        try:
            return [self[key] for key in keys]
        except VsaltError as error:
            return Failure(type(error), str(error))

    def _row(self, key: SampleKey, attempt: int) -> int:
        raise NotImplementedError

    def _view(self, key: SampleKey, attempt: int, place: ClipPlace) -> Tensor:
        raise NotImplementedError

    def _frames(self, place: ClipPlace, u: float) -> UInt8[np.ndarray, "T H W 3"]:
        with Video(place.media) as video:
            part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
            return video.read(clip_times(self._clip, part, u=u))


class ClipDataset(_SampleDataset):
    """The training samples: which clip, window, crop, flip and masks is fixed by the key.

    Args:
        table: where the catalogue's clips are.
        order: which row each sample has.
        batch_size: global batch size in clips.
        clip: what a clip is.
        data: crop, flip, resize.
        seed: the run's seed.
        draw_masks: draws the masks of a clip; None gives batches without masks.
    """

    def __init__(
        self,
        *,
        table: ClipTable,
        order: Order,
        batch_size: int,
        clip: ClipConfig,
        data: DataConfig,
        seed: int,
        draw_masks: DrawMasks | None = None,
    ) -> None:
        super().__init__(table=table, clip=clip, data=data, seed=seed, draw_masks=draw_masks)
        self._order = order
        self._batch_size = batch_size

    def _row(self, key: SampleKey, attempt: int) -> int:
        return self._order.row(
            step=key.step, position=key.position, batch_size=self._batch_size, attempt=attempt
        )

    def _view(self, key: SampleKey, attempt: int, place: ClipPlace) -> Tensor:
        generator = keyed_generator("view", self._seed, key.step, key.position, attempt)
        frames = self._frames(place, u=generator.random())
        return random_view(
            frames,
            generator,
            size=self._clip.size,
            crop_scale=self._data.crop_scale,
            crop_ratio=self._data.crop_ratio,
            flip=self._data.flip,
            antialias=self._data.antialias,
        )


class HoldoutDataset(_SampleDataset):
    """The held-out samples: key (HOLDOUT_STEP, i) is the middle of the i-th held-out clip.

    `draw_masks` is called with step HOLDOUT_STEP, so that the masks never change either.

    Args:
        table: where the catalogue's clips are.
        rows: numbers of the held-out rows.
        clip: what a clip is.
        data: resize.
        seed: the run's seed.
        draw_masks: draws the masks of a clip; None gives batches without masks.
    """

    def __init__(
        self,
        *,
        table: ClipTable,
        rows: Sequence[int],
        clip: ClipConfig,
        data: DataConfig,
        seed: int,
        draw_masks: DrawMasks | None = None,
    ) -> None:
        super().__init__(table=table, clip=clip, data=data, seed=seed, draw_masks=draw_masks)
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def try_read(self, position: int) -> BadFile | None:
        """Read a clip; None if that works."""
        place = self._table[self._rows[position]]
        try:
            self._view(SampleKey(HOLDOUT_STEP, position), 0, place)
        except DecodeError as error:
            return BadFile(HOLDOUT_STEP, position, 0, str(place.media), str(error))
        return None

    def _row(self, key: SampleKey, attempt: int) -> int:
        if attempt:
            raise DataError(
                f"the held-out clip {self._table[self._rows[key.position]].media} could be read "
                "before, and cannot any more; val_loss would no longer mean the same"
            )
        return self._rows[key.position]

    def _view(self, key: SampleKey, attempt: int, place: ClipPlace) -> Tensor:
        del key, attempt
        frames = self._frames(place, u=0.5)
        return centre_view(frames, size=self._clip.size, antialias=self._data.antialias)


def collate(samples: list[Sample] | Failure) -> Batch | Failure:
    """Stack samples into a batch with contiguous tensors."""
    if isinstance(samples, Failure):
        return samples
    kinds = zip(*(sample.masks for sample in samples), strict=True)
    return Batch(
        clips=torch.stack([sample.clip for sample in samples]),
        masks=tuple(_stack_masks(kind) for kind in kinds),
        rows=tuple(sample.row for sample in samples),
        bad_files=tuple(bad for sample in samples for bad in sample.bad_files),
    )


def _stack_masks(masks: Sequence[Mask]) -> MaskBatch:
    return MaskBatch(
        context=torch.from_numpy(np.stack([mask.context for mask in masks])),
        targets=torch.from_numpy(np.stack([mask.targets for mask in masks])),
    )
