"""What the demo found: summary.json, and the same as a table."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

TASKS = ("motion", "appearance")
ROWS = {
    "raw_pixels": "raw pixels",
    "frame_difference": "frame differences",
    "random_init": "random init",
    "teacher": "teacher",
    "student": "student",
}
"""The keys of `encoders` in summary.json, from the floors up, and what probes call them."""
_KEYS = {name: key for key, name in ROWS.items()}


def demo_summary(
    probes: Mapping[str, Mapping[str, Any]], train_flops: int, *, seconds: float
) -> dict[str, Any]:
    """Return what summary.json holds.

    Args:
        probes: what probe.json of each task says.
        train_flops: exact FLOPs of both stages.
        seconds: of the whole demo, all sittings together.

    Returns:
        `seconds`, `train_flops`, `chance` by task, and `encoders`: by key of `ROWS` and task the
        `accuracy` on the test videos and its 95 % interval `ci95`.
    """
    scores: dict[str, dict[str, Any]] = {key: {} for key in ROWS}
    for task, probe in probes.items():
        for encoder in probe["encoders"]:
            scores[_KEYS[encoder["name"]]][task] = _score(encoder["metrics"])
    return {
        "seconds": round(seconds, 1),
        "train_flops": train_flops,
        "chance": {task: probe["chance"]["uniform"] for task, probe in probes.items()},
        "encoders": scores,
    }


def _score(metrics: Mapping[str, Any]) -> dict[str, Any]:
    interval = metrics["interval"]
    return {"accuracy": metrics["accuracy"], "ci95": [interval["low"], interval["high"]]}


def demo_table(summary: Mapping[str, Any], num_labels: int) -> "Table":
    """Return the accuracies as a table."""
    from rich.table import Table
    from rich.text import Text

    title = f"linear probes with {num_labels} labels: accuracy on test videos"
    table = Table(title=title, title_justify="left")
    table.add_column("features")
    for task in TASKS:
        table.add_column(Text(f"{task} [95 %]"), justify="right", no_wrap=True)
    for key, name in ROWS.items():
        cells = []
        for task in TASKS:
            score = summary["encoders"][key][task]
            low, high = score["ci95"]
            cells.append(f"{score['accuracy']:.1%} [{low:.1%}, {high:.1%}]")
        table.add_row(name, *cells)
    table.add_row("chance", *(f"{summary['chance'][task]:.1%}" for task in TASKS))
    return table
