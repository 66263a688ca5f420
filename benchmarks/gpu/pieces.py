"""The rows of every piece: at full size on `cuda`, at the smallest on `cpu`."""

import json
from argparse import Namespace
from typing import Any

from rows import REPOSITORY, Row

from vsalt.bench.machine import usable_cores
from vsalt.bench.setup import bench_data

VJEPA2_ROWS = (
    "vjepa",
    "salt",
    "salt, small teacher",
    "salt, cached latents",
    "theirs, checkpointed",
    "salt, small teacher, half the targets",
    "vjepa, compiled",
    "theirs, compiled",
)
"""Those that compile, which takes minutes, are last."""


def tests(args: Namespace) -> list[Row]:
    del args
    files = sorted(path.name for path in (REPOSITORY / "tests" / "gpu").glob("test_*.py"))
    options = ("-q", "-rs", "-p", "no:cacheprovider")
    return [
        Row(file, ("-m", "pytest", f"tests/gpu/{file}", *options), passed, cwd=REPOSITORY)
        for file in files
    ]


def passed(text: str) -> dict[str, str]:
    """Return pytest's summary; a file whose tests were all skipped has shown nothing."""
    lines = text.rstrip().splitlines()
    if not lines or " passed" not in lines[-1]:
        raise ValueError("no test has passed")
    return {"summary": lines[-1], "output": text[-3000:]}


def step(args: Namespace) -> list[Row]:
    if args.device == "cuda":
        preset, sizes, precisions, batches = "paper-vitb", "SBL", ("bf16", "fp32"), (8, 32)
    else:
        preset, sizes, precisions, batches = "demo", ("Ti",), ("fp32",), (1,)
    return [
        step_row(args, preset, method, size, precision, clips)
        for precision in precisions
        for method in ("salt", "pixel")
        for size in sizes
        for clips in batches
    ]


def step_row(
    args: Namespace, preset: str, method: str, size: str, precision: str, clips: int
) -> Row:
    words = ("-m", "vsalt", "bench", "step", "--json", "--preset", preset, "--method", method)
    teacher = ("--teacher-size", size) if method == "salt" else ()
    settings = ("--device", args.device, "--precision", precision, "--batch-size", str(clips))
    rounds = ("--rounds", str(args.steps))
    command = (*words, "--size", size, *teacher, *settings, *rounds)
    return Row(f"{method}, ViT-{size}, {precision}, {clips} clips", command, json.loads)


def vjepa2(args: Namespace) -> list[Row]:
    """Each row beside V-JEPA 2's best in a run of its own, since all at once may not fit."""
    if args.device == "cuda":
        settings = "--size L --pixels 224 --clips 24 --teacher B --precision bf16 --steps 5"
    else:
        settings = "--size S --pixels 112 --clips 1 --steps 1"
    words = ("benchmarks/vjepa2_step.py", args.checkout, "--device", args.device)
    return [
        Row(name, (*words, *settings.split(), "--rows", "theirs, best", name), json.loads)
        for name in VJEPA2_ROWS
    ]


def health(args: Namespace) -> list[Row]:
    size = "--size B" if args.device == "cuda" else "--size Ti --clips 1 --rounds 1"
    words = ("benchmarks/health.py", "--device", args.device, *size.split())
    return [Row(method, (*words, "--method", method), last_line) for method in ("pixel", "salt")]


def last_line(text: str) -> Any:
    return json.loads(text.rstrip().rpartition("\n")[2])


def small_gpu(args: Namespace) -> list[Row]:
    small = "--preset demo --steps 3 --log-every 1 --batch-size 2"
    settings = () if args.device == "cuda" else small.split()
    words = ("benchmarks/gpu/small_gpu.py", args.data, "--device", args.device)
    return [Row("small-gpu", (*words, *settings), json.loads)]


def data_wait(args: Namespace) -> list[Row]:
    if args.device == "cuda":
        workers = min(bench_data("small-gpu").data.workers, usable_cores())
        settings = f"--preset small-gpu --batches 20 --workers {workers}"
    else:
        settings = "--preset demo --batches 1 --workers 1 --batch-size 4"
    words = ("-m", "vsalt", "bench", "loader", "--json", "--data", args.data, *settings.split())
    return [
        Row(f"{views} views", (*words, "--repeats", str(views)), json.loads) for views in (1, 2, 4)
    ]


PIECES = {
    "tests": tests,
    "step": step,
    "vjepa2": vjepa2,
    "health": health,
    "small-gpu": small_gpu,
    "data-wait": data_wait,
}
