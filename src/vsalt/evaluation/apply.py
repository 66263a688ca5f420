"""A saved probe on other rows: `vsalt probe eval` scores it, `vsalt probe predict` only answers.

Windows, views, layers and pooling are those that the probe was fitted with; the encoder must be
the very one. A head on a floor needs none.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from vsalt import durable
from vsalt.config import from_dict
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.manifest import Row, read_source
from vsalt.data.urls import Location
from vsalt.errors import DataError, WeightsError
from vsalt.evaluation import pooled
from vsalt.evaluation.attentive import AttentiveHead
from vsalt.evaluation.attentive_prober import (
    head_training,
    testing_clips,
    token_reader,
)
from vsalt.evaluation.floors import FloorName, floor
from vsalt.evaluation.heads import AttentiveKind, PooledKind
from vsalt.evaluation.metrics import measure
from vsalt.evaluation.probe import ProbeOptions, exposure_of_subject
from vsalt.evaluation.protocol import group_numbers
from vsalt.evaluation.result import Scores
from vsalt.evaluation.saved import TRAINED_ON, SavedHead
from vsalt.evaluation.subjects import EncoderSubject, Subject, trained
from vsalt.evaluation.transductive import exposure_of
from vsalt.models.weights import load_strictly
from vsalt.training.extract import ExtractConfig, Progress
from vsalt.training.locate import LoadedEncoder

SCORES = "scores.json"
PREDICTIONS = "predictions.jsonl"
BAD = "bad.jsonl"
_NAMES_SHOWN = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a saved probe says of rows.

    Attributes:
        rows: those that could be read.
        readable: which of the rows that were asked for these are.
        classes: C names.
        probabilities: of each class for each row.
        bad: the others, and why they cannot be read.
        head: what answered.
    """

    rows: tuple[Row, ...]
    readable: Bool[np.ndarray, "asked"]
    classes: tuple[str, ...]
    probabilities: Float[np.ndarray, "rows C"]
    bad: tuple[tuple[Row, str], ...]
    head: SavedHead


def answer_rows(
    head: SavedHead,
    subject: Subject,
    rows: Sequence[Row],
    *,
    workers: int = 0,
    batch_size: int = 16,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    limits: ReadLimits | None = None,
    on_progress: Progress | None = None,
) -> Answers:
    """Let a saved probe answer rows.

    Args:
        head: of `read_head`, for this subject.
        subject: of `subject_of`, what the head was fitted to.
        rows: what to answer.
        workers: processes that decode.
        batch_size: clips that are encoded at once.
        device: auto, cpu or cuda.
        limits: what a file may cost; None is `ReadLimits()`.
        on_progress: is called with the rows done and their number.

    Raises:
        WeightsError: if the head's weights do not fit.
    """
    options = from_dict(ProbeOptions, head.options)
    extract = replace(
        options.extract,
        workers=workers,
        batch_size=batch_size,
        device=device,
        limits=limits or ReadLimits(),
    )
    match options.kind:
        case "linear" | "knn" as kind:
            found, errors = _pooled(head, kind, subject, rows, extract, on_progress)
        case kind:
            assert isinstance(subject, EncoderSubject), "attentive probes have no floors"
            found, errors = _attentive(head, kind, options, subject, rows, extract, on_progress)
    return Answers(
        rows=tuple(row for index, row in enumerate(rows) if index not in errors),
        readable=np.array([index not in errors for index in range(len(rows))], dtype=bool),
        classes=head.classes,
        probabilities=found,
        bad=tuple((rows[index], text) for index, text in sorted(errors.items())),
        head=head,
    )


def subject_of(head: SavedHead, loaded: LoadedEncoder | FloorName) -> Subject:
    """Return what a head was fitted to, with the clips that it was fitted with.

    Args:
        head: of `read_head`.
        loaded: the encoder, or the name of the floor.
    """
    clip = from_dict(ClipConfig, head.encoder["clip"])
    antialias = head.encoder["antialias"]
    if isinstance(loaded, str):
        return floor(loaded, clip, antialias=antialias)
    return replace(trained(head.encoder["name"], loaded), clip=clip, antialias=antialias)


def _pooled(
    head: SavedHead,
    kind: PooledKind,
    subject: Subject,
    rows: Sequence[Row],
    extract: ExtractConfig,
    on_progress: Progress | None,
) -> tuple[Float[np.ndarray, "readable C"], dict[int, str]]:
    try:
        fitted = pooled.load_head(kind, head.tensors, head.settings, len(head.classes))
    except KeyError as error:
        raise WeightsError(f"{head.probe} has no tensor {error} for this head") from error
    return pooled.answer(fitted, subject, rows, extract, on_progress)


