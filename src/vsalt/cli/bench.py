"""`vsalt bench`: how fast the parts are on this machine, and how fast they could be."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vsalt.cli.parse import parse
from vsalt.data.config import CacheKind
from vsalt.models.config import SizeName
from vsalt.presets import PRESET_NAMES

if TYPE_CHECKING:
    from rich.table import Table

Preset = Annotated[str, tyro.conf.arg(help=f"Where the settings come from: {PRESET_NAMES}.")]
MethodName = Literal["pixel", "salt", "vjepa"]


@dataclass(frozen=True, kw_only=True)
class StepArgs:
    """Measure a training step on random pixels: clips/s, its parts, MFU, the floor, peak memory.

    A step is one micro-batch, forward and backward, clipping and the optimiser, as the trainer does
    it. The MFU is against a product of large square matrices of the same precision, which takes
    turns with the steps. A teacher has random weights. Reading clips is measured by bench loader.
    """

    preset: Preset = "tiny-cpu"
    method: MethodName | None = None
    """Of the stage. Unset: the preset's own if it has one stage, else salt."""
    size: SizeName | None = None
    """Size of the encoder and its predictor. Unset: the preset's."""
    teacher_size: SizeName | None = None
    """Size of the frozen teacher of method salt. Unset: that of the preset's teacher."""
    batch_size: int | None = None
    """Clips of the step. Unset: the preset's micro-batch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else cpu."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on cuda, fp32 on cpu."""
    threads: int | None = None
    """CPU threads; unset: torch's own choice."""
    rounds: int = 5
    """Steps without and with marks, and matrix products, in turns."""
    processor_time: bool = False
    """Count the seconds that processors have worked for this process, all threads together: on a
    CPU that others use, too, MFU and shares are the better for it."""
    profile: Path | None = None
    """Folder for a trace of one more step, step.json, for chrome://tracing or ui.perfetto.dev."""
    json: bool = False
    """Print one object and nothing else."""


@dataclass(frozen=True, kw_only=True)
class LoaderArgs:
    """Measure the loader: clips/s for several numbers of workers, and how long a step waits."""

    preset: Preset = "tiny-cpu"
    data: tuple[str, ...] = ()
    """Sources as vsalt pretrain takes them. Unset: synthetic videos as large as the clips."""
    batch_size: int | None = None
    """Clips of a batch. Unset: the preset's micro-batch."""
    workers: tuple[int, ...] = (0, 1, 2)
    """Numbers of worker processes, one after the other; 0 reads in the main process."""
    batches: int = 20
    """Batches that are timed for each number."""
    repeats: int = 1
    """Positions of a batch that share a decoded clip, as --data.repeats of vsalt pretrain."""
    cache: CacheKind = "none"
    """Where decoded frames are kept, as --data.cache; then most clips are copied, not decoded."""
    step_s: float | None = None
    """Seconds that a step takes, such as bench step's step_s: then the share of the time that is
    spent waiting for data is measured, too, with a step that leaves the cores alone."""
    processor_time: bool = False
    """Count the seconds that processors have worked, with --workers 0: what one core reads, also
    where others use the machine."""
    json: bool = False
    """Print one object and nothing else."""


@dataclass(frozen=True, kw_only=True)
class MasksArgs:
    """Measure how many masks per second every family and policy draws, in one process."""

    preset: Preset = "tiny-cpu"
    batch_size: int | None = None
    """Clips of a batch, and of a group with policy batch_min. Unset: the preset's micro-batch."""
    seconds: float = 0.5
    """Each family draws so long."""
    json: bool = False
    """Print one object and nothing else."""


def step(words: Sequence[str], prog: str) -> int:
    """Run the verb `bench step`."""
    args = parse(StepArgs, words, prog)
    from vsalt.bench.setup import bench_stage, bench_teacher
    from vsalt.bench.step import measure_step
    from vsalt.training.config import DeviceConfig

    device = DeviceConfig(device=args.device, precision=args.precision, threads=args.threads)
    config = bench_stage(
        args.preset, args.method, size=args.size, batch_size=args.batch_size, device=device
    )
    teacher = bench_teacher(config, args.preset, args.teacher_size)
    found = measure_step(
        config, teacher, rounds=args.rounds, trace=args.profile, processor_time=args.processor_time
    )
    _print(found, args.preset, args.json, _step_lines(found), _parts(found))
    return 0


