"""How long a checkpoint holds the training up: written at once, and from a copy beside it.

usage: python benchmarks/save_beside.py FOLDER [--size B] [--rounds 3]

Side by side in one run, in turns: the time until training may go on, and that until the checkpoint
is in force; of the former also the CPU time of the training's thread, which others on the machine
lengthen less. FOLDER is on the disk that is measured, and is emptied again.
"""

import argparse
import os
import platform
import shutil
import time
from pathlib import Path
from statistics import median

import torch

from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.objectives.config import PixelConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.config import OptimConfig
from vsalt.training.optim import build_optimiser
from vsalt.training.saver import Saver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="B")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    encoder = Encoder(EncoderConfig(size=args.size))
    predictor = PredictorConfig().resolved(args.size)
    objective = PixelObjective(PixelConfig(), encoder, predictor, ("one",))
    optimiser = build_optimiser(objective.param_groups(), OptimConfig())
    for weight in objective.trainable.parameters():
        weight.grad = torch.zeros_like(weight)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    count = sum(weight.numel() for weight in objective.trainable.parameters())
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"torch {torch.__version__}; {count / 1e6:.0f} M weights of encoder and predictor")

    folder = CheckpointFolder(args.folder, keep_last=1)
    folder.path.mkdir(parents=True)
    blocked: dict[bool, list[float]] = {False: [], True: []}
    busy: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * args.rounds):
        beside = number % 2 == 1
        saver = Saver(folder, background=beside)
        meta = {"step": number, "best_step": None}
        began, began_cpu = time.perf_counter(), time.thread_time()
        saver.save(objective, optimiser, number, meta)
        blocked[beside].append(time.perf_counter() - began)
        busy[beside].append(time.thread_time() - began_cpu)
        saver.settle()
        whole = time.perf_counter() - began
        how = "beside" if beside else "at once"
        print(
            f"{how:8} held up {blocked[beside][-1]:6.2f} s (CPU {busy[beside][-1]:5.2f} s), "
            f"in force after {whole:6.2f} s"
        )
    for name, times in (("held up", blocked), ("CPU time", busy)):
        ratio = median(times[True]) / median(times[False])
        print(f"{name}, beside / at once: {ratio:.3f} (medians of {args.rounds})")
    shutil.rmtree(folder.path)


if __name__ == "__main__":
    main()
