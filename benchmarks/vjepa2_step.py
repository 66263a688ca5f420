"""Training steps per second beside V-JEPA 2's own modules, on equal work, in one run.

usage: python benchmarks/vjepa2_step.py CHECKOUT [--size S] [--frames 16] [--pixels 112] [--clips 4]
           [--device cpu] [--precision fp32] [--threads 2] [--steps 8] [--out FILE]

CHECKOUT is a checkout of facebookresearch/vjepa2, whose `src` is imported from there; nothing of
it is in this repository. It needs timm and einops; where they are missing, the two names that its
video encoder imports of them and never calls at these settings (`drop_path` at rate 0, `rearrange`)
are stood in for.

Both sides see the same clips and the same masks, drawn as V-JEPA 2 draws them. Their step is that
of its training program: the moving average's forward pass and layer norm, encoder and predictor
once per mask, L1, backward, AdamW, moving average; `checkpointed` as its configs ship it
(activations recomputed), `best` without, `compiled` by torch.compile, which takes minutes. Ours are
vsalt's own step, clipping and the finite check included. Every row has a process of its own, set up
as its project sets it up, and waits while another does a step: so a busy machine is busy for all.
Rows are compared by the median over rounds of the ratio of two times of one round, by the clock
(`speed_up`) and, on a CPU, by the time of its processors (`speed_up_cpu`), which does not count
waiting for other programs.
"""

import argparse
import contextlib
import copy
import json
import math
import multiprocessing
import statistics
import sys
import time
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vsalt.bench.machine import cpu_name, synchronise
from vsalt.config import PretrainConfig
from vsalt.data.types import Batch
from vsalt.masking.config import BlocksConfig
from vsalt.masking.vjepa2 import VJepa2Masks
from vsalt.models.config import ENCODERS, EncoderConfig, PredictorConfig, grid_of
from vsalt.models.vit import Encoder
from vsalt.objectives.config import SaltConfig, VjepaConfig
from vsalt.objectives.protocol import Objective
from vsalt.presets import stage_preset
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.token_codec import TokenCodec
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective, resolve
from vsalt.training.config import DeviceConfig
from vsalt.training.device import set_up
from vsalt.training.distributed import ALONE
from vsalt.training.optim import all_finite, build_optimiser, clip_gradients, gradient_norms
from vsalt.training.place import place

KINDS = (
    BlocksConfig(num_blocks=8, spatial_scale=0.15),
    BlocksConfig(num_blocks=2, spatial_scale=0.7),
)
PREDICTOR = {"S": (384, 12, 12), "B": (384, 12, 12), "L": (384, 12, 12)}
LR, BETAS, EPS, DECAY = 1e-4, (0.9, 0.999), 1e-8, 0.04
MOMENTUM = 0.99925

Step = Callable[[], float]

ROWS = (
    "theirs, best",
    "theirs, checkpointed",
    "theirs, compiled",
    "vjepa",
    "vjepa, compiled",
    "salt",
    "salt, small teacher",
    "salt, small teacher, half the targets",
    "salt, cached latents",
    "salt, cached latents, half the targets",
)


class Seconds(NamedTuple):
    """Of one step: by the clock, and of the process's processors."""

    clock: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--size", choices=sorted(PREDICTOR), default="S")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=112)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--teacher", default="Ti", help="size of the small teacher")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rows", nargs="*", choices=ROWS, help="only these")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [name for name in ROWS if not args.rows or name in args.rows]
    seconds = time_steps(rows, args)
    paths = ("checkout", "out")
    settings = {key: str(value) for key, value in vars(args).items() if key not in paths}
    result = {
        "machine": machine(args.device, args.threads),
        "settings": settings,
        "tokens": tokens_of(args),
        "rows": rows_of(seconds, args.clips),
    }
    print(json.dumps(result, indent=2))
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def machine(device: str, threads: int) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device == "cuda" else cpu_name()
    return {"device": name, "threads": str(threads), "torch": torch.__version__}


def make_batch(args: argparse.Namespace) -> Batch:
    """Return clips of noise and V-JEPA 2's masks; the same in every process."""
    torch.manual_seed(0)
    clips = torch.randint(
        256, (args.clips, 3, args.frames, args.pixels, args.pixels), dtype=torch.uint8
    )
    grid = grid_of(args.frames, (args.pixels, args.pixels), (2, 16, 16))
    masks = tuple(VJepa2Masks(grid, kind).draw(args.clips) for kind in KINDS)
    return Batch(clips=clips, masks=masks, rows=tuple(range(args.clips))).to(args.device)


def tokens_of(args: argparse.Namespace) -> dict[str, Any]:
    grid = grid_of(args.frames, (args.pixels, args.pixels), (2, 16, 16))
    masks = make_batch(argparse.Namespace(**{**vars(args), "device": "cpu"})).masks
    seen_and_predicted = [[mask.context.shape[1], mask.targets.shape[1]] for mask in masks]
    return {"clip": math.prod(grid), "seen and predicted": seen_and_predicted}


