"""Samples by their key: decoding, view and masks of the clips of a batch, in a worker process.

The data sets hold shared arrays and settings, so that they can be sent to spawned processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vsalt.data.clip_table import ClipPlace, ClipTable
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.crop_box import CropBox, bounding_box
from vsalt.data.decode import ChooseBox, Video
from vsalt.data.frame_cache import CachedVideo, FrameCache
from vsalt.data.jobs import Job
from vsalt.data.order import Order
from vsalt.data.records import Records
from vsalt.data.sampling import clip_times, stretch
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.transforms import centre_view, draw_crop, write_view
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.errors import DataError, DecodeError, DecodeTimeoutError
from vsalt.masking.types import Mask, MaskBatch
from vsalt.randomness import keyed_generator, keyed_int

DrawMasks: TypeAlias = Callable[[int, int, Tensor], tuple[Mask, ...]]
"""Draws the masks of a clip (3, T, H, W) from (step, position, clip); must be picklable."""

HOLDOUT_STEP = -1
"""The step of held-out samples, whose views and masks never change."""

IMAGE_HOLDOUT_STEP = -2
"""The step of held-out images; they are counted apart from held-out videos."""

FIXED_VIEW_STEP = -3
"""The step of fixed views that are asked for by row, to cache what a teacher says of them."""

MAX_ATTEMPTS = 8
"""Clips that are tried for one sample before the run gives up."""


@dataclass(frozen=True, kw_only=True)
class ImageClips:
    """How images become clips: one tubelet of equal frames, of the size of the other clips.

    Attributes:
        num_frames: frames of a tubelet.
        shapes: says which steps have images.
        draw_masks: draws their masks; None gives batches without masks.
    """

    num_frames: int
    shapes: StepShapes
    draw_masks: DrawMasks | None = None


class DrawnClip(NamedTuple):
    """A clip to decode as it is asked for; the main process has drawn its row.

    Attributes:
        key: of its sample; of the first of its samples, where it has several (`data.repeats`).
        row: whose turn it is.
    """

    key: SampleKey
    row: int


class HeldOutClip(NamedTuple):
    """A held-out sample as it is asked for.

    Attributes:
        key: (HOLDOUT_STEP or IMAGE_HOLDOUT_STEP, place in the list of held-out clips), or that of a
            fixed view, see `ViewDataset`.
        row: of the clip.
        tries: how often it is read when it times out.
    """

    key: SampleKey
    row: int
    tries: int = 1


class _SampleDataset:
    """What training and held-out samples share."""

    def __init__(
        self,
        *,
        table: ClipTable,
        clip: ClipConfig,
        data: DataConfig,
        seed: int,
        draw_masks: DrawMasks | None = None,
        images: ImageClips | None = None,
        still: bool = False,
        latents: Records | None = None,
    ) -> None:
        self._table = table
        self._latents = latents
        self._still = still
        self._clip = clip
        self._data = data
        self._seed = seed
        self._draw_masks = draw_masks
        self._images = images
        self._picture = replace(clip, num_frames=1, frame_step=1, fps=None, spacing="exact")

    def _images_at(self, step: int) -> ImageClips | None:
        """Return how the images of a step become clips; None if it is a step of videos."""
        if self._images is None or self._images.shapes.at(step) == "video":
            return None
        return self._images

    def _empty_clips(self, keys: Sequence[SampleKey], job: Job) -> UInt8[Tensor, "B 3 T H W"]:
        of = self._images_at(keys[0].step) or self._clip
        # The channels of a pixel lie side by side, as they are decoded: nothing rearranges them
        # before the device gathers the tokens it needs.
        pixels = job.empty((len(keys), of.num_frames, *self._clip.size, 3), torch.uint8)
        return pixels.permute(0, 4, 1, 2, 3)

    def _empty_latents(self, count: int, job: Job) -> UInt8[Tensor, "B bytes"] | None:
        if self._latents is None:
            return None
        return job.empty((count, self._latents.record_bytes), torch.uint8)

    def _masks(self, clips: Tensor, keys: Sequence[SampleKey]) -> tuple[MaskBatch, ...]:
        images = self._images_at(keys[0].step)
        draw = images.draw_masks if images else self._draw_masks
        if draw is None:
            return ()
        return stack_masks([draw(*key, clip) for key, clip in zip(keys, clips, strict=True)])

    def _read_clips(
        self,
        clips: Tensor,
        latents: Tensor | None,
        row: int,
        keys: Sequence[SampleKey],
        index: int,
        attempt: int,
        job: Job,
    ) -> BadFile | None:
        """Fill the clips of one row, and their latents if they are cached, or return why not."""
        place = self._table[row]
        try:
            with job.reading(index, attempt):
                if self._latents is not None and latents is not None:
                    for own, key in zip(latents, keys, strict=True):
                        view = self._view_number(key, attempt)
                        own.numpy()[:] = self._latents.read(row, view, str(place.media))
                if self._images_at(keys[0].step) is None:
                    self._views(keys, attempt, row, clips)
                    if self._still:
                        for clip, key in zip(clips, keys, strict=True):
                            self._hold_still(clip, key)
                else:
                    # The one frame of an image becomes every frame of its clip.
                    self._views(keys, attempt, row, clips[:, :, :1])
                    clips[:, :, 1:] = clips[:, :, :1]
        except DecodeError as error:
            timed_out = isinstance(error, DecodeTimeoutError)
            return BadFile(*keys[0], attempt, str(place.media), str(error), timed_out)
        return None

    def _hold_still(self, clip: UInt8[Tensor, "3 T H W"], key: SampleKey) -> None:
        """Put one frame of a clip, drawn by the sample's key, in the place of all."""
        generator = keyed_generator("still", self._seed, *key)
        clip[:] = clip[:, [int(generator.integers(clip.shape[1]))]]

    def _views(self, keys: Sequence[SampleKey], attempt: int, row: int, out: Tensor) -> None:
        """Write the views of one row's samples."""
        raise NotImplementedError

    def _view_number(self, key: SampleKey, attempt: int) -> int:
        """Return which of a row's fixed views a sample is; by default there is one."""
        del key, attempt
        return 0

    def _random_views(
        self, generators: Sequence[np.random.Generator], step: int, row: int, outs: Tensor
    ) -> None:
        """Write views of one decoded clip: the first draws the times, each its crop and flip."""
        data = self._data
        boxes: list[CropBox] = []

        def choose_box(height: int, width: int) -> CropBox:
            boxes[:] = [
                draw_crop(
                    each, height=height, width=width, scale=data.crop_scale, ratio=data.crop_ratio
                )
                for each in generators
            ]
            return bounding_box(boxes)

        # Every view makes all of its draws, so that none depends on its place among the others.
        times = [each.random() for each in generators]
        frames = self._frames(step, row, times[0], choose_box)
        whole = bounding_box(boxes)
        for generator, box, out in zip(generators, boxes, outs, strict=True):
            top, left, height, width = box.within(whole)
            region = frames[:, top : top + height, left : left + width]
            flipped = generator.random() < data.flip
            write_view(region, out, flipped=flipped, antialias=data.antialias)

    def _fixed_view(self, row: int, view: int) -> np.random.Generator:
        """Return what a row's fixed view is drawn by, whenever it comes."""
        return keyed_generator("fixed-view", self._seed, row, view)

    def _frames(
        self, step: int, row: int, u: float, box: ChooseBox | None = None
    ) -> UInt8[np.ndarray, "T h w 3"]:
        """Return the frames of a clip; of an image, its only one."""
        clip = self._picture if self._images_at(step) else self._clip
        place = self._table[row]
        with self._open(row, place) as video:
            part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
            return video.read(clip_times(clip, part, u=u), box)

    def _open(self, row: int, place: ClipPlace) -> Video | CachedVideo:
        del row
        return Video(place.media, limits=self._data.limits)


