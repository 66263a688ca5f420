"""`vsalt demo`: videos, teacher, student, probes, embeddings; the whole path with a table."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsalt.cli.parse import parse
from vsalt.errors import RunFolderError
from vsalt.presets import salt_preset

if TYPE_CHECKING:
    from rich.table import Table

    from vsalt.data.manifest import Row
    from vsalt.evaluation.subjects import Subject, SubjectFeatures
    from vsalt.training.extract import ExtractConfig, Progress

TASKS = ("motion", "appearance")


@dataclass(frozen=True, kw_only=True)
class DemoArgs:
    """Make videos, train a teacher and a student on them, probe and embed; minutes on a laptop."""

    out: Path = Path("demo-run")
    """Folder to make; must not exist or be empty."""
    num_clips: int = 1280
    """Synthetic clips, one in five of them for testing."""
    seed: int = 0
    """Seed of videos and training."""
    steps: str | None = None
    """Steps of each stage: N for both, or T:S; unset: the preset's."""


def demo(words: Sequence[str], prog: str) -> int:
    """Run the verb `demo`."""
    args = parse(DemoArgs, words, prog)
    if args.out.exists() and any(args.out.iterdir()):
        raise RunFolderError(f"{args.out} is not empty; choose another --out, or remove it")
    begin = time.monotonic()
    from rich.console import Console

    from vsalt.cli.data import SynthArgs, make_set
    from vsalt.cli.pretrain import with_steps
    from vsalt.training.start import start_salt

    console = Console(markup=False, highlight=False)
    manifest = make_set(
        SynthArgs(out=args.out / "videos", num_clips=args.num_clips, seed=args.seed)
    )
    console.print(f"made {args.num_clips} videos: {manifest.parent}")
    config = with_steps(salt_preset("demo"), args.steps)
    config = replace(
        config,
        seed=args.seed,
        data=replace(config.data, sources=(str(manifest.absolute()),)),
    )
    run = args.out / "run"
    start_salt(run, config)
    results = _probe(run, manifest, args.out)
    code = _embed(run, manifest, args.out / "embeddings")
    summary = _summary(results, seconds=time.monotonic() - begin)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(_table(summary))
    console.print(
        f"{summary['seconds']:.0f} s in all. Encoder: {run}. Embeddings: {args.out / 'embeddings'}",
    )
    return code


def _probe(run: Path, manifest: Path, out: Path) -> dict[str, Any]:
    """Probe student, teacher and random weights on every task; return the results by task."""
    from vsalt.evaluation.probe import ProbeOptions, fit_probe
    from vsalt.evaluation.protocol import TaskOptions
    from vsalt.training.locate import load_encoder

    encoders = {"student": load_encoder(run), "teacher": load_encoder(run / "student" / "teacher")}
    extract = _extract_once()
    return {
        task: fit_probe(
            encoders,
            manifest,
            out / f"probe-{task}",
            ProbeOptions(kind="linear", task=TaskOptions(label_column=task)),
            extract=extract,
        )
        for task in TASKS
    }


def _extract_once() -> "Callable[..., SubjectFeatures]":
    """Return `extract_all` with a memory: the tasks are two columns of the same rows."""
    from vsalt.evaluation.subjects import extract_all

    kept: dict[object, SubjectFeatures] = {}

    def extract(
        subjects: "Sequence[Subject]",
        rows: "Sequence[Row]",
        config: "ExtractConfig",
        on_progress: "Progress | None" = None,
    ) -> "SubjectFeatures":
        weights = tuple(subject.sha256 for subject in subjects)
        clips = tuple((row.media, row.start_s, row.end_s) for row in rows)
        if (weights, clips, config) not in kept:
            kept[weights, clips, config] = extract_all(
                subjects, rows, config, on_progress=on_progress
            )
        return kept[weights, clips, config]

    return extract


def _embed(run: Path, manifest: Path, out: Path) -> int:
    """Write the student's embeddings; return the exit code of `vsalt embed`."""
    from vsalt.cli.embed import EmbedArgs
    from vsalt.cli.embed import run as run_embed

    return run_embed(EmbedArgs(encoder=run, data=str(manifest), out=out))


def _summary(results: dict[str, Any], seconds: float) -> dict[str, Any]:
    encoders: dict[str, dict[str, Any]] = {}
    for task, result in results.items():
        for encoder in result.encoders:
            name = "random_init" if encoder.role == "random-init" else encoder.name
            interval = encoder.metrics.interval
            encoders.setdefault(name, {})[task] = {
                "accuracy": encoder.metrics.accuracy,
                "ci95": [interval.low, interval.high],
            }
    return {
        "seconds": round(seconds, 1),
        "chance": {task: result.chance.uniform for task, result in results.items()},
        "encoders": encoders,
    }


def _table(summary: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(title="linear probes on frozen features, test clips", title_justify="left")
    table.add_column("encoder")
    for task in TASKS:
        table.add_column(f"{task} [95 % interval]", justify="right")
    for name in ("random_init", "teacher", "student"):
        cells = []
        for task in TASKS:
            score = summary["encoders"][name][task]
            low, high = score["ci95"]
            cells.append(f"{score['accuracy']:.1%} [{low:.1%}, {high:.1%}]")
        table.add_row(name.replace("_", "-"), *cells)
    table.add_row("chance", *(f"{summary['chance'][task]:.1%}" for task in TASKS))
    return table