def loader(words: Sequence[str], prog: str) -> int:
    """Run the verb `bench loader`."""
    args = parse(LoaderArgs, words, prog)
    from vsalt.bench.loader import make_videos, measure_loader
    from vsalt.bench.setup import bench_data

    config = bench_data(args.preset, args.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        sources = args.data or (str(make_videos(Path(folder) / "synthetic", config)),)
        found = measure_loader(
            config,
            sources,
            workers=args.workers,
            batches=args.batches,
            step_s=args.step_s,
            repeats=args.repeats,
            cache=args.cache,
            processor_time=args.processor_time,
        )
    if not args.data:
        found["settings"]["sources"] = ["synthetic"]
    _print(found, args.preset, args.json, [], _rows(found["rows"]))
    return 0


def masks(words: Sequence[str], prog: str) -> int:
    """Run the verb `bench masks`."""
    args = parse(MasksArgs, words, prog)
    from vsalt.bench.masks import measure_masks
    from vsalt.bench.setup import bench_data

    config = bench_data(args.preset, args.batch_size)
    found = measure_masks(config, seconds=args.seconds)
    _print(found, args.preset, args.json, [], _rows(found["rows"]))
    return 0


def _print(
    found: dict[str, Any], preset: str, as_json: bool, lines: Sequence[str], table: "Table"
) -> None:
    """Print a result for programs or for people, with the machine and the settings."""
    found["settings"] = {"preset": preset, **found["settings"]}
    if as_json:
        print(json.dumps(found, indent=1, allow_nan=False))
        return
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    machine, settings = found["machine"], found["settings"]
    console.print(f"{machine['device']}, {machine['cores']} cores, load {machine['load']}")
    if machine["load"] > machine["cores"]:
        console.print("others use these cores, too, so rates are too low", style="yellow")
    given = [f"{name} {value}" for name, value in settings.items() if value is not None]
    console.print(", ".join(given))
    for line in lines:
        console.print(line)
    console.print(table)


def _step_lines(found: Mapping[str, Any]) -> list[str]:
    memory, product = found["peak_memory"], found["matmul"]
    lines = [
        f"{found['clips_per_s']:.4g} clips/s, {found['step_s']:.4g} s a step; "
        f"{found['flops_per_clip']:.4g} FLOPs a clip",
        f"MFU {found['mfu']:.1%}: {found['flops_per_s']:.3g} FLOP/s, of "
        f"{product['flops_per_s']:.3g} in a product of {product['size']} x {product['size']}",
        f"{found['times_floor']:.3g} times its floor of {found['floor_s']:.4g} s, at that rate and "
        f"{found['copy_bytes_per_s']:.3g} bytes/s",
        f"at most {memory['bytes'] / 1e9:.3g} GB in use, of {memory['of']}",
    ]
    if found["trace"] is not None:
        lines.append(f"trace: {found['trace']}")
    return lines


def _parts(found: Mapping[str, Any]) -> "Table":
    """Return the parts of a step and their floors; `other` is the remainder."""
    split = found["split"]
    other = {
        "seconds": split["remainder_s"],
        "share": split["remainder_share"],
        "floor_s": None,
        "times_floor": None,
    }
    rows = [
        {"part": name, **{key: part[key] for key in other}}
        for name, part in {**split["parts"], "other": other}.items()
    ]
    return _rows(rows)


def _rows(rows: Sequence[Mapping[str, Any]]) -> "Table":
    """Return a table with a column for each key that has a value in some row."""
    from rich.table import Table

    table = Table()
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    for name in names:
        table.add_column(name, justify="right" if name not in ("part", "family") else "left")
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in names))
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("share", "data_wait"):
        return f"{value:.1%}"
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
