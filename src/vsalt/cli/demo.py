"""`vsalt demo`: videos, teacher, student, probes, embeddings, report; the whole path with a table.

The same command goes on with a demo that was interrupted: what is done is kept.

DIR/
  demo.json           the settings that it was begun with, and the seconds spent
  videos/             the made-up videos and their labels.csv
  labels.csv          the same rows, but only some of the training rows have their labels
  run/                teacher and student
  probe-motion/       linear probes of both encoders and of what they have to beat
  probe-appearance/
  embeddings/         the student's, of all videos
  report.html
  summary.json        written last
"""

import csv
import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsalt import __version__, durable
from vsalt.cli.demo_folder import SUMMARY, check_demo_folder, hold_demo
from vsalt.cli.demo_summary import TASKS, demo_summary, demo_table
from vsalt.cli.parse import parse
from vsalt.config import SaltRunConfig, to_dict
from vsalt.errors import ConfigError, RunFolderError, VsaltError
from vsalt.presets.demo import LONG, SHORT, DemoPlan

if TYPE_CHECKING:
    from rich.console import Console

    from vsalt.data.manifest import Row
    from vsalt.evaluation.subjects import Subject, SubjectFeatures
    from vsalt.training.extract import ExtractConfig, Progress

REPORT = "report.html"
LABELS = "labels.csv"
PROBE = "probe.json"


@dataclass(frozen=True, kw_only=True)
class DemoArgs:
    """Make videos, train a teacher and a student on them without labels, probe both with few.

    Takes minutes on two CPU cores. Everything lies in OUT afterwards; OUT/report.html shows it. A
    command that was interrupted goes on where it stopped when it is given again.
    """

    out: Path = Path("demo-run")
    """Folder to make; must be new or empty, or hold this demo, interrupted."""
    seed: int = 0
    """Seed of videos, training and probes."""
    long: bool = False
    """Train five times as long, for a clearer result."""
    num_clips: int | None = None
    """Made-up videos, one in four of them for testing; unset: 4096."""
    labels: int | None = None
    """Training videos whose labels the probes get to see; unset: 1024. The encoders train on all
    training videos, and see no label."""
    steps: str | None = None
    """Steps of each stage: N for both, or T:S; unset: the preset's."""


class InterruptedDemoError(VsaltError):
    """The user has stopped the demo.

    Attributes:
        exit_code: as of the signal.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class _Demo:
    """What is asked for, with every number known."""

    out: Path
    seed: int
    plan: DemoPlan
    config: SaltRunConfig

    @property
    def videos(self) -> Path:
        """Folder of the made-up videos."""
        return self.out / "videos"

    @property
    def run(self) -> Path:
        """The run of both stages."""
        return self.out / "run"

    def probe(self, task: str) -> Path:
        """Folder of the probes of a task."""
        return self.out / f"probe-{task}"

    @property
    def settings(self) -> dict[str, Any]:
        """All that the demo's files depend on, as plain values."""
        plan = self.plan
        return {
            "vsalt": __version__,
            "seed": self.seed,
            "num_clips": plan.num_clips,
            "labels": plan.num_labels,
            "test_every": plan.test_every,
            "size": plan.size,
            "num_frames": plan.num_frames,
            "fps": plan.fps,
            "shows": to_dict(plan.shows),
            "config": to_dict(self.config),
        }


def demo(words: Sequence[str], prog: str) -> int:
    """Run the verb `demo`."""
    asked = _resolve(parse(DemoArgs, words, prog))
    begun = check_demo_folder(asked.out, asked.settings)
    from rich.console import Console

    from vsalt.training.stop import InterruptedRunError

    console = Console(markup=False, highlight=False)
    takes = f"{asked.plan.duration} on two CPU cores"
    console.print(
        f"goes on with the demo in {asked.out}; from the start it takes {takes}"
        if begun
        else f"this takes {takes}; all of it goes to {asked.out}"
    )
    command = f"{prog} {shlex.join(words)}".strip()
    go_on = f"interrupted. The same command goes on with what is there:\n  {command}"
    with hold_demo(asked.out, asked.settings) as seconds:
        try:
            return _run(asked, console, seconds)
        except KeyboardInterrupt as error:
            raise InterruptedDemoError(go_on, 130) from error
        except InterruptedRunError as error:
            raise InterruptedDemoError(go_on, error.exit_code) from error