def make_step(row: str, args: argparse.Namespace) -> Step:
    batch = make_batch(args)
    if row == "theirs, best":
        return their_step(args, batch)
    if row == "theirs, checkpointed":
        return their_step(args, batch, checkpointed=True)
    if row == "theirs, compiled":
        return their_step(args, batch, compiled=True)
    if row == "vjepa":
        return our_step(args, batch, "vjepa")
    if row == "vjepa, compiled":
        return our_step(args, batch, "vjepa", compiled=True)
    if row == "salt":
        return our_step(args, batch, "salt", args.size)
    if row.endswith("half the targets"):
        batch = half_of_targets(batch)
    if "small teacher" in row:
        return our_step(args, batch, "salt", args.teacher)
    return cached_step(args, batch)


def time_steps(rows: Sequence[str], args: argparse.Namespace) -> dict[str, list[Seconds]]:
    """Return the times of every step, after one round that is not timed."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for row in rows:
        pipes[row], theirs = context.Pipe()
        context.Process(target=serve, args=(row, args, theirs), daemon=True).start()
        theirs.close()
        pipes[row].recv()
    seconds: dict[str, list[Seconds]] = {row: [] for row in rows}
    for turn in range(args.steps + 1):
        for row, pipe in pipes.items():
            pipe.send("step")
            times = pipe.recv()
            if turn:
                seconds[row].append(times)
    return seconds


def serve(row: str, args: argparse.Namespace, pipe: Connection) -> None:
    """Do a step whenever asked, and answer with its times."""
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.set_float32_matmul_precision("high")
    step = make_step(row, args)
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while pipe.recv():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            step()
            synchronise(args.device)
            pipe.send(Seconds(time.perf_counter() - begin, time.process_time() - begin_cpu))


def rows_of(seconds: dict[str, list[Seconds]], clips: int) -> list[dict[str, Any]]:
    base = seconds.get("theirs, best")
    rows = []
    for name, times in seconds.items():
        clock = statistics.median(second.clock for second in times)
        row: dict[str, Any] = {"row": name, "clips_per_s": round(clips / clock, 3)}
        if base is not None:
            for label, index in (("speed_up", 0), ("speed_up_cpu", 1)):
                pairs = zip(base, times, strict=True)
                ratios = sorted(other[index] / own[index] for other, own in pairs)
                row[label] = round(statistics.median(ratios), 3)
                row[f"{label}_range"] = [round(ratios[0], 3), round(ratios[-1], 3)]
        rows.append(row)
    return rows


def half_of_targets(batch: Batch) -> Batch:
    """Keep every second target token of every mask."""
    masks = tuple(replace(mask, targets=mask.targets[:, ::2].contiguous()) for mask in batch.masks)
    return replace(batch, masks=masks)


def our_step(
    args: argparse.Namespace,
    batch: Batch,
    method: str,
    teacher: str | None = None,
    *,
    compiled: bool = False,
) -> Step:
    """Return a step of vsalt's trainer, without its logs."""
    torch.manual_seed(1)
    frozen = Encoder(EncoderConfig(size=teacher)) if teacher else None  # type: ignore[arg-type]
    objective = build_objective(our_config(args, method), frozen)
    return trainers_step(args, batch, objective, compiled=compiled)


def cached_step(args: argparse.Namespace, batch: Batch) -> Step:
    """Return a step that reads latents of a teacher of the student's size, kept in int8."""
    width = ENCODERS[args.size].width
    codec = TokenCodec("int8", tokens_of(args)["clip"], width)
    latents = torch.randn(args.clips, codec.num_tokens, width)
    records = codec.encode(nn.functional.layer_norm(latents, (width,))).to(args.device)
    objective = build_objective(our_config(args, "salt"), CachedTeacher(codec, num_params=0))
    return trainers_step(args, replace(batch, latents=records), objective)


def trainers_step(
    args: argparse.Namespace, batch: Batch, objective: Objective, *, compiled: bool = False
) -> Step:
    # V-JEPA 2's program does not ask for deterministic kernels on CUDA either.
    config = DeviceConfig(threads=args.threads, deterministic=False, compile=compiled)
    set_up(config, args.device)
    place(objective, config, "replicate", ALONE, args.device, num_parts=1)
    objective.trainable.train()
    groups = objective.param_groups()
    optimiser = build_optimiser(groups, our_config(args, "salt").stage.optim)
    count = 0

    def step() -> float:
        nonlocal count
        optimiser.zero_grad(set_to_none=True)
        sums = accumulate(objective, [batch], args.clips, args.device, args.precision)
        norms = gradient_norms(groups)
        assert all_finite([sums["loss"], *norms.values()])
        clip_gradients(groups, norms, 10.0)
        optimiser.step()
        objective.after_step(count)
        count += 1
        return float(sums["loss"])

    return step


