"""Run folders and probes as `vsalt.report` finds them, written without training anything."""

import copy
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STAGE: dict[str, Any] = {
    "method": {"name": "pixel"},
    "masks": {"name": "multiblock"},
    "encoder": {"size": "Ti", "width": 128, "depth": 6, "tubelet": [2, 16, 16]},
    "predictor": {"width": 96, "depth": 3},
    "optim": {"lr": 0.001},
    "loop": {"steps": 40, "batch_size": 8, "health_every": 10},
}
SHARED: dict[str, Any] = {
    "seed": 0,
    "clip": {"num_frames": 16, "size": [64, 64], "frame_step": 1, "fps": None},
    "data": {"sources": ["/videos/labels.csv"]},
}


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def train_records(steps: Iterable[int], **values: Any) -> list[dict[str, Any]]:
    """Records of metrics.jsonl; a value may be a function of the step."""
    return [
        {
            "kind": "train",
            "step": step,
            "clips": 8 * step,
            "flops_exact": 1000 * step,
            "flops_six_nd": 900.5 * step,
            "bad_reads": 0,
            "loss": 1 / step,
            "lr": 0.001,
            **{name: value(step) if callable(value) else value for name, value in values.items()},
        }
        for step in steps
    ]


def val_records(losses: Mapping[int, float | None]) -> list[dict[str, Any]]:
    return [
        {"kind": "val", "step": step, "clips": 8 * step, "val_loss": loss}
        for step, loss in losses.items()
    ]


def write_stage(
    folder: Path,
    *,
    metrics: Iterable[Mapping[str, Any]] | None = None,
    steps: int = 40,
    method: str = "pixel",
    masks: str = "multiblock",
    lr: float = 0.001,
    source: str = "/videos/labels.csv",
    teacher_sha256: str | None = None,
) -> Path:
    """Write a stage's folder: config, environment and metrics."""
    folder.mkdir(parents=True)
    stage = copy.deepcopy(STAGE)
    stage["method"]["name"] = method
    stage["masks"]["name"] = masks
    stage["optim"]["lr"] = lr
    stage["loop"]["steps"] = steps
    shared = {**SHARED, "data": {"sources": [source]}}
    record = {
        "kind": "stage",
        "vsalt": "0.1.0",
        "config": {**shared, "stage": stage, "init_seed": None},
        "data": {"num_train": 90, "num_holdout": 10},
        "teacher_sha256": teacher_sha256,
    }
    (folder / "config.json").write_text(json.dumps(record))
    start = {"started": "2026-01-01T00:00:00+00:00", "command": ["vsalt", "salt"], "torch": "2.13"}
    (folder / "environment.json").write_text(json.dumps({"starts": [{**start, "threads": 1}]}))
    if metrics is not None:
        write_lines(folder / "metrics.jsonl", metrics)
    return folder


def write_salt(folder: Path, **options: Any) -> Path:
    """Write a run of two finished stages; `options` are those of `write_stage` for both."""
    steps = options.get("steps", 40)
    metrics = options.pop("metrics", None)
    if metrics is None:
        metrics = train_records(range(1, steps + 1), rankme=lambda step: 20.0 + step)
        metrics += val_records({steps // 2: 0.5, steps: 0.25})
    stages = {}
    for name, method in (("teacher", "pixel"), ("student", "salt")):
        place = write_stage(folder / name, metrics=metrics, method=method, **options)
        timings = [
            {"step": step, "clips_per_s": 4.0, "data_wait_share": 0.25, "elapsed_s": 2.0 * step}
            for step in range(1, steps + 1)
        ]
        write_lines(place / "timings.jsonl", timings)
        config = json.loads((place / "config.json").read_text())["config"]
        stages[name] = config.pop("stage")
    del config["init_seed"]
    record = {"kind": "salt", "vsalt": "0.1.0", "config": {**config, "assistant": None, **stages}}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


def write_probe(
    folder: Path,
    *,
    names: Iterable[str] = ("student",),
    classes: Iterable[str] = ("up", "down"),
    source: str = "labels.csv",
    stages: Mapping[str, str] = {},
    num_test_groups: int | None = None,
) -> Path:
    """Write what `vsalt probe fit` writes, as far as a report reads it.

    Without `stages`, by name, as earlier versions did.
    """
    folder.mkdir(parents=True)
    roles = [(name, "trained") for name in names] + [("random init", "random-init")]
    record = {
        "kind": "linear",
        "source": source,
        "options": {"task": {"label_column": "motion"}},
        "classes": list(classes),
        "chance": {"uniform": 0.5, "majority": 0.55},
        "encoders": [_scored(name, role, list(classes)) for name, role in roles],
    }
    for entry in record["encoders"] if stages else ():
        entry["stage"] = stages.get(entry["name"])
    if num_test_groups is not None:
        record["num_test_groups"] = num_test_groups
        for entry in record["encoders"]:
            entry["metrics"]["interval"]["method"] = "group bootstrap"
    (folder / "probe.json").write_text(json.dumps(record))
    return folder


def _scored(name: str, role: str, classes: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "checkpoint": f"/runs/{name}/checkpoints/step-40" if role == "trained" else None,
        "step": 40 if role == "trained" else None,
        "exposure": {"kind": "inductive", "num_seen": 0, "num_test": 40},
        "metrics": {
            "num_rows": 40,
            "accuracy": 0.7,
            "balanced_accuracy": 0.68,
            "interval": {"low": 0.61, "high": 0.79, "method": "wilson"},
            "classes": [{"name": each, "recall": 0.5} for each in classes],
        },
        "parts": [{"selected_on": "selection", "converged": True}],
    }
