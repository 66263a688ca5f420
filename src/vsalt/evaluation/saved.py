"""A probe on disk: written by `vsalt probe fit`, read by `vsalt probe eval` and `probe predict`.

OUT/
  probe.json          everything that was found, and all settings; written last
  probe.safetensors   the heads, named encoder<i>.part<j>.<tensor> in the order of probe.json
  predictions.jsonl   one line per encoder and test row
  trained_on.jsonl    the rows that probes were trained on or chosen by, with their parts
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vsalt import durable
from vsalt.data.catalogue import ask_sizes, seen_row
from vsalt.errors import RunFolderError, WeightsError
from vsalt.evaluation.heads import FittedPart
from vsalt.evaluation.protocol import Task
from vsalt.evaluation.result import ProbeResult
from vsalt.models.weights import part_of, read_weights, save_weights, weights_hash

RESULT = "probe.json"
HEADS = "probe.safetensors"
PREDICTIONS = "predictions.jsonl"
TRAINED_ON = "trained_on.jsonl"


def write_probe(
    out: Path,
    result: ProbeResult,
    task: Task,
    fits: Sequence[Sequence[FittedPart]],
    trained_on: Sequence[str],
) -> None:
    """Write a probe's files.

    Args:
        out: folder, which exists.
        result: of the probe.
        task: its rows.
        fits: the parts of every encoder, in the result's order.
        trained_on: of `trained_on_lines`.
    """
    heads = {
        f"encoder{index}.part{number}.{name}": tensor
        for index, parts in enumerate(fits)
        for number, part in enumerate(parts)
        for name, tensor in part.head.tensors().items()
    }
    with durable.explain_write_errors(f"to {out}"):
        save_weights(out / HEADS, heads)
    durable.write_file(out / PREDICTIONS, "".join(_predictions(result, task, fits)))
    durable.write_file(out / TRAINED_ON, "".join(trained_on))
    record = {**result.to_dict(), "heads_sha256": weights_hash(heads)}
    record["use_sha256"] = _use_hash(record)
    durable.write_json(out / RESULT, record)


def _use_hash(record: dict[str, Any]) -> str:
    """Hash of all that decides what the heads are given: encoders, sampling, classes."""
    encoders = [
        [
            *(own["sha256"], own["clip"], own["antialias"]),
            [[part["name"], part["settings"]] for part in own["parts"]],
        ]
        for own in record["encoders"]
    ]
    use = [record["kind"], record["classes"], record["options"], encoders]
    return hashlib.sha256(json.dumps(use, sort_keys=True).encode()).hexdigest()


def _predictions(
    result: ProbeResult, task: Task, fits: Sequence[Sequence[FittedPart]]
) -> list[str]:
    lines = []
    for encoder, parts in zip(result.encoders, fits, strict=True):
        for part, fit in zip(task.parts, parts, strict=True):
            for row, answer, shares in zip(
                part.test, fit.predicted, fit.probabilities, strict=True
            ):
                record = {
                    "encoder": encoder.name,
                    "part": part.name,
                    "path": task.rows[row].relative_path,
                    "start_s": task.rows[row].start_s,
                    "end_s": task.rows[row].end_s,
                    "label": task.classes[task.labels[row]],
                    "predicted": task.classes[answer],
                    "probability": round(float(shares[answer]), 6),
                }
                lines.append(json.dumps(record) + "\n")
    return lines


def trained_on_lines(task: Task, *, chosen_on_test: bool) -> list[str]:
    """Return a line for each row that a probe learns from, with the parts in which it does.

    Args:
        task: the rows.
        chosen_on_test: whether the test rows choose among probes, and so count, too.

    Raises:
        DataError: if a file has gone.
    """
    parts_of: dict[int, list[str]] = {}
    for part in task.parts:
        rows = [*part.train.tolist(), *(part.test.tolist() if chosen_on_test else [])]
        for row in rows:
            parts_of.setdefault(row, []).append(part.name)
    ask_sizes([task.rows[row] for row in parts_of])
    return [
        json.dumps({**seen_row(task.rows[row], "train")._asdict(), "parts": names}) + "\n"
        for row, names in sorted(parts_of.items())
    ]


@dataclass(frozen=True, kw_only=True)
class SavedHead:
    """One head of a saved probe, and what it must be used with.

    Attributes:
        probe: the probe's folder.
        part: name of its part.
        classes: names, in the order of its outputs.
        options: all settings of the probe, as plain values.
        encoder: what probe.json says of its encoder.
        settings: the head's hyper-parameters.
        tensors: its weights.
    """

    probe: Path
    part: str
    classes: tuple[str, ...]
    options: dict[str, Any]
    encoder: dict[str, Any]
    settings: dict[str, float]
    tensors: dict[str, Tensor]


def read_head(probe: Path, sha256: str, part: str | None) -> SavedHead:
    """Read the head that a probe has for an encoder.

    Args:
        probe: folder that `vsalt probe fit` wrote.
        sha256: hash of the encoder's weights, or `rule_hash` of a floor.
        part: name of the part; not needed where there is one.

    Raises:
        RunFolderError: if there is no probe, or not that part.
        WeightsError: if the weights are damaged, or of other encoders only.
    """
    record = durable.read_json(probe / RESULT)
    try:
        return _head(probe, record, sha256, part)
    except (KeyError, TypeError) as error:
        why = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise RunFolderError(
            f"{probe / RESULT} is not a probe that this version can read ({why}); fit it anew"
        ) from error


def _head(probe: Path, record: dict[str, Any], sha256: str, part: str | None) -> SavedHead:
    if _use_hash(record) != record["use_sha256"]:
        raise RunFolderError(
            f"{probe / RESULT} was changed: its sampling, classes or encoders are not those that "
            "the probe was fitted with; put it back, or fit the probe anew"
        )
    tensors = read_weights(probe / HEADS)
    if weights_hash(tensors) != record["heads_sha256"]:
        raise WeightsError(
            f"{probe / HEADS} is damaged, or not the file that belongs to {RESULT}; fit the probe "
            "anew"
        )
    index = _find_encoder(probe, record, sha256)
    encoder = record["encoders"][index]
    names = [own["name"] for own in encoder["parts"]]
    if part is None and len(names) > 1:
        raise RunFolderError(
            f"{probe} has a head for each of the parts {', '.join(names)}; name one by --part"
        )
    if part is not None and part not in names:
        raise RunFolderError(f"{probe} has no part {part!r}; there are {', '.join(names)}")
    number = names.index(part) if part is not None else 0
    return SavedHead(
        probe=probe,
        part=names[number],
        classes=tuple(record["classes"]),
        options=record["options"],
        encoder=encoder,
        settings=encoder["parts"][number]["settings"],
        tensors=part_of(tensors, f"encoder{index}.part{number}"),
    )


def _find_encoder(probe: Path, record: dict[str, Any], sha256: str) -> int:
    for index, encoder in enumerate(record["encoders"]):
        if encoder["sha256"] == sha256:
            return index
    known = "\n".join(
        f"  {encoder['sha256'][:12]}  {encoder['name']}"
        for encoder in record["encoders"]
        if encoder["role"] != "random-init"
    )
    raise WeightsError(
        f"{probe} was not fitted to this encoder or floor ({sha256[:12]}); its heads belong to\n"
        f"{known}\nGive one of these as --encoder or --floor, or fit a probe to yours"
    )
