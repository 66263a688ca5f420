"""`vsalt probe fit`, `probe eval` and `probe predict`: classifiers on frozen encoders."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vsalt.cli.extract_args import ExtractArgs, ReadArgs
from vsalt.cli.parse import incomplete, option, parse
from vsalt.errors import ConfigError, printable
from vsalt.evaluation.attentive_config import PROTOCOLS, AttentiveConfig, protocol

if TYPE_CHECKING:
    from rich.console import Console

    from vsalt.data.manifest import Row
    from vsalt.evaluation.apply import Answers
    from vsalt.evaluation.saved import SavedHead
    from vsalt.evaluation.subjects import Subject

_PROTOCOL_HELP = (
    "Settings of an attentive probe as the SALT paper uses them on a data set: "
    f"{', '.join(PROTOCOLS)}. Other flags go over them."
)


@dataclass(frozen=True, kw_only=True)
class FitArgs:
    """Fit a probe on frozen features, and score it on rows that played no role in any choice.

    Protocols with many probes choose on the test rows, as the paper does; the tables say so.
    Beside the encoders, a randomly initialised one of the first one's configuration is probed.
    """

    encoder: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A `vsalt salt` run (means its student; RUN/student/teacher is the frozen teacher it learned
    from, RUN/teacher the best checkpoint of stage 1), a `vsalt pretrain` run, a checkpoint, or
    what `vsalt import` wrote. May be repeated, to compare."""
    data: str
    """A folder of videos whose sub-folders are classes (below train and test, or with
    --test-share), a manifest or packed shards."""
    out: Path
    """Folder to write to; must be new or empty."""
    kind: Literal["linear", "knn", "attentive", "attentive-1"] = "linear"
    """linear: logistic regression on pooled features. knn: votes of the nearest training rows.
    attentive: three self-attention blocks and a learned query over all tokens, trained by AdamW;
    attentive-1: the query alone."""
    protocol: Annotated[str | None, tyro.conf.arg(help=_PROTOCOL_HELP)] = None
    label_column: str = "label"
    """Manifest column of the class."""
    split_column: str = "split"
    """Manifest column that says train or test."""
    folds: str | None = None
    """Manifest column of folds: each is tested once, with the others as training rows."""
    test_share: float | None = None
    """Instead of a column: this share of every class is drawn for testing, whole groups only."""
    group_column: str = "group"
    """Manifest column of groups (people, scenes, patients): resampled together for the interval,
    and never torn apart when choosing hyper-parameters. Only the default may be absent. none:
    every row stands alone."""
    random_init: bool = True
    """Probe a randomly initialised encoder, too."""
    floors: bool = False
    """Probe features without a network, too, of the clips that the first encoder is given: the
    pixels of frames shrunk to 16 x 16, and the absolute differences of one frame to the next. For
    linear and knn."""
    skip_bad: bool = False
    """Leave out videos that cannot be read; by default they are listed and nothing is fitted."""
    seed: int = 0
    """Of the selection part, the random initialisation, attentive probes and the bootstrap."""
    extract: Annotated[ExtractArgs, tyro.conf.arg(name="")] = field(default_factory=ExtractArgs)
    attentive: AttentiveConfig = field(default_factory=AttentiveConfig)
    """For the attentive kinds."""


@dataclass(frozen=True, kw_only=True)
class SavedArgs:
    """What is asked of a saved probe."""

    probe: Path
    """Folder that `vsalt probe fit` wrote. Windows, views and layers are taken from it."""
    encoder: Path | None = None
    """The encoder that it was fitted to: its run, or the checkpoint; checked by hash."""
    floor: Literal["raw_pixels", "frame_difference"] | None = None
    """Instead of an encoder: take the head of this floor, which needs none (see --floors of
    `vsalt probe fit`)."""
    data: str
    """A folder of videos and images, a manifest or packed shards."""
    part: str | None = None
    """For probes over folds: the fold whose head is used (it was trained on all others)."""
    read: Annotated[ReadArgs, tyro.conf.arg(name="")] = field(default_factory=ReadArgs)


@dataclass(frozen=True, kw_only=True)
class EvalArgs(SavedArgs):
    """Score a saved probe on labelled rows; nothing is fitted."""

    out: Path | None = None
    """Folder for scores.json and predictions.jsonl; must be new or empty."""
    label_column: str | None = None
    """Manifest column of the class; unset: as the probe was fitted."""
    split_column: str | None = None
    """Manifest column of splits; unset: as the probe was fitted."""
    split: str | None = None
    """Score the rows of this split only; unset: all labelled rows."""
    group_column: str | None = None
    """Manifest column of groups, resampled together for the interval; none: rows stand alone.
    Unset: as the probe was fitted."""
    skip_bad: bool = False
    """Leave out videos that cannot be read; by default they are listed and nothing is scored."""


@dataclass(frozen=True, kw_only=True)
class PredictArgs(SavedArgs):
    """Write the classes that a saved probe gives to rows, with probabilities."""

    out: Path
    """Folder for predictions.jsonl and bad.jsonl; must be new or empty."""
    top: int = 5
    """Classes to name per row, the most probable first."""
    skip_bad: bool = False
    """Videos that cannot be read are always listed in bad.jsonl; this makes the exit code 0."""


def fit(words: Sequence[str], prog: str) -> int:
    """Run the verb `probe fit`."""
    return run_fit(parse(FitArgs, words, prog, _fit_defaults(words)))


