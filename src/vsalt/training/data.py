"""The batches of a stage: its rows, its masks and its order put together."""

from collections.abc import Iterable

from rich.console import Console

from vsalt.config import PretrainConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.dataset import ClipDataset, HoldoutDataset
from vsalt.data.loader import ClipLoader, HoldoutLoader
from vsalt.data.quarantine import Quarantine
from vsalt.data.types import Batch
from vsalt.errors import DataError
from vsalt.masking.sampler import build_mask_sampler
from vsalt.models.config import grid_of
from vsalt.training import run_folder


class StageData:
    """Makes the loaders of a stage.

    Args:
        config: resolved configuration.
        catalogue: the rows of its sources.
        pin_memory: put batches into page-locked memory, for copies to CUDA devices.
    """

    def __init__(self, config: PretrainConfig, catalogue: Catalogue, *, pin_memory: bool) -> None:
        self.config = config
        self.catalogue = catalogue
        self.pin_memory = pin_memory
        grid = grid_of(config.clip.num_frames, config.clip.size, config.stage.encoder.tubelet)
        self._masks = build_mask_sampler(config.stage.masks, grid, config.seed)

    def batches(self, start: int) -> ClipLoader:
        """Return the training batches from a step to the stage's last."""
        config, loop = self.config, self.config.stage.loop
        assert loop.micro_batch_size is not None, "resolve the config first"
        dataset = ClipDataset(
            table=self.catalogue.table(),
            order=self.catalogue.order(config.seed),
            batch_size=loop.batch_size,
            clip=config.clip,
            data=config.data,
            seed=config.seed,
            draw_masks=self._masks,
        )
        return ClipLoader(
            dataset,
            start=start,
            stop=loop.steps,
            batch_size=loop.batch_size,
            micro_batch_size=loop.micro_batch_size,
            workers=config.data.workers,
            prefetch=config.data.prefetch,
            pin_memory=self.pin_memory,
        )

    def holdout(self, quarantine: Quarantine, console: Console) -> Iterable[Batch] | None:
        """Return the held-out batches, read in this process; None if nothing is held out.

        Every held-out clip is read once here. Those that cannot be read are written down and left
        out, so that val_loss is always taken over the same clips.

        Raises:
            DataError: if none of them can be read.
        """
        rows = self.catalogue.holdout
        if not rows:
            return None
        readable = []
        everything = self._holdout_dataset(rows)
        for position, row in enumerate(rows):
            bad_file = everything.try_read(position)
            if bad_file is None:
                readable.append(row)
            else:
                with run_folder.explain_write_errors(run_folder.QUARANTINE):
                    quarantine.note(bad_file)
        if not readable:
            raise DataError(
                f"none of the {len(rows)} held-out clips can be read; mend the files, or begin "
                "a run with --data.holdout 0"
            )
        if len(readable) < len(rows):
            count = len(rows) - len(readable)
            console.print(f"{count} held-out clips cannot be read and are left out", style="yellow")
        assert self.config.stage.loop.micro_batch_size is not None, "resolve the config first"
        dataset = self._holdout_dataset(tuple(readable))
        return HoldoutLoader(dataset, batch_size=self.config.stage.loop.micro_batch_size)

    def _holdout_dataset(self, rows: tuple[int, ...]) -> HoldoutDataset:
        return HoldoutDataset(
            table=self.catalogue.table(),
            rows=rows,
            clip=self.config.clip,
            data=self.config.data,
            seed=self.config.seed,
            draw_masks=self._masks,
        )
