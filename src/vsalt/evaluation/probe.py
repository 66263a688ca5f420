"""`vsalt probe fit`: from encoders and labelled videos to scores, heads and predictions on disk.

OUT/
  probe.json          everything that was found, and all settings; written last
  probe.safetensors   the heads, named encoder<i>.part<j>.<tensor> in the order of probe.json
  predictions.jsonl   one line per encoder and test row
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vsalt import __version__
from vsalt.config import to_dict
from vsalt.data.manifest import Row, read_source
from vsalt.errors import DataError, RunFolderError
from vsalt.evaluation.heads import PARAMETERS, FittedPart, Kind, fit_part
from vsalt.evaluation.metrics import chance_of, measure
from vsalt.evaluation.protocol import Task, TaskOptions, make_task
from vsalt.evaluation.result import (
    EncoderResult,
    PartResult,
    PartSize,
    ProbeResult,
    Unreadable,
)
from vsalt.evaluation.subjects import Subject, extract_all, random_init, trained
from vsalt.evaluation.transductive import Exposure, exposure_of
from vsalt.models.weights import save_weights
from vsalt.training import run_folder
from vsalt.training.extract import ExtractConfig, Progress
from vsalt.training.locate import LoadedEncoder

RESULT = "probe.json"
HEADS = "probe.safetensors"
PREDICTIONS = "predictions.jsonl"
_BAD_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Settings of a probe.

    Attributes:
        kind: of the heads.
        task: how rows become training, selection and test rows.
        extract: how features are computed.
        random_init: probe a randomly initialised encoder of the first one's configuration, too.
        skip_bad: leave out files that cannot be read, instead of refusing to go on.
        seed: of the random initialisation and the bootstrap.
    """

    kind: Kind = "linear"
    task: TaskOptions = field(default_factory=TaskOptions)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    random_init: bool = True
    skip_bad: bool = False
    seed: int = 0


def fit_probe(
    encoders: Mapping[str, LoadedEncoder],
    source: Path,
    out: Path,
    options: ProbeOptions,
    *,
    on_progress: Progress | None = None,
) -> ProbeResult:
    """Probe encoders on a labelled source, and write what is found to `out`.

    Args:
        encoders: by the name they shall have in tables.
        source: a folder of videos or a manifest.
        out: folder to make; must not exist or be empty.
        options: settings.
        on_progress: is called with the rows extracted and their number.

    Raises:
        DataError: if the source does not make a task, or files cannot be read (all are named)
            and `skip_bad` is off.
        RunFolderError: if `out` is in use or cannot be written.
    """
    _claim(out)
    task = make_task(read_source(source).rows, options.task)
    subjects = [trained(name, loaded) for name, loaded in encoders.items()]
    if options.random_init:
        subjects.append(random_init(subjects[0].config, seed=options.seed))
    found = extract_all(subjects, task.rows, options.extract, on_progress=on_progress)
    unreadable = tuple(
        Unreadable(path=task.rows[index].relative_path, error=text)
        for index, text in sorted(found.errors.items())
    )
    if unreadable:
        task = _without(task, found.rows, unreadable, options)
    fits = [_fit_parts(options.kind, features, task) for features in found.features]
    predicted = [_pool(task, parts) for parts in fits]
    result = ProbeResult(
        vsalt=__version__,
        kind=options.kind,
        parameter=PARAMETERS[options.kind],
        source=str(source),
        options=dataclasses.asdict(options),
        num_rows=len(task.rows),
        classes=task.classes,
        parts=_sizes(task),
        left_out=task.left_out,
        unreadable=unreadable,
        num_groups=None if task.groups is None else len(np.unique(task.groups)),
        num_shared_test_rows=task.num_shared_test_rows,
        chance=chance_of(
            [(task.labels[part.train], task.labels[part.test]) for part in task.parts],
            len(task.classes),
        ),
        encoders=tuple(
            _describe(subject, task, parts, answers, features.shape[1], options.seed)
            for subject, parts, answers, features in zip(
                subjects, fits, predicted, found.features, strict=True
            )
        ),
    )
    _write(out, result, task, fits)
    return result


