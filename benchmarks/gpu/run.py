"""Everything that waits for a GPU, in pieces of less than ten minutes each.

usage: python benchmarks/gpu/run.py PIECE... [--out FOLDER] [--data MANIFEST] [--device cuda]
           [--checkout VJEPA2]

Pieces, in the order of importance:
    tests        tests/gpu: agreement with the CPU, exact resuming on the device
    step         `vsalt bench step` of both methods: fp32, bf16, per micro-batch size
    vjepa2       benchmarks/vjepa2_step.py on ViT-L, 16 x 224 x 224, 24 clips, bf16, beside CHECKOUT
    health       benchmarks/health.py: what the health measures cost, as a share of a step
    small-gpu    200 + 200 steps of the preset `small-gpu`: clips/s, data-wait share, peak memory
    data-wait    the loader of `small-gpu` alone, for 1, 2 and 4 views of a decoded clip, beside the
                 rate that the networks need; after the piece small-gpu, with the same --out

Every piece writes FOLDER/PIECE.json with what it measured and the machine's name.
"""

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from vsalt.bench.loader import measure_loader
from vsalt.bench.setup import bench_data, bench_stage, bench_teacher
from vsalt.bench.step import measure_step
from vsalt.models.config import SizeName
from vsalt.training.config import DeviceConfig

VJEPA2_ROWS = (
    "theirs, checkpointed",
    "theirs, compiled",
    "vjepa",
    "vjepa, compiled",
    "salt",
    "salt, small teacher",
    "salt, small teacher, half the targets",
    "salt, cached latents",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="+", choices=PIECES)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--data", help="manifest of videos for small-gpu")
    parser.add_argument("--checkout", help="of facebookresearch/vjepa2")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.pieces:
        begin = time.monotonic()
        result = PIECES[name](args)
        record = {"piece": name, "machine": machine(args.device), **result}
        record["seconds"] = round(time.monotonic() - begin, 1)
        (args.out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        print(json.dumps(record))
    return 0


def machine(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}


def run_tests(args: argparse.Namespace) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/gpu", "-q", "-p", "no:cacheprovider"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return {"exit_code": done.returncode, "output": done.stdout[-4000:]}


def run_step(args: argparse.Namespace) -> dict[str, Any]:
    rows = []
    sizes: tuple[SizeName, ...] = ("S", "B", "L") if args.device == "cuda" else ("S", "B")
    for method in ("pixel", "salt"):
        for size in sizes:
            for precision in ("fp32", "bf16") if args.device == "cuda" else ("fp32",):
                for clips in (8, 32) if args.device == "cuda" else (2,):
                    rows.append(time_step(args, method, size, precision, clips))
    return {"rows": rows}


def time_step(
    args: argparse.Namespace, method: str, size: SizeName, precision: str, clips: int
) -> dict[str, Any]:
    device = DeviceConfig(device=args.device, precision=precision)  # type: ignore[arg-type]
    config = bench_stage("paper-vitb", method, size=size, batch_size=clips, device=device)
    teacher = bench_teacher(config, "paper-vitb", size if method == "salt" else None)
    found = measure_step(config, teacher, rounds=args.steps)
    del found["machine"]
    return found


def run_vjepa2(args: argparse.Namespace) -> dict[str, Any]:
    """Each row beside V-JEPA 2's best in a run of its own, since all at once may not fit."""
    if args.checkout is None:
        raise SystemExit("piece vjepa2 needs --checkout FOLDER")
    at_size = ("--size", "L", "--pixels", "224", "--clips", "24", "--teacher", "B")
    settings = (*at_size, "--precision", "bf16") if args.device == "cuda" else ("--clips", "1")
    found: dict[str, Any] = {}
    for row in VJEPA2_ROWS:
        done = subprocess.run(
            [
                *(sys.executable, str(REPOSITORY / "benchmarks" / "vjepa2_step.py")),
                *(args.checkout, "--device", args.device, "--steps", "5", *settings),
                *("--rows", "theirs, best", row),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        found[row] = json.loads(done.stdout) if done.returncode == 0 else done.stderr[-2000:]
    return {"rows": found}


def run_health(args: argparse.Namespace) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "benchmarks" / "health.py")),
            *("--device", args.device, "--size", "Ti" if args.device == "cpu" else "B"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {"exit_code": done.returncode, "rows": rows, "errors": done.stderr[-2000:]}


def run_small_gpu(args: argparse.Namespace) -> dict[str, Any]:
    if args.data is None:
        raise SystemExit("piece small-gpu needs --data MANIFEST")
    run = args.out / "small-gpu-run"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "vsalt", "salt", "--preset", "small-gpu", "--data", args.data),
            *("--out", str(run), "--steps", "200", "--save-every", "200"),
            *("--device.device", args.device),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = {"exit_code": done.returncode, "errors": done.stderr[-2000:]}
    for stage in ("teacher", "student"):
        path = run / stage / "timings.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        result[stage] = [json.loads(line) for line in lines]
        result[f"{stage}_data_wait"] = data_wait(result[stage])
    return result


def data_wait(timings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the share of the time that a stage waited for clips, without its first log.

    Until then, processes start, and the device measures and compiles.
    """
    if len(timings) < 2:
        return None
    spans = [
        after["elapsed_s"] - before["elapsed_s"] for before, after in itertools.pairwise(timings)
    ]
    waited = [
        timing["data_wait_share"] * span for timing, span in zip(timings[1:], spans, strict=True)
    ]
    clips = [timing["clips_per_s"] * span for timing, span in zip(timings[1:], spans, strict=True)]
    share = sum(waited) / sum(spans)
    return {
        "share": share,
        "below_5_percent": share < 0.05,
        "clips_per_s": sum(clips) / sum(spans),
        # What the device could take if it never waited.
        "clips_per_s_without_wait": sum(clips) / (sum(spans) - sum(waited)),
        "seconds": sum(spans),
        "cores": len(os.sched_getaffinity(0)),
    }


def run_data_wait(args: argparse.Namespace) -> dict[str, Any]:
    if args.data is None:
        raise SystemExit("piece data-wait needs --data MANIFEST")
    before = args.out / "small-gpu.json"
    waits = json.loads(before.read_text()) if before.exists() else {}
    config = bench_data("small-gpu")
    workers = min(config.data.workers, len(os.sched_getaffinity(0)))
    rows = []
    for repeats in (1, 2, 4):
        found = measure_loader(
            config, [args.data], workers=[workers], batches=args.steps, repeats=repeats
        )
        rows.append({"repeats": repeats, **found["rows"][0]})
    needed = {
        stage: (waits.get(f"{stage}_data_wait") or {}).get("clips_per_s_without_wait")
        for stage in ("teacher", "student")
    }
    return {"loader": rows, "needed_clips_per_s": needed}


PIECES = {
    "tests": run_tests,
    "step": run_step,
    "vjepa2": run_vjepa2,
    "health": run_health,
    "small-gpu": run_small_gpu,
    "data-wait": run_data_wait,
}

if __name__ == "__main__":
    raise SystemExit(main())
