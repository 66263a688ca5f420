"""The batches of a stage: its rows, its masks and its order put together."""

from vsalt.config import PretrainConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.dataset import ClipDataset, HoldoutDataset
from vsalt.data.loader import ClipLoader, HoldoutLoader
from vsalt.masking.sampler import build_mask_sampler
from vsalt.models.config import grid_of


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

    def holdout(self) -> HoldoutLoader | None:
        """Return the held-out batches, read in this process; None if nothing is held out."""
        if not self.catalogue.holdout:
            return None
        assert self.config.stage.loop.micro_batch_size is not None, "resolve the config first"
        dataset = HoldoutDataset(
            table=self.catalogue.table(),
            rows=self.catalogue.holdout,
            clip=self.config.clip,
            data=self.config.data,
            seed=self.config.seed,
            draw_masks=self._masks,
        )
        return HoldoutLoader(dataset, batch_size=self.config.stage.loop.micro_batch_size)