def _claim(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise RunFolderError(f"{out} exists and is not empty; choose another --out")
    run_folder.create_folder(out)


def _without(
    task: Task, readable: Sequence[int], unreadable: Sequence[Unreadable], options: ProbeOptions
) -> Task:
    """Return the task of the rows that can be read, if that is wanted."""
    if not options.skip_bad:
        lines = [f"  {bad.error}" for bad in unreadable[:_BAD_SHOWN]]
        if len(unreadable) > _BAD_SHOWN:
            lines.append(f"  and {len(unreadable) - _BAD_SHOWN} more")
        raise DataError(
            f"{len(unreadable)} of {len(task.rows)} videos cannot be read; mend them, or leave "
            "them out by --skip-bad:\n" + "\n".join(lines)
        )
    rows: list[Row] = [task.rows[index] for index in readable]
    left_out = {**task.left_out, "unreadable": len(unreadable)}
    return dataclasses.replace(make_task(rows, options.task), left_out=left_out)


def _fit_parts(kind: Kind, features: Float[Tensor, "rows F"], task: Task) -> list[FittedPart]:
    labels = torch.from_numpy(task.labels)
    num_classes = len(task.classes)
    return [fit_part(kind, features, labels, part, num_classes=num_classes) for part in task.parts]


@dataclass(frozen=True)
class _Pooled:
    """Test rows of all parts together: their indices, and the class each was taken for."""

    rows: np.ndarray
    predicted: np.ndarray


def _pool(task: Task, fits: Sequence[FittedPart]) -> _Pooled:
    return _Pooled(
        rows=np.concatenate([part.test for part in task.parts]),
        predicted=np.concatenate([fit.predicted for fit in fits]),
    )


def _sizes(task: Task) -> tuple[PartSize, ...]:
    return tuple(
        PartSize(
            name=part.name,
            num_fit=len(part.fit),
            num_selection=len(part.selection),
            num_test=len(part.test),
        )
        for part in task.parts
    )


def _describe(
    subject: Subject,
    task: Task,
    fits: Sequence[FittedPart],
    pooled: _Pooled,
    num_features: int,
    seed: int,
) -> EncoderResult:
    loaded = subject.loaded
    test_rows = [task.rows[index] for index in pooled.rows]
    exposure = Exposure(kind="none", num_seen=0, num_test=len(test_rows))
    return EncoderResult(
        name=subject.name,
        role=subject.role,
        checkpoint=None if loaded is None else str(loaded.checkpoint.path),
        step=None if loaded is None else loaded.checkpoint.step,
        sha256=subject.sha256,
        clip=to_dict(subject.config.clip),
        num_features=num_features,
        exposure=exposure if loaded is None else exposure_of(loaded.seen, test_rows),
        metrics=measure(
            task.labels[pooled.rows],
            pooled.predicted,
            classes=task.classes,
            groups=None if task.groups is None else task.groups[pooled.rows],
            seed=seed,
        ),
        parts=tuple(_part_results(task, fits)),
    )


def _part_results(task: Task, fits: Sequence[FittedPart]) -> list[PartResult]:
    results = []
    for part, fit in zip(task.parts, fits, strict=True):
        metrics = measure(task.labels[part.test], fit.predicted, classes=task.classes)
        results.append(
            PartResult(
                name=part.name,
                value=float(fit.head.value),
                converged=fit.head.converged,
                accuracy=metrics.accuracy,
                balanced_accuracy=metrics.balanced_accuracy,
                trials=fit.trials,
            )
        )
    return results


def _write(
    out: Path, result: ProbeResult, task: Task, fits: Sequence[Sequence[FittedPart]]
) -> None:
    heads = {
        f"encoder{index}.part{number}.{name}": tensor
        for index, parts in enumerate(fits)
        for number, part in enumerate(parts)
        for name, tensor in part.head.tensors().items()
    }
    lines = [
        json.dumps(
            {
                "encoder": encoder.name,
                "part": part.name,
                "path": task.rows[row].relative_path,
                "start_s": task.rows[row].start_s,
                "end_s": task.rows[row].end_s,
                "label": task.classes[task.labels[row]],
                "predicted": task.classes[answer],
            }
        )
        + "\n"
        for encoder, parts in zip(result.encoders, fits, strict=True)
        for part, fit in zip(task.parts, parts, strict=True)
        for row, answer in zip(part.test, fit.predicted, strict=True)
    ]
    with run_folder.explain_write_errors(f"to {out}"):
        save_weights(out / HEADS, heads)
    run_folder.write_file(out / PREDICTIONS, "".join(lines))
    run_folder.write_json(out / RESULT, result.to_dict())
