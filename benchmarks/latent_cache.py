"""What cached targets save, and what fixed views cost: a teacher against caches of its latents.

usage: python benchmarks/latent_cache.py FOLDER [--classes N] [--steps N] [--seeds 0 1] [--out FILE]

FOLDER holds labels.csv with columns path, label and split (J-HMDB, say). Two parts:

1. Steps: CPU time of one training step (forward, backward, clipping of gradients, optimiser) with
   the teacher and with its cached latents, in turn, on random clips, so that reading clips is not
   in it. Teacher and student are of one size.
2. Quality: for every seed a teacher, caches of its latents (int8), a student of the teacher on
   views that are drawn anew, and students of the caches, for equal steps on the first N classes;
   then one linear probe of all. Frames are kept in memory, so that views are what is compared.

All of it runs in this process on one thread. The numbers go into --out
(benchmarks/results/latent_cache.json), a seed at a time.
"""

import argparse
import csv
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from demo_seeds import machine, write
from torch import optim

from vsalt.cli.main import main as vsalt
from vsalt.models.vit import Encoder
from vsalt.objectives.protocol import Objective
from vsalt.presets import stage_preset
from vsalt.targets.cache_config import TokenFormat
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.token_codec import TokenCodec
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective, resolve
from vsalt.training.config import OptimConfig
from vsalt.training.optim import (
    all_finite,
    build_optimiser,
    clip_gradients,
    gradient_norms,
    set_schedule,
)
from vsalt.training.plan import clip_shapes
from vsalt.training.rate import random_batch
from vsalt.training.schedule import clips_gradients, learning_rate, weight_decay

HERE = Path(__file__).parent
VIEWS = (1, 2, 4)
PRESETS = ("demo", "tiny-cpu")
FORMATS: tuple[TokenFormat, ...] = ("int8", "fp8", "fp32")
CLIPS_AT_ONCE = 4
ROUNDS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "latent_cache.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "command": f"latent_cache.py FOLDER --classes {args.classes} --steps {args.steps}",
        "machine": machine(),
        "steps": {preset: time_steps(preset) for preset in PRESETS},
        "quality": {},
    }
    write(args.out, found)
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as work:
            quality = compare(args.folder, Path(work), seed, args.classes, args.steps)
        found["quality"][str(seed)] = quality
        write(args.out, found)
    show(found)


def time_steps(preset: str) -> dict[str, Any]:
    """Time steps of both kinds in turn."""
    config = stage_preset(preset, "salt")
    stage = config.stage
    loop = replace(stage.loop, batch_size=CLIPS_AT_ONCE, micro_batch_size=CLIPS_AT_ONCE)
    config = resolve(replace(config, stage=replace(stage, loop=loop)))
    shapes = clip_shapes(config)
    teacher = Encoder(config.stage.encoder)
    codecs = {kind: TokenCodec(kind, shapes.num_tokens, teacher.width) for kind in FORMATS}
    cached = CachedTeacher(codecs["int8"], num_params=0)
    batch = random_batch(config)
    batch = replace(batch, latents=cached.blank(CLIPS_AT_ONCE))
    objectives = {
        "live": build_objective(config, teacher),
        "cached": build_objective(config, cached),
    }
    settings = config.stage.optim
    optimisers = {
        name: build_optimiser(objective.param_groups(), settings)
        for name, objective in objectives.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in objectives}
    for number in range(ROUNDS + 1):
        for name, objective in objectives.items():
            spent = step_seconds(objective, optimisers[name], settings, number, batch)
            if number:
                seconds[name].append(spent)
    live, with_cache = (statistics.median(seconds[name]) for name in ("live", "cached"))
    flops = {name: objective.flops(shapes).exact for name, objective in objectives.items()}
    return {
        "clips_per_cpu_s": {
            name: CLIPS_AT_ONCE / statistics.median(values) for name, values in seconds.items()
        },
        "ratio": live / with_cache,
        "ratio_of_flops": flops["live"] / flops["cached"],
        "tokens": shapes.num_tokens,
        "width": teacher.width,
        "bytes_per_view": {kind: codec.record_bytes for kind, codec in codecs.items()},
    }


