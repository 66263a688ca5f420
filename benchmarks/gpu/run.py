"""Everything that waits for a GPU, in pieces of less than ten minutes each.

usage: python benchmarks/gpu/run.py PIECE... [--out FOLDER] [--data MANIFEST] [--device cuda]

Pieces, in the order of importance:
    tests        tests/gpu: agreement with the CPU, exact resuming on the device
    step         seconds per training step of both methods: fp32, bf16, per micro-batch size
    health       benchmarks/health.py: what the health measures cost, as a share of a step
    small-gpu    200 + 200 steps of the preset `small-gpu`: clips/s, data-wait share, peak memory

Every piece writes FOLDER/PIECE.json with what it measured and the machine's name.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vsalt.config import PretrainConfig
from vsalt.data.types import Batch
from vsalt.masking.config import MultiblockConfig
from vsalt.masking.sampler import build_mask_sampler
from vsalt.masking.types import MaskBatch
from vsalt.models.config import EncoderConfig, grid_of
from vsalt.models.vit import Encoder
from vsalt.presets import stage_preset
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective, resolve
from vsalt.training.optim import build_optimiser
from vsalt.training.plan import clip_shapes

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="+", choices=PIECES)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--data", help="manifest of videos for small-gpu")
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
    for method in ("pixel", "salt"):
        for size in ("S", "B"):
            for precision in ("fp32", "bf16") if args.device == "cuda" else ("fp32",):
                for clips in (8, 32) if args.device == "cuda" else (2,):
                    rows.append(time_step(args, method, size, precision, clips))
    return {"rows": rows}


def time_step(
    args: argparse.Namespace, method: str, size: str, precision: str, clips: int
) -> dict[str, Any]:
    config = step_config(method, size, clips)
    stage = config.stage
    teacher = Encoder(stage.encoder) if method == "salt" else None
    objective = build_objective(config, teacher)
    for module in (objective.trainable, objective.target):
        if module is not None:
            module.to(args.device)
    optimiser = build_optimiser(objective.param_groups(), stage.optim)
    batch = random_batch(config, clips).to(args.device)
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(args.steps):
        synchronise(args.device)
        begin = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        accumulate(objective, [batch], clips, args.device, precision)
        optimiser.step()
        synchronise(args.device)
        seconds.append(time.perf_counter() - begin)
    best = min(seconds)
    flops = objective.flops(clip_shapes(config)).exact * clips
    return {
        "method": method,
        "size": size,
        "precision": precision,
        "clips": clips,
        "clips_per_s": clips / best,
        "model_tflops_per_s": flops / best / 1e12,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if args.device == "cuda" else None,
    }


def step_config(method: str, size: str, clips: int) -> PretrainConfig:
    config = stage_preset("paper-vitb", method)
    loop = replace(config.stage.loop, batch_size=clips, micro_batch_size=clips)
    encoder = EncoderConfig(size=size)  # type: ignore[arg-type]
    # Any number of clips: the preset's own masks come in groups of 24.
    masks = MultiblockConfig()
    stage = replace(config.stage, encoder=encoder, loop=loop, masks=masks)
    return resolve(replace(config, stage=stage))


def random_batch(config: PretrainConfig, clips: int) -> Batch:
    grid = grid_of(config.clip.num_frames, config.clip.size, config.stage.encoder.tubelet)
    sampler = build_mask_sampler(config.stage.masks, grid, config.seed)
    kinds = zip(*(sampler(0, position) for position in range(clips)), strict=True)
    masks = tuple(
        MaskBatch(
            torch.stack([torch.from_numpy(mask.context) for mask in kind]),
            torch.stack([torch.from_numpy(mask.targets) for mask in kind]),
        )
        for kind in kinds
    )
    shape = (clips, 3, config.clip.num_frames, *config.clip.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    return Batch(clips=pixels, masks=masks, rows=tuple(range(clips)))


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


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
    return result


PIECES = {
    "tests": run_tests,
    "step": run_step,
    "health": run_health,
    "small-gpu": run_small_gpu,
}

if __name__ == "__main__":
    raise SystemExit(main())