def _attentive(
    head: SavedHead,
    kind: AttentiveKind,
    options: ProbeOptions,
    subject: EncoderSubject,
    rows: Sequence[Row],
    extract: ExtractConfig,
    on_progress: Progress | None,
) -> tuple[Float[np.ndarray, "readable C"], dict[int, str]]:
    config, num_classes = options.attentive, len(head.classes)
    clips = testing_clips(subject, config)
    errors: dict[int, str] = {}
    reader = token_reader([subject], rows, clips, config.layers, extract, seed=options.seed)
    reader = replace(reader, errors=errors)
    training = head_training(
        kind, config, reader, extract, num_classes=num_classes, seed=options.seed
    )
    classifier = training.new_classifier(subject.encoder)
    load_strictly(classifier, head.tensors, str(head.probe))
    fitted = AttentiveHead(classifier=classifier.eval(), settings=head.settings)
    ((found,),) = training.answer(reader, [[fitted]], np.arange(len(rows)), on_progress)
    return found[[index for index in range(len(rows)) if index not in errors]], errors


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The rows of a source that are scored.

    Attributes:
        rows: labelled, and of the split that was asked for.
        labels: index of each row's class among those of the probe.
        groups: index of each row's group, or None.
        left_out: number of other rows, by reason.
    """

    rows: tuple[Row, ...]
    labels: Int64[np.ndarray, "rows"]
    groups: Int64[np.ndarray, "rows"] | None
    left_out: dict[str, int]


def select_rows(
    source: Location,
    head: SavedHead,
    *,
    label_column: str | None = None,
    split_column: str | None = None,
    split: str | None = None,
    group_column: str | None = None,
) -> Selection:
    """Return the rows to score; columns that are not named are those the probe was fitted with.

    Raises:
        DataError: if there is none, a column does not exist, or labels are not among the probe's
            classes.
    """
    task = from_dict(ProbeOptions, head.options).task
    label_column = label_column or task.label_column
    split_column = split_column or task.split_column
    every = read_source(source).rows
    rows = [row for row in every if row.columns.get(label_column)]
    left_out = {"no label": len(every) - len(rows)} if len(rows) < len(every) else {}
    if split is not None:
        wanted = split.casefold()
        kept = [row for row in rows if row.columns.get(split_column, "").casefold() == wanted]
        if len(kept) < len(rows):
            left_out["another split"] = len(rows) - len(kept)
        rows = kept
    if not rows:
        where = f" whose {split_column} is {split}" if split is not None else ""
        raise DataError(
            f"no row of {source} has a {label_column}{where}; give --label-column, "
            "--split-column or --split"
        )
    return Selection(
        rows=tuple(rows),
        labels=_labels(rows, label_column, head.classes),
        groups=group_numbers(rows, group_column or task.group_column),
        left_out=left_out,
    )


def _labels(
    rows: Sequence[Row], column: str, classes: tuple[str, ...]
) -> Int64[np.ndarray, "rows"]:
    number = {name: index for index, name in enumerate(classes)}
    unknown = sorted({row.columns[column] for row in rows} - number.keys())
    if unknown:
        more = " …" if len(classes) > _NAMES_SHOWN else ""
        raise DataError(
            f"the probe does not know {len(unknown)} of the labels: "
            f"{', '.join(unknown[:_NAMES_SHOWN])}. It knows {', '.join(classes[:_NAMES_SHOWN])}"
            + more
        )
    return np.array([number[row.columns[column]] for row in rows], dtype=np.int64)


def score(answers: Answers, selection: Selection, subject: Subject, *, seed: int = 0) -> Scores:
    """Compare the answers of `selection.rows` with their labels.

    Raises:
        DataError: if no row could be read.
    """
    if not answers.rows:
        raise DataError("none of the rows can be read")
    kept = answers.readable
    left_out = dict(selection.left_out)
    if answers.bad:
        left_out["unreadable"] = len(answers.bad)
    groups = selection.groups
    return Scores(
        metrics=measure(
            selection.labels[kept],
            answers.probabilities.argmax(axis=1),
            classes=answers.classes,
            groups=None if groups is None else groups[kept],
            seed=seed,
        ),
        classes=answers.classes,
        left_out=left_out,
        num_groups=None if groups is None else len(np.unique(groups[kept])),
        pretraining=exposure_of_subject(subject, answers.rows),
        probe=exposure_of([answers.head.probe / TRAINED_ON], answers.rows, part=answers.head.part),
    )


def write_answers(
    answers: Answers, out: Path, *, top: int = 5, label_column: str | None = None
) -> None:
    """Write what a probe says of each row, and which rows could not be read.

    Args:
        answers: of `answer_rows`.
        out: folder, which exists.
        top: how many classes to name per row, the most probable first.
        label_column: of rows whose own label is to stand beside.
    """
    lines = []
    for row, shares in zip(answers.rows, answers.probabilities, strict=True):
        order = np.argsort(-shares, kind="stable")[:top]
        best = {answers.classes[index]: round(float(shares[index]), 6) for index in order}
        record = {
            "path": row.relative_path,
            "start_s": row.start_s,
            "end_s": row.end_s,
            **({} if label_column is None else {"label": row.columns[label_column]}),
            "predicted": answers.classes[order[0]],
            "probabilities": best,
        }
        lines.append(json.dumps(record) + "\n")
    durable.write_file(out / PREDICTIONS, "".join(lines))
    bad = [
        {"path": row.relative_path, "start_s": row.start_s, "end_s": row.end_s, "error": text}
        for row, text in answers.bad
    ]
    durable.write_file(out / BAD, "".join(f"{json.dumps(record)}\n" for record in bad))


def write_scores(scores: Scores, out: Path) -> None:
    """Write the scores to `out`, which exists."""
    durable.write_json(out / SCORES, dataclasses.asdict(scores))
