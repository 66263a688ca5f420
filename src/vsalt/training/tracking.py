"""Trackers: where a run's records can be watched, beside its own logs.

A tracker hears what is written to the logs; neither the loop nor a method knows of it. The logs in
the run folder stay the truth: a tracker that fails is left out, and said to be, and one that is
begun later gets all that was logged before.

RUN/track.json says which one, of a stage or of all stages of a SALT run. It is no part of the
configuration, as nothing that is learned depends on it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from vsalt import durable
from vsalt.config import STAGES
from vsalt.errors import ConfigError, MissingExtraError, RunFolderError
from vsalt.training import run_folder

TrackerName: TypeAlias = Literal["none", "tensorboard", "wandb"]
CHOICE = "track.json"
_NAMES: tuple[TrackerName, ...] = get_args(TrackerName)
_NOT_VALUES = ("step", "kind", "shape")


@runtime_checkable
class Tracker(Protocol):
    """Shows numbers over steps.

    Attributes:
        is_new: whether it has shown nothing of this stage before.
    """

    is_new: bool

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Show the values of a step; steps never fall."""
        ...

    def note(self, step: int, title: str, text: str) -> None:
        """Show a warning."""
        ...

    def flush(self) -> None:
        """Put what was shown where no kill can take it, as far as possible."""
        ...

    def close(self) -> None:
        """End."""
        ...


def require_tracker(name: TrackerName) -> None:
    """Check that a tracker can be used, before a run begins.

    Raises:
        MissingExtraError: its package is not installed.
        ConfigError: there is no such tracker.
    """
    if name not in _NAMES:
        raise ConfigError([f"track is {name!r}; it can be {', '.join(_NAMES)}"])
    try:
        if name == "tensorboard":
            import tensorboard  # noqa: F401
        elif name == "wandb":
            import wandb  # noqa: F401
    except ImportError as error:
        extra = "tensorboard" if name == "tensorboard" else "track"
        raise MissingExtraError(f"--track {name} needs {name}", extra=extra) from error


def choose_tracker(run: Path, name: TrackerName) -> None:
    """Note the tracker of a run; later starts follow it."""
    if name == "none":
        (run / CHOICE).unlink(missing_ok=True)
    else:
        durable.write_json(run / CHOICE, {"tracker": name})


def chosen_tracker(run: Path) -> TrackerName:
    """Return the tracker of a stage: its own, else that of the SALT run that it is part of.

    Raises:
        RunFolderError: track.json does not name one.
    """
    places = [run, run.absolute().parent] if run.name in STAGES else [run]
    for folder in places:
        if (folder / CHOICE).is_file():
            found = durable.read_json(folder / CHOICE).get("tracker")
            for name in _NAMES:
                if found == name:
                    return name
            raise RunFolderError(f"{folder / CHOICE} names no tracker: {found!r}; remove it")
    return "none"


@contextmanager
def tracking(
    run: Path,
    logs: Mapping[str, run_folder.JsonLines],
    config: Mapping[str, Any],
    *,
    done_step: int,
    say: Callable[[str], None],
) -> Iterator[None]:
    """Let the chosen tracker of a stage, if there is one, hear its logs inside this block.

    Args:
        run: the stage's folder.
        logs: by what their values are called: `timing` for timings, `warning` for warnings, and ""
            for metrics, which are called by their kind.
        config: the stage's settings, to be shown.
        done_step: the step that the stage goes on from.
        say: is told when a tracker fails.

    Raises:
        VsaltError: the tracker cannot begin.
    """
    name = chosen_tracker(run)
    if name == "none":
        yield
        return
    require_tracker(name)
    tracker = _open(name, run, config, done_step)
    relay = _Relay(tracker, name, say)
    if tracker.is_new:
        relay.catch_up(logs)
    for prefix, log in logs.items():
        log.listeners.append(_Ear(relay, prefix))
    try:
        yield
    finally:
        for log in logs.values():
            log.listeners.clear()
        relay.close()


def _open(name: TrackerName, run: Path, config: Mapping[str, Any], done_step: int) -> Tracker:
    if name == "tensorboard":
        from vsalt.training.track_tensorboard import TensorBoardTracker

        return TensorBoardTracker(run, done_step=done_step)
    from vsalt.training.track_wandb import WandbTracker

    return WandbTracker(run, config)


def values_of(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a record by the names that trackers show: `train/loss`, `val/val_loss`.

    Args:
        record: of metrics.jsonl, or with a prefix of another log.
        prefix: what comes before the slash; "": the record's kind, and `image` after it for steps
            of images.
    """
    if not prefix:
        prefix = record["kind"] + ("_image" if record.get("shape") == "image" else "")
    return {
        f"{prefix}/{name}": float(value)
        for name, value in record.items()
        if name not in _NOT_VALUES and isinstance(value, int | float)
    }


class _Relay:
    """Hands records to a tracker until it fails; that must not end a training."""

    def __init__(self, tracker: Tracker, name: str, say: Callable[[str], None]) -> None:
        self._tracker: Tracker | None = tracker
        self._name = name
        self._say = say

    def hear(self, prefix: str, record: Mapping[str, Any]) -> None:
        if prefix == "warning":
            text = f"{record['message']}. {record['cause']}"
            self._do(lambda tracker: tracker.note(record["step"], record["kind"], text))
        else:
            values = values_of(record, prefix)
            self._do(lambda tracker: tracker.show(record["step"], values))

    def catch_up(self, logs: Mapping[str, run_folder.JsonLines]) -> None:
        """Tell what was logged before, step by step."""
        found: list[tuple[str, dict[str, Any]]] = []
        for prefix, log in logs.items():
            lines = log.path.read_text(encoding="utf-8").splitlines()
            found += [(prefix, json.loads(line)) for line in lines]
        for prefix, record in sorted(found, key=lambda pair: int(pair[1]["step"])):
            self.hear(prefix, record)

    def flush(self) -> None:
        self._do(lambda tracker: tracker.flush())

    def close(self) -> None:
        self._do(lambda tracker: tracker.close())
        self._tracker = None

    def _do(self, action: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:  # whatever a service or its library may raise
            self._tracker = None
            self._say(
                f"--track {self._name} has failed and is left out from here on: {error}. The run "
                "goes on, its own logs are complete"
            )


class _Ear:
    """Listens to one log."""

    def __init__(self, relay: _Relay, prefix: str) -> None:
        self._relay = relay
        self._prefix = prefix

    def hear(self, record: Mapping[str, Any]) -> None:
        self._relay.hear(self._prefix, record)

    def sync(self) -> None:
        self._relay.flush()