class ClipDataset(_SampleDataset):
    """The training samples: which clip, window, crop, flip and masks is fixed by the key.

    With R = `data.repeats`, the positions R i … R i + R − 1 of a step share the i-th of its B / R
    decoded clips, with its times. The first of them draws the times; crop, flip and masks are drawn
    by each, from its own position.

    Args:
        table: where the catalogue's clips are.
        order: which row each sample has.
        batch_size: global batch size in clips.
        clip: what a clip is.
        data: crop, flip, resize.
        seed: the run's seed.
        draw_masks: draws the masks of a clip; None gives batches without masks.
        images: which steps have images, and what becomes of them; None: no step has.
        still: one frame of a clip, drawn at random, takes the place of all.
        cache: keeps decoded frames; None decodes every clip anew.
        latents: a teacher's cached latents of the rows' fixed views, `data.views` of each; None
            gives batches without.
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
        images: ImageClips | None = None,
        still: bool = False,
        cache: FrameCache | None = None,
        latents: Records | None = None,
    ) -> None:
        super().__init__(
            table=table,
            clip=clip,
            data=data,
            seed=seed,
            draw_masks=draw_masks,
            images=images,
            still=still,
            latents=latents,
        )
        assert batch_size % data.repeats == 0, f"{batch_size} clips, each {data.repeats} times"
        self._cache = cache
        self._order = order
        self._batch_size = batch_size

    @property
    def repeats(self) -> int:
        """Positions that share a decoded clip."""
        return self._data.repeats

    def draw(self, key: SampleKey) -> DrawnClip:
        """Draw the row of a sample, and of those that share its clip.

        In the main process, as permutations of all rows are kept for it.

        Args:
            key: of the first of the samples that share a clip.
        """
        assert key.position % self.repeats == 0, f"{key} is not the first of {self.repeats}"
        return DrawnClip(key, self._row(key, attempt=0))

    def read(self, samples: Sequence[DrawnClip], job: Job) -> Batch:
        """Return the batch of some decoded clips, which are all of one step.

        Raises:
            DataError: `MAX_ATTEMPTS` clips in the place of one sample could not be read.
        """
        repeats = self.repeats
        keys = [
            drawn.key._replace(position=drawn.key.position + repeat)
            for drawn in samples
            for repeat in range(repeats)
        ]
        clips = self._empty_clips(keys, job)
        latents = self._empty_latents(len(keys), job)
        rows: list[int] = []
        bad_files: list[BadFile] = []
        for index, drawn in enumerate(samples):
            own = slice(index * repeats, (index + 1) * repeats)
            own_latents = None if latents is None else latents[own]
            row, failed = self._fill(clips[own], own_latents, drawn, keys[own], index, job)
            rows += [row] * repeats
            bad_files += failed
        return Batch(
            clips=clips,
            masks=self._masks(clips, keys),
            rows=tuple(rows),
            bad_files=tuple(bad_files),
            latents=latents,
            repeats=repeats,
        )

    def _fill(
        self,
        clips: Tensor,
        latents: Tensor | None,
        drawn: DrawnClip,
        keys: Sequence[SampleKey],
        index: int,
        job: Job,
    ) -> tuple[int, list[BadFile]]:
        """Read the clip in turn, or the first after it that can be read; return its row."""
        row = drawn.row
        bad_files: list[BadFile] = []
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                row = self._row(drawn.key, attempt)
            bad_file = self._read_clips(clips, latents, row, keys, index, attempt, job)
            if bad_file is None:
                return row, bad_files
            bad_files.append(bad_file)
        raise DataError(
            f"{MAX_ATTEMPTS} clips in a row could not be read for step {drawn.key.step}, position "
            f"{drawn.key.position}; the last error: {bad_files[-1].error}"
        )

    def _row(self, key: SampleKey, attempt: int) -> int:
        return self._order.row(
            step=key.step,
            position=key.position // self.repeats,
            batch_size=self._batch_size // self.repeats,
            attempt=attempt,
        )

    def _views(self, keys: Sequence[SampleKey], attempt: int, row: int, out: Tensor) -> None:
        if self._data.views is None:
            generators = [keyed_generator("view", self._seed, *key, attempt) for key in keys]
        else:
            generators = [self._fixed_view(row, self._view_number(key, attempt)) for key in keys]
        self._random_views(generators, keys[0].step, row, out)

    def _view_number(self, key: SampleKey, attempt: int) -> int:
        assert self._data.views is not None, "only fixed views are numbered"
        drawn = keyed_int("which-view", self._seed, key.step, key.position, attempt)
        return drawn % self._data.views

    def _open(self, row: int, place: ClipPlace) -> Video | CachedVideo:
        return self._cache.open(row, place) if self._cache else super()._open(row, place)


class HoldoutDataset(_SampleDataset):
    """The held-out samples of one shape: key (`step`, i) is the middle of the i-th held-out clip.

    A clip that cannot be read is zeros and named in the batch. Masks are drawn with this step, too,
    so that they never change either.

    Args:
        table: where the catalogue's clips are.
        clip: what a clip is.
        data: resize.
        seed: the run's seed.
        draw_masks: draws the masks of a clip; None gives batches without masks.
        images: what becomes of the clips, which are all images; None: they are videos.
        still: one frame of a clip, the same every time, takes the place of all.
        latents: a teacher's cached latents of the rows' middles; None gives batches without.
    """

    @property
    def step(self) -> int:
        """The step of the samples' keys."""
        return HOLDOUT_STEP if self._images is None else IMAGE_HOLDOUT_STEP

    def read(self, samples: Sequence[HeldOutClip], job: Job) -> Batch:
        """Return the batch of some samples."""
        keys = [held_out.key for held_out in samples]
        clips = self._empty_clips(keys, job)
        latents = self._empty_latents(len(keys), job)
        bad_files = []
        for index, held_out in enumerate(samples):
            clip = clips[index : index + 1]
            own = None if latents is None else latents[index : index + 1]
            bad_file = self._fill(clip, own, held_out, index, job)
            if bad_file is not None:
                clip.zero_()
                if own is not None:
                    own.zero_()
                bad_files.append(bad_file)
        return Batch(
            clips=clips,
            masks=self._masks(clips, keys),
            rows=tuple(held_out.row for held_out in samples),
            bad_files=tuple(bad_files),
            latents=latents,
        )

    def _fill(
        self,
        clip: Tensor,
        latents: Tensor | None,
        held_out: HeldOutClip,
        index: int,
        job: Job,
    ) -> BadFile | None:
        bad_file = None
        row, key = held_out.row, held_out.key
        for attempt in range(held_out.tries):
            bad_file = self._read_clips(clip, latents, row, [key], index, attempt, job)
            if bad_file is None or not bad_file.timed_out:
                break
        return bad_file

    def _views(self, keys: Sequence[SampleKey], attempt: int, row: int, out: Tensor) -> None:
        del attempt
        frames = self._frames(keys[0].step, row, u=0.5)
        out.copy_(centre_view(frames, size=self._clip.size, antialias=self._data.antialias))


class ViewDataset(HoldoutDataset):
    """The fixed views of rows, pixel for pixel those that training takes.

    Of the V = `data.views` views of each row in a list, key (FIXED_VIEW_STEP, V i + k) is view k of
    the i-th row.
    """

    @property
    def step(self) -> int:
        """The step of the samples' keys."""
        return FIXED_VIEW_STEP

    def _views(self, keys: Sequence[SampleKey], attempt: int, row: int, out: Tensor) -> None:
        del attempt
        assert self._data.views is not None, "only fixed views are numbered"
        generators = [self._fixed_view(row, key.position % self._data.views) for key in keys]
        self._random_views(generators, keys[0].step, row, out)


def stack_masks(drawn: Sequence[tuple[Mask, ...]]) -> tuple[MaskBatch, ...]:
    """Turn the masks of each clip into the batch of each mask kind."""
    return tuple(
        MaskBatch(
            context=torch.from_numpy(np.stack([mask.context for mask in kind])),
            targets=torch.from_numpy(np.stack([mask.targets for mask in kind])),
        )
        for kind in zip(*drawn, strict=True)
    )
