"""The optimiser's state on its way to disk, in the format of torch.distributed.checkpoint.

`torch.distributed.checkpoint.save` plans, writes and finishes in one call, in which processes talk
to each other throughout. Here they talk while it is planned only, so that it can be written beside
the training, and one that is lost keeps no other waiting in the background.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult

from vsalt import durable
from vsalt.training.distributed import Ranks
from vsalt.training.file_hashes import file_hashes

_METADATA = ".metadata"
"""Torch's name for the file that says where everything stands."""


@dataclass(frozen=True)
class Written:
    """What one process has written of a state.

    Attributes:
        results: where its parts stand in the files.
        sha256: of each file, by name.
    """

    results: Sequence[WriteResult] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)


class StateDraft:
    """One process's part of a state.

    Args:
        state: tensors and plain values; sharded tensors are written by those who hold the parts,
            all others by one process.
        folder: where it is to be written; its parent is made anew.
    """

    def __init__(self, state: dict[str, Any], folder: Path) -> None:
        self._state = state
        self._folder = folder
        self._planner = _Planner()
        self._writer = FileSystemWriter(folder)
        self._plan: SavePlan | None = None
        self._metadata: Metadata | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors that this process writes."""
        assert self._plan is not None, "plan first"
        tensors = [item for item in self._plan.items if item.type != WriteItemType.BYTE_IO]
        return sum(self._planner.resolve_data(item).nbytes for item in tensors)

    def plan(self, ranks: Ranks, *, copy: bool) -> None:
        """Agree on who writes what; all of `ranks` call this.

        Args:
            ranks: the processes.
            copy: copy what is written, so that the state may change before it has been.

        Raises:
            RunFolderError: if the folder cannot be made.
        """
        ranks.first(self._make_room)
        self._planner.set_up_planner(
            self._state, self._writer.storage_meta(), is_coordinator=ranks.leads
        )
        self._writer.set_up_storage_writer(ranks.leads)
        local = self._writer.prepare_local_plan(self._planner.create_local_plan())
        gathered = ranks.gather(local)
        plans = ranks.lead(lambda: self._plan_all(gathered))
        self._plan = self._planner.finish_plan(plans[ranks.rank])
        if copy:
            self._planner.copy(self._plan)
            # Nothing is on a device any more, so a thread need not know of it.
            self._writer.per_thread_copy_ahead = 0

    def write(self) -> Written:
        """Write this process's files and flush them to disk.

        Each process hashes its own, where it writes them: in the background if that is where.

        Raises:
            OSError, RuntimeError: if they cannot be written.
        """
        assert self._plan is not None, "plan first"
        future = self._writer.write_data(self._plan, self._planner)
        future.wait()
        results: list[WriteResult] = future.value()
        files = {self._folder / result.storage_data.relative_path for result in results}
        return Written(results, file_hashes(files))

    def finish(self, written: Sequence[Written]) -> dict[str, str]:
        """Write the file that says where everything stands; the leader does.

        Args:
            written: of all processes.

        Returns:
            The SHA-256 of each file of the state, by name.
        """
        assert self._metadata is not None, "the leader finishes"
        self._writer.finish(self._metadata, [list(each.results) for each in written])
        hashes = file_hashes([self._folder / _METADATA])
        for each in written:
            hashes |= each.sha256
        return dict(sorted(hashes.items()))

    def _make_room(self) -> None:
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        with durable.explain_all_write_errors(f"checkpoint {self._folder.parent}"):
            self._folder.parent.mkdir()
            self._folder.mkdir()

    def _plan_all(self, plans: list[SavePlan]) -> list[SavePlan]:
        plans, self._metadata = self._planner.create_global_plan(plans)
        return self._writer.prepare_global_plan(plans)


class _Planner(DefaultSavePlanner):
    """Torch's planner, which can take what it writes from copies in main memory."""

    def __init__(self) -> None:
        super().__init__()
        self._copies: dict[Any, Any] = {}

    def copy(self, plan: SavePlan) -> None:
        """Copy all that a plan writes."""
        for item in plan.items:
            found = super().resolve_data(item)
            copied = found.to("cpu", copy=True) if isinstance(found, Tensor) else found
            self._copies[item.index] = copied

    def resolve_data(self, write_item: WriteItem) -> Any:
        """Return what is written at an item's place."""
        copied = self._copies.get(write_item.index)
        return super().resolve_data(write_item) if copied is None else copied