def _resolve(args: DemoArgs) -> _Demo:
    """Put what is given over the plan; all that can be wrong is told here."""
    from vsalt.cli.pretrain import with_steps

    plan = LONG if args.long else SHORT
    if args.num_clips is not None:
        plan = replace(plan, num_clips=args.num_clips)
    if args.labels is not None:
        plan = replace(plan, num_labels=args.labels)
    num_train = plan.num_clips - plan.num_clips // plan.test_every
    num_classes = plan.shows.num_classes
    if num_train < num_classes:
        fewest = num_classes + (num_classes - 1) // (plan.test_every - 1)
        raise ConfigError(
            [
                f"--num-clips is {plan.num_clips}; it must be at least {fewest}, so that every "
                "class is among the training videos"
            ]
        )
    if not num_classes <= plan.num_labels <= num_train:
        raise ConfigError(
            [
                f"--labels is {plan.num_labels}; it must be at least {num_classes}, so that every "
                f"class has some, and at most about {num_train}, the training videos of "
                f"--num-clips {plan.num_clips}"
            ]
        )
    config = with_steps(plan.train(), args.steps)
    manifest = args.out / "videos" / LABELS
    data = replace(config.data, sources=(str(manifest.absolute()),))
    config = replace(config, seed=args.seed, data=data)
    return _Demo(out=args.out, seed=args.seed, plan=plan, config=config)


