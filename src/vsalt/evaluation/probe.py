"""`vsalt probe fit`: from encoders and labelled videos to scores, heads and predictions on disk."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from vsalt import __version__, durable
from vsalt.config import to_dict
from vsalt.data.manifest import Row, read_source
from vsalt.data.urls import Location
from vsalt.errors import DataError, report_problems
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.attentive_prober import AttentiveProber, testing_clips
from vsalt.evaluation.floors import FLOORS, FloorSubject, floor
from vsalt.evaluation.heads import ATTENTIVE, FittedPart, Kind, Say
from vsalt.evaluation.metrics import chance_of, measure
from vsalt.evaluation.pooled import PooledProber
from vsalt.evaluation.protocol import Task, TaskOptions, make_task
from vsalt.evaluation.result import (
    EncoderResult,
    PartResult,
    PartSize,
    ProbeResult,
    Unreadable,
)
from vsalt.evaluation.saved import trained_on_lines, write_probe
from vsalt.evaluation.subjects import (
    EncoderSubject,
    Subject,
    SubjectFeatures,
    extract_all,
    random_init,
    trained,
)
from vsalt.evaluation.transductive import Exposure, exposure_of
from vsalt.training.extract import ExtractConfig, Progress
from vsalt.training.locate import LoadedEncoder

_BAD_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Settings of a probe.

    Attributes:
        kind: of the heads.
        task: how rows become training, selection and test rows.
        extract: how features are computed. Attentive probes have windows, frames and layers of
            their own, in `attentive`.
        attentive: how attentive probes are trained.
        protocol: name of the protocol that these settings began with.
        random_init: probe a randomly initialised encoder of the first one's configuration, too.
        floors: probe features without a network, too, of the clips that the first encoder is given.
        skip_bad: leave out files that cannot be read, instead of refusing to go on.
        seed: of the random initialisation and the bootstrap.
    """

    kind: Kind = "linear"
    task: TaskOptions = field(default_factory=TaskOptions)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    attentive: AttentiveConfig = field(default_factory=AttentiveConfig)
    protocol: str | None = None
    random_init: bool = True
    floors: bool = False
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what the settings say together."""
        if self.kind not in ATTENTIVE:
            if self.attentive != AttentiveConfig():
                report_problems(
                    [f"attentive.* settings mean nothing to kind {self.kind}; use --kind attentive"]
                )
            return
        given, default = self.extract, ExtractConfig()
        problems = []
        if self.floors:
            problems.append(
                f"floors have no tokens, which kind {self.kind} looks at; leave out --floors, or "
                "give --kind linear or knn"
            )
        report_problems(
            problems
            + [
                f"{name} is for linear and knn probes; use {instead}"
                for name, differs, instead in (
                    ("segments", given.windows != default.windows, "--attentive.segments"),
                    ("pooling", given.pooling != default.pooling, "no pooling"),
                    ("layers", given.layers != default.layers, "--attentive.layers"),
                )
                if differs
            ]
        )


@runtime_checkable
class Prober(Protocol):
    """Reads rows and fits heads: one way for each family of probes.

    Attributes:
        passed_over: why training clips were passed over, by index of their row in the task.
    """

    passed_over: dict[int, str]

    def check(self, task: Task) -> None:
        """Refuse at once what would fail later; raises `VsaltError`."""
        ...

    def read(self, rows: Sequence[Row], on_progress: Progress | None) -> dict[int, str]:
        """Look at every row; return why some cannot be read, by index."""
        ...

    def fit(self, task: Task, on_progress: Progress | None) -> list[list[FittedPart]]:
        """Fit the heads of every subject, one per part, to a task of the readable rows."""
        ...

    def num_features(self, index: int) -> int:
        """Length of the features of a subject."""
        ...


def fit_probe(
    encoders: Mapping[str, LoadedEncoder],
    source: Location,
    out: Path,
    options: ProbeOptions,
    *,
    extract: Callable[..., SubjectFeatures] = extract_all,
    on_progress: Progress | None = None,
    say: Say = print,
) -> ProbeResult:
    """Probe encoders on a labelled source, and write what is found to `out`.

    Args:
        encoders: by the name they shall have in tables.
        source: a folder of videos or a manifest.
        out: folder to make; must be new or empty.
        options: settings.
        extract: called as `extract_all` is, by probes on pooled features; for callers that have
            these already.
        on_progress: is called with the rows done and their number, anew for every pass over them.
        say: is called with what a user should know while it runs.

    Raises:
        DataError: if the source does not make a task, or files cannot be read (all are named)
            and `skip_bad` is off.
        RunFolderError: if `out` is in use or cannot be written.
    """
    networks = [trained(name, loaded) for name, loaded in encoders.items()]
    if options.random_init:
        networks.append(random_init(next(iter(encoders.values())).config, seed=options.seed))
    floors = _floors(networks[0]) if options.floors else []
    subjects: list[Subject] = [*networks, *floors]
    return fit_subjects(
        subjects, source, out, options, extract=extract, on_progress=on_progress, say=say
    )


def fit_subjects(
    subjects: Sequence[Subject],
    source: Location,
    out: Path,
    options: ProbeOptions,
    *,
    extract: Callable[..., SubjectFeatures] = extract_all,
    on_progress: Progress | None = None,
    say: Say = print,
) -> ProbeResult:
    """Do what `fit_probe` does with these encoders and floors, and no others.

    `options.random_init` and `options.floors` play no role.
    """
    claim(out)
    task = make_task(read_source(source).rows, options.task)
    prober = _prober(subjects, out, options, extract, say)
    prober.check(task)
    errors = prober.read(task.rows, on_progress)
    unreadable = tuple(
        Unreadable(path=task.rows[index].relative_path, error=text)
        for index, text in sorted(errors.items())
    )
    if unreadable:
        readable = [row for index, row in enumerate(task.rows) if index not in errors]
        task = _without(task, readable, unreadable, options)
    # Whatever else can fail comes before the training that it would throw away.
    tested = [task.rows[index] for part in task.parts for index in part.test]
    exposures = [exposure_of_subject(subject, tested) for subject in subjects]
    chosen_on_test = options.kind in ATTENTIVE and options.attentive.chooses_on_test
    trained_on = trained_on_lines(task, chosen_on_test=chosen_on_test)
    fits = prober.fit(task, on_progress)
    result = ProbeResult(
        vsalt=__version__,
        kind=options.kind,
        source=str(source),
        options=to_dict(options),
        num_rows=len(task.rows),
        classes=task.classes,
        parts=_sizes(task),
        left_out=task.left_out,
        unreadable=unreadable,
        passed_over=tuple(
            Unreadable(path=task.rows[index].relative_path, error=text)
            for index, text in sorted(prober.passed_over.items())
        ),
        num_groups=None if task.groups is None else len(np.unique(task.groups)),
        num_test_groups=_num_test_groups(task),
        num_shared_test_rows=task.num_shared_test_rows,
        chance=chance_of(
            [(task.labels[part.train], task.labels[part.test]) for part in task.parts],
            len(task.classes),
        ),
        encoders=tuple(
            _describe(subject, task, parts, prober.num_features(index), exposures[index], options)
            for index, (subject, parts) in enumerate(zip(subjects, fits, strict=True))
        ),
    )
    write_probe(out, result, task, fits, trained_on)
    return result


def _floors(beside: Subject) -> list[FloorSubject]:
    return [floor(name, beside.clip, antialias=beside.antialias) for name in FLOORS]


def _num_test_groups(task: Task) -> int | None:
    if task.groups is None:
        return None
    rows = np.concatenate([part.test for part in task.parts])
    return len(np.unique(task.groups[rows]))


def _prober(
    subjects: Sequence[Subject],
    out: Path,
    options: ProbeOptions,
    extract: Callable[..., SubjectFeatures],
    say: Say,
) -> Prober:
    match options.kind:
        case "linear" | "knn" as kind:
            return PooledProber(kind, subjects, options.extract, extract, say)
        case kind:
            return AttentiveProber(
                kind,
                # Floors have no tokens; the options refuse them.
                [subject for subject in subjects if isinstance(subject, EncoderSubject)],
                options.attentive,
                options.extract,
                seed=options.seed,
                skip_bad=options.skip_bad,
                cache=out,
                say=say,
            )


def claim(out: Path) -> None:
    """Make an output folder.

    Raises:
        RunFolderError: if it exists and is not empty, or cannot be written.
    """
    durable.create_new_folder(out, "--out")


def list_unreadable(errors: Sequence[str], num_rows: int) -> str:
    """Return the message about rows that cannot be read, with the first of them."""
    lines = [f"  {text}" for text in errors[:_BAD_SHOWN]]
    if len(errors) > _BAD_SHOWN:
        lines.append(f"  and {len(errors) - _BAD_SHOWN} more")
    return (
        f"{len(errors)} of {num_rows} videos cannot be read; mend them, or leave them out by "
        "--skip-bad:\n" + "\n".join(lines)
    )


def _without(
    task: Task, readable: Sequence[Row], unreadable: Sequence[Unreadable], options: ProbeOptions
) -> Task:
    """Return the task of the rows that can be read, if that is wanted."""
    if not options.skip_bad:
        raise DataError(list_unreadable([bad.error for bad in unreadable], len(task.rows)))
    left_out = {**task.left_out, "unreadable": len(unreadable)}
    return dataclasses.replace(make_task(readable, options.task), left_out=left_out)


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


def exposure_of_subject(subject: Subject, rows: Sequence[Row]) -> Exposure:
    """Return what the training of a subject, if there was one, has seen of rows."""
    if subject.seen is None:
        return Exposure(kind="none", num_seen=0, num_test=len(rows))
    return exposure_of(subject.seen, rows)


def _describe(
    subject: Subject,
    task: Task,
    fits: Sequence[FittedPart],
    num_features: int,
    exposure: Exposure,
    options: ProbeOptions,
) -> EncoderResult:
    """Score the test rows of all parts together."""
    rows = np.concatenate([part.test for part in task.parts])
    clip, antialias = subject.clip, subject.antialias
    if isinstance(subject, EncoderSubject) and options.kind in ATTENTIVE:
        clips = testing_clips(subject, options.attentive)
        clip, antialias = clips.clip, clips.antialias
    return EncoderResult(
        name=subject.name,
        role=subject.role,
        stage=subject.stage,
        checkpoint=None if subject.checkpoint is None else str(subject.checkpoint),
        step=subject.step,
        sha256=subject.sha256,
        clip=to_dict(clip),
        antialias=antialias,
        num_features=num_features,
        exposure=exposure,
        metrics=measure(
            task.labels[rows],
            np.concatenate([fit.predicted for fit in fits]),
            classes=task.classes,
            groups=None if task.groups is None else task.groups[rows],
            seed=options.seed,
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
                settings=fit.head.settings,
                selected_on=fit.selected_on,
                converged=fit.head.converged,
                losses=fit.head.losses,
                accuracy=metrics.accuracy,
                balanced_accuracy=metrics.balanced_accuracy,
                trials=fit.trials,
            )
        )
    return results
