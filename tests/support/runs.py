"""Small real runs of the command line, and what identifies their results."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

FAULT_DRIVER = Path(__file__).with_name("fault_driver.py")
AS_NOBODY = Path(__file__).with_name("as_nobody.py")

TEACHER_STEPS, STUDENT_STEPS, SAVE_EVERY = 6, 8, 2

_NETWORK = ("width=24", "depth=1", "heads=2", "mlp-width=48")
_SHARED = [
    *("--save-every", str(SAVE_EVERY), "--batch-size", "8", "--seed", "3"),
    *("--clip.num-frames", "4", "--clip.size", "32", "32", "--clip.frame-step", "2"),
    *("--data.workers", "0", "--data.holdout", "0.2", "--device.threads", "1"),
]


def _stage(prefix: str, width: int = 24) -> list[str]:
    words = [f"--{prefix}encoder.tubelet", "2", "8", "8"]
    words += [f"--{prefix}loop.log-every", "1", f"--{prefix}loop.micro-batch-size", "4"]
    for part in ("encoder", "predictor"):
        words += [f"--{prefix}{part}.width", str(width), f"--{prefix}{part}.mlp-width", "48"]
        words += [f"--{prefix}{part}.depth", "1", f"--{prefix}{part}.heads", "2"]
    return words


TINY = [
    *("--steps", f"{TEACHER_STEPS}:{STUDENT_STEPS}"),
    *_SHARED,
    *_stage("teacher."),
    *_stage("student."),
]
TINY_SMALL = [*("--steps", "2:2"), *_SHARED, *_stage("teacher.", 12), *_stage("student.", 12)]
TINY_SMALL += ["--teacher.loop.keep-last", "1", "--student.loop.keep-last", "1"]
TINY_THREE = [*("--steps", "2:2:2"), *_SHARED]
"""Needs a file with a table [assistant]."""
for _name in ("teacher", "assistant", "student"):
    TINY_THREE += [*_stage(f"{_name}.", 12), f"--{_name}.loop.keep-last", "1"]
TINY_STAGE = ["--steps", str(STUDENT_STEPS), *_SHARED, *_stage("", width=12)]
TINY_STAGE += ["--loop.keep-last", "1"]


def vsalt(
    *words: str | Path, prefix: tuple[str | Path, ...] = ("-m", "vsalt")
) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, prefix), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )


def torchrun(
    processes: int,
    *words: str | Path,
    prefix: tuple[str | Path, ...] = ("-m", "vsalt"),
    restarts: int = 0,
    fault_rank: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the real command in several processes on this machine, met by gloo."""
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes))
    return subprocess.run(
        [
            *(sys.executable, *launch, "--max-restarts", str(restarts)),
            *map(str, prefix),
            *map(str, words),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ
        | {"COLUMNS": "200"}
        | ({} if fault_rank is None else {"FAULT_RANK": str(fault_rank)}),
        check=False,
    )


def records(run: Path) -> list[dict[str, Any]]:
    """What a stage's metrics.jsonl says."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_numbers(run: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Two stages have logged the same but for the order of sums."""
    first, second = records(run), records(other)
    assert len(first) == len(second) > 0
    for one, two in zip(first, second, strict=True):
        assert set(one) == set(two)
        for name, value in one.items():
            if isinstance(value, float):
                assert abs(value - two[name]) <= tolerance * max(1.0, abs(value)), (name, one, two)
            else:
                assert value == two[name], (name, one, two)


def fingerprint(run: Path) -> dict[str, str]:
    """SHA-256 of every tensor, of the optimiser state and of the log, for all stages."""
    return {
        f"{stage} {name}": digest
        for stage in ("teacher", "assistant", "student")
        if (run / stage).exists()
        for name, digest in stage_fingerprint(run / stage).items()
    }


def stage_fingerprint(run: Path) -> dict[str, str]:
    """The same for one stage."""
    checkpoints = run / "checkpoints"
    last = checkpoints / (checkpoints / "latest").read_text().strip()
    return {
        "step": last.name,
        "best": (checkpoints / "best").read_text().strip(),
        "metrics": hashlib.sha256((run / "metrics.jsonl").read_bytes()).hexdigest(),
        "warnings": (run / "warnings.jsonl").read_text(),
        "health": repr(json.loads((last / "meta.json").read_text())["health"]),
        **checkpoint_fingerprint(last),
    }


def checkpoint_fingerprint(checkpoint: Path) -> dict[str, str]:
    """SHA-256 of every tensor and of the optimiser state."""
    weights = load_file(checkpoint / "model.safetensors")
    state = _optimiser(checkpoint / "state")
    return {
        **{name: _sha(tensor) for name, tensor in weights.items()},
        **{f"optimiser {name}": digest for name, digest in state.items()},
    }


def _optimiser(state: Path) -> dict[str, str]:
    flat = state.parent / "flat.pt"
    dcp_to_torch_save(state, flat)
    tree = torch.load(flat, weights_only=False)
    flat.unlink()
    return {name: _sha(value) for name, value in _leaves(tree, "")}


def _leaves(tree: object, path: str) -> list[tuple[str, object]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _leaves(value, f"{path}/{key}")]
    if isinstance(tree, list | tuple):
        return [leaf for i, value in enumerate(tree) for leaf in _leaves(value, f"{path}/{i}")]
    return [(path, tree)]


def _sha(value: object) -> str:
    if isinstance(value, torch.Tensor):
        data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(data + str(value.dtype).encode()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()