def _run(asked: _Demo, console: "Console", seconds: Callable[[], float]) -> int:
    """Do what is not done yet; `seconds` returns the time spent so far."""
    manifest = _make_videos(asked, console)
    labels = hide_labels(manifest, asked.out / LABELS, num_labels=asked.plan.num_labels)
    console.print(
        f"the probes will see {asked.plan.num_labels} labels, the encoders none: {labels}"
    )
    _check_tasks(asked, labels)
    _train(asked)
    results = _probe(asked, labels, console)
    code = _embed(asked.run, manifest, asked.out / "embeddings")
    _report(asked, console)
    summary = demo_summary(results, _train_flops(asked), seconds=seconds())
    durable.write_file(asked.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
    console.print(demo_table(summary, asked.plan.num_labels))
    for line in _ending(asked, summary):
        console.print(line, soft_wrap=True)
    return code


def _make_videos(asked: _Demo, console: "Console") -> Path:
    from vsalt.cli.data import SynthArgs, make_set

    plan = asked.plan
    manifest = asked.videos / LABELS
    if manifest.exists():
        console.print(f"{plan.num_clips} videos were made before: {asked.videos}")
        return manifest
    # The manifest is written last: without it the videos are those of an interrupted start.
    shutil.rmtree(asked.videos, ignore_errors=True)
    make_set(
        SynthArgs(
            out=asked.videos,
            num_clips=plan.num_clips,
            seed=asked.seed,
            size=plan.size,
            num_frames=plan.num_frames,
            fps=plan.fps,
            test_every=plan.test_every,
            config=plan.shows,
        )
    )
    console.print(f"made {plan.num_clips} videos: {asked.videos}")
    return manifest


def hide_labels(manifest: Path, out: Path, *, num_labels: int) -> Path:
    """Write a manifest in which only the first training rows have their labels, and all test rows.

    Probes leave out rows without a label, so this is how few labels beside many videos look. The
    first rows are as good as any: every run of as many rows as there are classes has each once.

    Args:
        manifest: of `synthesise`.
        out: the manifest to write, in a folder above.
        num_labels: training rows that keep their labels.

    Returns:
        `out`.
    """
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    num_seen = 0
    for row in rows:
        row["path"] = str(manifest.parent.relative_to(out.parent) / row["path"])
        num_seen += row["split"] == "train"
        if row["split"] == "train" and num_seen > num_labels:
            row.update(dict.fromkeys(("label", *TASKS, "shape", "texture"), ""))
    with (
        durable.whole_file(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out


def _check_tasks(asked: _Demo, labels: Path) -> None:
    """Refuse before any training what no probe could be fitted to."""
    from vsalt.data.manifest import read_source
    from vsalt.evaluation.protocol import TaskOptions, make_task

    rows = read_source(labels).rows
    for task in TASKS:
        make_task(rows, TaskOptions(label_column=task, seed=asked.seed))


def _train(asked: _Demo) -> None:
    """Begin the run, or go on with it."""
    from vsalt.training.build import resolve_salt
    from vsalt.training.salt import read_salt
    from vsalt.training.start import resume_run, start_salt

    if not (asked.run / "config.json").exists():
        start_salt(asked.run, asked.config, say_next=False)
        return
    if read_salt(asked.run) != resolve_salt(asked.config):
        raise RunFolderError(
            f"{asked.run / 'config.json'} is not what this demo began with; put it back, choose "
            f"another --out, or remove {asked.out}"
        )
    resume_run(asked.run, say_next=False)


def _probe(asked: _Demo, labels: Path, console: "Console") -> dict[str, dict[str, Any]]:
    """Probe student, teacher, random weights and floors on every task; return what probes say."""
    from vsalt.cli.row_progress import row_progress
    from vsalt.evaluation.probe import ProbeOptions, fit_probe
    from vsalt.evaluation.protocol import TaskOptions
    from vsalt.training.locate import load_encoder

    run = asked.run
    encoders = {"student": load_encoder(run), "teacher": load_encoder(run / "student" / "teacher")}
    extract = _extract_once()
    for task in TASKS:
        out = asked.probe(task)
        if (out / PROBE).exists():
            console.print(f"{task} was probed before: {out}")
            continue
        # probe.json is written last: without it the folder is what an interrupted probe left.
        shutil.rmtree(out, ignore_errors=True)
        options = ProbeOptions(
            task=TaskOptions(label_column=task, seed=asked.seed), floors=True, seed=asked.seed
        )
        console.print(f"probing {task}")
        with row_progress(console, f"probe {task}") as show:
            fit_probe(
                *(encoders, labels, out, options),
                extract=extract,
                on_progress=show,
                say=console.print,
            )
    return {task: durable.read_json(asked.probe(task) / PROBE) for task in TASKS}


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


def _report(asked: _Demo, console: "Console") -> None:
    from vsalt.report.write import write_report

    console.print("writing the report")
    write_report(
        [asked.run],
        [asked.probe(task) for task in TASKS],
        asked.out / REPORT,
        title="vsalt demo",
        say=console.print,
    )


def _train_flops(asked: _Demo) -> int:
    """Return the exact FLOPs of both stages, as their last checkpoints have them."""
    from vsalt.training.checkpoint import CheckpointFolder

    total = 0
    for stage in asked.config.stages:
        last = CheckpointFolder(asked.run / stage, keep_last=1).latest()
        assert last is not None, "a finished stage has a checkpoint"
        total += last.meta["flops_exact"]
    return total


def _ending(asked: _Demo, summary: dict[str, Any]) -> list[str]:
    """Say what it took, where all of it lies, and what to try next."""
    lines = [
        f"{summary['seconds']:.0f} s in all, {summary['train_flops']:.2e} FLOPs of training",
        f"report:  {asked.out / REPORT} (open it in a browser)",
        f"encoder: {asked.run} (the student); embeddings of all videos: {asked.out / 'embeddings'}",
        "next:    vsalt salt --data YOUR_VIDEOS --out run --preset tiny-cpu",
    ]
    if asked.plan.train is SHORT.train:
        out = shlex.quote(f"{asked.out}-long")
        lines.append(f"or:      vsalt demo --long --out {out} ({LONG.duration})")
    return lines
