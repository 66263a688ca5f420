"""`vsalt probe fit`: how well frozen encoders tell the classes of a labelled source apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vsalt.cli.extract_args import ExtractArgs
from vsalt.cli.parse import parse
from vsalt.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FitArgs:
    """Fit a probe on frozen features, and score it on rows that played no role in any choice.

    Beside the encoders, a randomly initialised one of the first one's configuration is probed.
    """

    encoder: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A `vsalt salt` run (means its student; RUN/teacher is its teacher), a `vsalt pretrain` run,
    or a checkpoint. May be repeated, to compare."""
    data: str
    """A folder of videos whose sub-folders are classes (below train and test, or with
    --test-share), or a CSV/JSONL manifest."""
    out: Path
    """Folder to write to; must not exist or be empty."""
    kind: Literal["linear", "knn"] = "linear"
    """linear: logistic regression. knn: votes of the nearest training rows."""
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
    skip_bad: bool = False
    """Leave out videos that cannot be read; by default they are listed and nothing is fitted."""
    seed: int = 0
    """Of the selection part, the random initialisation and the bootstrap."""
    extract: Annotated[ExtractArgs, tyro.conf.arg(name="")] = field(default_factory=ExtractArgs)


def fit(words: Sequence[str], prog: str) -> int:
    """Run the verb `probe fit`."""
    return run_fit(parse(FitArgs, words, prog))


def run_fit(args: FitArgs) -> int:
    """Fit the probe and print its tables; return the exit code."""
    from rich.console import Console

    from vsalt.cli.row_progress import row_progress
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
        random_init=args.random_init,
        skip_bad=args.skip_bad,
        seed=args.seed,
    )
    console = Console()
    loaded = {name: load_encoder(Path(name)) for name in names}
    with row_progress(console, "features") as show:
        result = fit_probe(loaded, Path(args.data), args.out, options, on_progress=show)
    console.print(probe_tables(result))
    console.print(f"Written to {args.out}", highlight=False, markup=False)
    return 0
