"""A stage's records for TensorBoard, in RUN/tensorboard; `tensorboard --logdir RUN` shows them.

Events are flushed with every checkpoint. A stage that goes on from a checkpoint tells TensorBoard
to forget the steps after it, which are then shown again.
"""

from collections.abc import Mapping
from pathlib import Path

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes event files; see `vsalt.training.tracking.Tracker`.

    Args:
        run: the stage's folder.
        done_step: the step that the stage goes on from.
    """

    def __init__(self, run: Path, *, done_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = run / FOLDER
        self.is_new = not folder.exists()
        self._writer = SummaryWriter(str(folder), purge_step=None if self.is_new else done_step + 1)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def note(self, step: int, title: str, text: str) -> None:
        """Write a warning."""
        self._writer.add_text(f"warning/{title}", text, step)

    def flush(self) -> None:
        """Write to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Write to disk, and end."""
        self._writer.close()