def step_seconds(
    objective: Objective,
    optimiser: optim.Optimizer,
    settings: OptimConfig,
    step: int,
    batch: Any,
) -> float:
    """Do one step as `Trainer` does it, without logs and health."""
    began = time.process_time()
    lr, decay = (of_step(step, ROUNDS + 1, settings) for of_step in (learning_rate, weight_decay))
    set_schedule(optimiser, lr, decay)
    optimiser.zero_grad(set_to_none=True)
    sums = accumulate(objective, [batch], CLIPS_AT_ONCE, "cpu", "fp32")
    groups = objective.param_groups()
    norms = gradient_norms(groups)
    assert all_finite([sums["loss"], *norms.values()])
    if settings.clip_norm is not None and clips_gradients(step, settings):
        clip_gradients(groups, norms, settings.clip_norm)
    optimiser.step()
    objective.after_step(step)
    return time.process_time() - began


def compare(folder: Path, work: Path, seed: int, classes: int, steps: int) -> dict[str, Any]:
    """Train and probe the students of one seed."""
    manifest, counts = few_classes(folder, work, classes)
    shared = ["--preset", "demo", "--data", str(manifest), "--seed", str(seed)]
    shared += ["--data.workers", "0", "--device.threads", "1", "--data.holdout", "0.05"]
    shared += ["--data.crop-scale", "0.3", "1", "--data.crop-ratio", "0.75", "1.35"]
    shared += ["--data.flip", "0.5"]
    train = ["pretrain", *shared, "--steps", str(steps), "--save-every", str(steps)]
    call([*train, "--method", "pixel", "--out", str(work / "teacher")])
    students = {"uncached": ["--teacher", str(work / "teacher")]}
    cost = {}
    for views in VIEWS:
        cache = work / f"cache-{views}"
        options = ["--data.views", str(views), "--teacher", str(work / "teacher")]
        call(["cache-targets", *shared, *options, "--out", str(cache)])
        cost[str(views)] = json.loads((cache / "targets.json").read_text())["flops"]["flops_exact"]
        students[f"{views} views"] = ["--targets", str(cache)]
    words = ["probe", "fit", "--data", str(manifest), "--kind", "linear", "--workers", "0"]
    for name, target in students.items():
        run = work / name.replace(" ", "-")
        call([*train, "--method", "salt", *target, "--out", str(run)])
        words += ["--encoder", str(run)]
    call([*words, "--out", str(work / "probe")])
    probe = json.loads((work / "probe" / "probe.json").read_text())
    names = [*students, "random weights"]
    return {
        "clips": counts,
        "steps": steps,
        "teacher_flops_of_cache": cost,
        "flops_exact": {name: last(work / name.replace(" ", "-")) for name in students},
        "accuracy": {
            name: encoder["metrics"]["accuracy"]
            for name, encoder in zip(names, probe["encoders"], strict=True)
        },
    }


def few_classes(folder: Path, work: Path, classes: int) -> tuple[Path, dict[str, int]]:
    """Write a manifest of the first classes."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = sorted({row["label"] for row in rows})[:classes]
    rows = [row for row in rows if row["label"] in kept]
    lines = ["path,label,split"]
    lines += [f"{(folder / row['path']).absolute()},{row['label']},{row['split']}" for row in rows]
    manifest = work / "labels.csv"
    manifest.write_text("\n".join(lines) + "\n")
    splits = [row["split"] for row in rows]
    return manifest, {split: splits.count(split) for split in sorted(set(splits))}


def last(run: Path) -> dict[str, Any]:
    record = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return {name: record[name] for name in ("flops_exact", "val_loss")}


def call(words: list[str]) -> None:
    print("vsalt", " ".join(words), flush=True)
    code = vsalt(words)
    assert code == 0, code


def show(found: dict[str, Any]) -> None:
    for preset, timed in found["steps"].items():
        print(f"{preset}: a step is {timed['ratio']:.2f} times as fast with cached latents")
    for seed, quality in found["quality"].items():
        print(seed, {name: f"{share:.1%}" for name, share in quality["accuracy"].items()})


if __name__ == "__main__":
    main()
