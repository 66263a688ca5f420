"""A stage's records for Weights & Biases.

Where they go is wandb's own business: `wandb login` and WANDB_PROJECT, WANDB_ENTITY say where,
WANDB_MODE=offline keeps them in RUN/wandb until `wandb sync` sends them. A stage keeps the id of
its wandb run in RUN/wandb.json, and a resumed one goes on in the same; steps that the service has
already are not sent again, as a resumed stage repeats them to the bit.
"""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.config import STAGES
from vsalt.errors import VsaltError

STATE = "wandb.json"
PROJECT = "vsalt"


class WandbTracker:
    """Logs to a run of wandb; see `vsalt.training.tracking.Tracker`.

    Args:
        run: the stage's folder.
        config: its settings, to be shown.

    Raises:
        VsaltError: wandb cannot begin, as without an account or a network.
    """

    def __init__(self, run: Path, config: Mapping[str, Any]) -> None:
        import wandb

        state = run / STATE
        self.is_new = not state.exists()
        if self.is_new:
            durable.write_json(state, {"id": secrets.token_hex(4)})
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", _title(run)),
                id=durable.read_json(state)["id"],
                resume="allow",
                dir=str(run),
                config=dict(config),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            if self.is_new:
                state.unlink()
            raise VsaltError(
                f"--track wandb cannot begin: {error}. `wandb login` gives it an account; "
                "WANDB_MODE=offline keeps the records on disk, for `wandb sync`"
            ) from error
        self._first_step = int(self._run.step)

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step."""
        if step >= self._first_step:
            self._run.log(dict(values), step=step)

    def note(self, step: int, title: str, text: str) -> None:
        """Log a warning as an alert."""
        if step >= self._first_step:
            self._run.alert(title=f"{title} at step {step}", text=text)

    def flush(self) -> None:
        """Do nothing: wandb writes on its own, in a process of its own."""

    def close(self) -> None:
        """Wait until all is written or sent."""
        self._run.finish()


def _title(run: Path) -> str:
    """Name a stage of a SALT run with its run, as all runs have a student."""
    path = run.absolute()
    return f"{path.parent.name}/{path.name}" if path.name in STAGES else path.name