def _fit_defaults(words: Sequence[str]) -> FitArgs | None:
    """Let a protocol choose the defaults of all other flags."""
    name = option(words, "--protocol")
    if name in (None, "None"):
        return None
    assert name is not None
    kind = option(words, "--kind") or "attentive"
    if not kind.startswith("attentive"):
        raise ConfigError([f"--protocol {name} is of attentive probes; leave out --kind {kind}"])
    return incomplete(FitArgs, kind="attentive", protocol=name, attentive=protocol(name))


def run_fit(args: FitArgs) -> int:
    """Fit the probe and print its tables; return the exit code."""
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
    from vsalt.data.urls import location
    from vsalt.evaluation.probe import ProbeOptions, fit_probe
    from vsalt.evaluation.protocol import TaskOptions
    from vsalt.evaluation.tables import probe_tables
    from vsalt.training.locate import load_encoder

    names = [str(path) for path in args.encoder]
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            ["--encoder must be given" + (", each path once" if names else " at least once")]
        )
    options = ProbeOptions(
        kind=args.kind,
        task=TaskOptions(
            label_column=args.label_column,
            split_column=args.split_column,
            folds=args.folds,
            test_share=args.test_share,
            group_column=args.group_column,
            seed=args.seed,
        ),
        extract=args.extract.config(),
        attentive=args.attentive,
        protocol=args.protocol,
        random_init=args.random_init,
        floors=args.floors,
        skip_bad=args.skip_bad,
        seed=args.seed,
    )
    console = Console(markup=False, highlight=False)
    loaded = {name: load_encoder(Path(name)) for name in names}
    with row_progress(console, "probe") as show:
        result = fit_probe(
            loaded,
            location(args.data),
            args.out,
            options,
            on_progress=show,
            say=lambda text: console.print(printable(text), soft_wrap=True),
        )
    console.print(probe_tables(result))
    console.print(f"Written to {args.out}")
    return 0


def evaluate(words: Sequence[str], prog: str) -> int:
    """Run the verb `probe eval`."""
    args = parse(EvalArgs, words, prog)
    from rich.console import Console

    from vsalt.data.urls import location
    from vsalt.errors import DataError
    from vsalt.evaluation.apply import score, select_rows, write_answers, write_scores
    from vsalt.evaluation.probe import claim, list_unreadable
    from vsalt.evaluation.tables import score_tables

    if args.out is not None:
        claim(args.out)
    console = Console(markup=False, highlight=False)
    subject, head = _load(args)
    selection = select_rows(
        location(args.data),
        head,
        label_column=args.label_column,
        split_column=args.split_column,
        split=args.split,
        group_column=args.group_column,
    )
    answers = _answer(args, head, subject, selection.rows, console)
    if answers.bad and not args.skip_bad:
        raise DataError(list_unreadable([text for _, text in answers.bad], len(selection.rows)))
    scores = score(answers, selection, subject)
    console.print(score_tables(scores, str(args.probe), args.data))
    if args.out is not None:
        label_column = args.label_column or head.options["task"]["label_column"]
        write_answers(answers, args.out, label_column=label_column)
        write_scores(scores, args.out)
        console.print(f"Written to {args.out}")
    return 0


def predict(words: Sequence[str], prog: str) -> int:
    """Run the verb `probe predict`; return 1 if videos cannot be read and `skip_bad` is off."""
    args = parse(PredictArgs, words, prog)
    if args.top < 1:
        raise ConfigError([f"--top is {args.top}; it must be at least 1"])
    from rich.console import Console

    from vsalt.data.manifest import read_source
    from vsalt.evaluation.apply import BAD, PREDICTIONS, write_answers
    from vsalt.evaluation.probe import claim

    claim(args.out)
    console = Console(markup=False, highlight=False)
    subject, head = _load(args)
    rows = read_source(args.data).rows
    answers = _answer(args, head, subject, rows, console)
    write_answers(answers, args.out, top=args.top)
    lines = [f"{len(answers.rows)} of {len(rows)} rows answered: {args.out / PREDICTIONS}"]
    if answers.bad:
        lines.append(f"{len(answers.bad)} rows could not be read: see {args.out / BAD}")
    for line in lines:
        console.print(line, soft_wrap=True)
    return 1 if answers.bad and not args.skip_bad else 0


def _load(args: SavedArgs) -> tuple["Subject", "SavedHead"]:
    """Return a head, and what it was fitted to."""
    from vsalt.evaluation.apply import subject_of
    from vsalt.evaluation.floors import rule_hash
    from vsalt.evaluation.saved import read_head
    from vsalt.training.locate import load_encoder

    if args.floor is not None and args.encoder is None:
        head = read_head(args.probe, rule_hash(args.floor), args.part)
        return subject_of(head, args.floor), head
    if args.encoder is None or args.floor is not None:
        raise ConfigError(["give --encoder or, for the head of a floor, --floor; one of the two"])
    loaded = load_encoder(args.encoder)
    head = read_head(args.probe, loaded.sha256, args.part)
    return subject_of(head, loaded), head


def _answer(
    args: SavedArgs,
    head: "SavedHead",
    subject: "Subject",
    rows: Sequence["Row"],
    console: "Console",
) -> "Answers":
    from vsalt.cli.row_progress import row_progress
    from vsalt.evaluation.apply import answer_rows

    with row_progress(console, "rows") as show:
        return answer_rows(
            head,
            subject,
            rows,
            workers=args.read.workers,
            batch_size=args.read.batch_size,
            device=args.read.device,
            limits=args.read.limits,
            on_progress=show,
        )
