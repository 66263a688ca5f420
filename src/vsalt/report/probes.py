"""What a folder of `vsalt probe fit` says, read as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.errors import RunFolderError
from vsalt.training.encoder_names import EncoderName, name_encoders

RESULT = "probe.json"
TRAINED = "trained"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One row of a probe's table.

    Attributes:
        name: of the encoder as it was given, or of what took its place.
        stage: what a trained encoder is to its run; None if it is not known.
        role: `trained`, or what it is beside the trained ones.
        accuracy: share of test rows that are right.
        interval: ends of its 95 % interval; None if too few groups are resampled for one.
        balanced_accuracy: mean recall over the classes.
        num_rows: test rows.
        exposure: whether pretraining has seen test rows, in words.
        recalls: by class; None for a class without rows.
    """

    name: str
    role: str
    stage: str | None
    accuracy: float
    interval: tuple[float, float] | None
    balanced_accuracy: float
    num_rows: int
    exposure: str
    recalls: tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """A probe.

    Attributes:
        folder: as given.
        kind: of the heads, such as `linear`.
        target: name of the column that is predicted.
        source: the data.
        classes: their names.
        scores: in the order of the file.
        uniform: accuracy of an even guess.
        majority: accuracy of always answering the most frequent training class.
        notes: what a reader of the numbers has to know, in sentences.
    """

    folder: Path
    kind: str
    target: str
    source: str
    classes: tuple[str, ...]
    scores: tuple[Score, ...]
    uniform: float
    majority: float
    notes: tuple[str, ...]


def read_probe(folder: Path) -> ProbeRecord:
    """Read the result of a probe.

    Raises:
        RunFolderError: if there is none, or it is not one that this version reads.
    """
    if not (folder / RESULT).is_file():
        what = f"it has no {RESULT}" if folder.exists() else "it does not exist"
        raise RunFolderError(
            f"{folder} holds no probe: {what}. --probe takes the --out of `vsalt probe fit`"
        )
    record = durable.read_json(folder / RESULT)
    try:
        return ProbeRecord(
            folder=folder,
            kind=str(record["kind"]),
            target=str(record["options"]["task"]["label_column"]),
            source=str(record["source"]),
            classes=tuple(map(str, record["classes"])),
            scores=tuple(_score(entry, record) for entry in record["encoders"]),
            uniform=float(record["chance"]["uniform"]),
            majority=float(record["chance"]["majority"]),
            notes=tuple(_notes(record)),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RunFolderError(
            f"{folder / RESULT} is not as `vsalt probe fit` writes it: "
            f"{type(error).__name__} {error}. Fit the probe again with this version"
        ) from error


def _score(entry: dict[str, Any], record: dict[str, Any]) -> Score:
    metrics, ends = entry["metrics"], entry["metrics"]["interval"]
    recalls = [one["recall"] for one in metrics["classes"]]
    return Score(
        name=str(entry["name"]),
        role=str(entry["role"]),
        # Probes of earlier versions do not say it.
        stage=entry.get("stage"),
        accuracy=float(metrics["accuracy"]),
        interval=None if _too_few(record) else (float(ends["low"]), float(ends["high"])),
        balanced_accuracy=float(metrics["balanced_accuracy"]),
        num_rows=int(metrics["num_rows"]),
        exposure=_exposure(entry),
        recalls=tuple(None if recall is None else float(recall) for recall in recalls),
    )


def _when(step: int | None) -> str:
    return "imported" if step is None else f"of step {step}"


def _too_few(record: dict[str, Any]) -> bool:
    """Whether the intervals are a bootstrap over so few groups that they would mislead."""
    method = record["encoders"][0]["metrics"]["interval"]["method"]
    num_groups = record.get("num_test_groups")
    return method == "group bootstrap" and num_groups is not None and num_groups < TOO_FEW_GROUPS


def _exposure(entry: dict[str, Any]) -> str:
    if entry["role"] == "floor":
        return "no network"
    exposure = entry["exposure"]
    kind, seen, test = exposure["kind"], exposure["num_seen"], exposure["num_test"]
    return {
        "none": "not trained",
        "inductive": "no test rows",
        "transductive": f"{seen} of {test} test rows",
    }.get(kind, str(kind))


def _notes(record: dict[str, Any]) -> list[str]:
    """Return what `vsalt probe fit` says below its tables."""
    first = record["encoders"][0]
    method = first["metrics"]["interval"]["method"]
    names = name_encoders([(str(one["name"]), one.get("stage")) for one in record["encoders"]])
    notes = [f"95 % intervals: {INTERVALS.get(method, method)}."]
    # A probe is shown beside whatever runs are asked for; its weights need not be theirs.
    notes += [
        f"Weights of {name}: {entry['checkpoint']}, {_when(entry['step'])}."
        for name, entry in zip(names, record["encoders"], strict=True)
        if entry["checkpoint"] is not None
    ]
    selected = first["parts"][0]["selected_on"]
    notes.append(SELECTED.get(selected, f"Hyper-parameters were chosen on: {selected}."))
    notes += _about_groups(record)
    if record.get("num_shared_test_rows"):
        shared = record["num_shared_test_rows"]
        notes.append(f"{shared} test rows have training rows of their own group.")
    if record.get("left_out"):
        reasons = ", ".join(f"{reason}: {rows}" for reason, rows in record["left_out"].items())
        notes.append(f"Rows left out: {reasons}.")
    if record.get("passed_over"):
        rows = len(record["passed_over"])
        notes.append(f"Clips of {rows} training rows could not be read; see {RESULT}.")
    notes += _unconverged(names, record)
    return notes


def _about_groups(record: dict[str, Any]) -> list[str]:
    """Return what few groups make of the intervals."""
    num_groups = record.get("num_test_groups")
    if _too_few(record):
        return [f"The test rows are of {num_groups} groups only, too few for an interval."]
    if num_groups and num_groups < FEW_GROUPS:
        return [
            f"The test rows are of {num_groups} groups only; the intervals are rough, and too "
            "narrow rather than too wide."
        ]
    return []


def _unconverged(names: Sequence[EncoderName], record: dict[str, Any]) -> list[str]:
    stuck = [
        str(name)
        for name, entry in zip(names, record["encoders"], strict=True)
        if not all(part["converged"] for part in entry["parts"])
    ]
    return [f"The final fit did not converge for: {', '.join(stuck)}."] if stuck else []


FEW_GROUPS = 20
TOO_FEW_GROUPS = 5
INTERVALS = {
    "group bootstrap": "bootstrap over the groups of the test rows",
    "wilson": "Wilson, rows independent",
}
SELECTED = {
    "selection": "Hyper-parameters were chosen on a part of the training rows.",
    "test": "The best probe was chosen on the test rows, as the paper does: that is optimistic.",
    "nothing": "One set of hyper-parameters, nothing was chosen.",
}