def our_config(args: argparse.Namespace, method: str) -> PretrainConfig:
    config = stage_preset("vjepa2-faithful", "vjepa")
    width, depth, heads = PREDICTOR[args.size]
    stage = replace(
        config.stage,
        method=VjepaConfig(momentum=MOMENTUM, momentum_final=MOMENTUM)
        if method == "vjepa"
        else SaltConfig(),
        encoder=EncoderConfig(size=args.size),
        predictor=PredictorConfig(width=width, depth=depth, heads=heads),
        loop=replace(config.stage.loop, batch_size=24, micro_batch_size=24),
    )
    clip = replace(config.clip, num_frames=args.frames, size=(args.pixels, args.pixels))
    return resolve(replace(config, clip=clip, stage=stage))


def their_step(
    args: argparse.Namespace, batch: Batch, *, checkpointed: bool = False, compiled: bool = False
) -> Step:
    """Return V-JEPA 2's training step with its own modules; `compiled` is its `compile_model`."""
    encoder_module, predictor_module = their_modules(args.checkout)
    numbers = ENCODERS[args.size]
    width, depth, heads = PREDICTOR[args.size]
    shared = {
        "img_size": args.pixels, "patch_size": 16, "num_frames": args.frames, "tubelet_size": 2,
        "uniform_power": True, "use_sdpa": True, "use_rope": True, "mlp_ratio": 4, "qkv_bias": True,
        "use_activation_checkpointing": checkpointed,
        "norm_layer": lambda size: nn.LayerNorm(size, eps=1e-6),
    }  # fmt: skip
    torch.manual_seed(1)
    encoder = encoder_module.VisionTransformer(
        embed_dim=numbers.width, depth=numbers.depth, num_heads=numbers.heads, **shared
    ).to(args.device)
    predictor = predictor_module.VisionTransformerPredictor(
        embed_dim=numbers.width, predictor_embed_dim=width, depth=depth, num_heads=heads,
        use_mask_tokens=True, num_mask_tokens=2, zero_init_mask_tokens=True, **shared
    ).to(args.device)  # fmt: skip
    target = copy.deepcopy(encoder).requires_grad_(False)
    if compiled:
        for network in (encoder, target, predictor):
            network.compile()
    named = [*encoder.named_parameters(), *predictor.named_parameters()]
    groups = [
        {"params": [p for n, p in named if "bias" not in n and p.ndim != 1]},
        {"params": [p for n, p in named if "bias" in n or p.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    mixed = args.precision == "bf16"
    scaler = torch.amp.GradScaler(args.device) if mixed else None
    clips = standardised(batch.clips)
    online, moving = list(encoder.parameters()), list(target.parameters())

    def step() -> float:
        context = torch.autocast(args.device, torch.bfloat16) if mixed else contextlib.nullcontext()
        with context:
            with torch.no_grad():
                latents = target(clips)
                latents = nn.functional.layer_norm(latents, latents.shape[-1:])
            losses = []
            for index, mask in enumerate(batch.masks):
                seen = encoder(clips, masks=mask.context)
                guess = predictor(seen, mask.context, mask.targets, mask_index=index)
                wanted = latents.gather(
                    1, mask.targets[..., None].expand(-1, -1, latents.shape[-1])
                )
                losses.append((guess - wanted).abs().mean())
            loss = torch.stack(losses).mean()
        if scaler is None:
            loss.backward()
            optimiser.step()
        else:
            scaler.scale(loss).backward()
            scaler.unscale_(optimiser)
            scaler.step(optimiser)
            scaler.update()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_mul_(moving, MOMENTUM)
            torch._foreach_add_(moving, online, alpha=1 - MOMENTUM)
        return float(loss)

    return step


def standardised(clips: Tensor) -> Tensor:
    """Their loader gives float frames that are standardised already; that is not timed."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shape = (1, 3, 1, 1, 1)
    return (clips.float() / 255 - mean.view(shape).to(clips.device)) / std.view(shape).to(
        clips.device
    )


def their_modules(checkout: Path) -> tuple[Any, Any]:
    """Import encoder and predictor of a checkout."""
    sys.path.insert(0, str(checkout.resolve()))
    try:
        import timm.models.layers  # noqa: F401
    except ImportError:
        layers = types.ModuleType("timm.models.layers")
        layers.drop_path = lambda x, *_: x  # type: ignore[attr-defined]
        sys.modules |= {
            "timm": types.ModuleType("timm"),
            "timm.models": types.ModuleType("timm.models"),
        }
        sys.modules["timm.models.layers"] = layers
    try:
        import einops  # noqa: F401
    except ImportError:
        einops_module = types.ModuleType("einops")
        einops_module.rearrange = None  # type: ignore[attr-defined]
        sys.modules["einops"] = einops_module
    from src.models import predictor, vision_transformer

    return vision_transformer, predictor


if __name__ == "__main__":
    sys.exit(main())
