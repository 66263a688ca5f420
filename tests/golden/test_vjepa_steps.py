"""Steps of the trainer with method vjepa against a plain loop written out as V-JEPA's code does.

The loop knows nothing of vsalt but its networks: its target, loss, clipping, optimiser, schedules
and moving average are torch's own functions and the formulas of facebookresearch/jepa at 51c59d5,
one batch per step in the place of micro-batches.
"""

import copy
import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from support.tiny import make_batch
from support.trainers import Batches, make_progress, make_trainer, make_vjepa
from vsalt.objectives.config import VjepaConfig
from vsalt.training.config import LoopConfig, OptimConfig
from vsalt.training.stop import StopFlag

STEPS, WARMUP, STRETCH = 6, 2, 1.25
START, PEAK, FINAL, DECAYS, CLIP = 1e-3, 4e-3, 1e-4, (0.04, 0.4), 0.5
MOMENTA = (0.6, 1.0)
EPS = 1e-4
"""Far above rounding: a key's bias has no gradient, and AdamW would make a step of its noise."""
GRID = (2, 2, 3)


def rate(step: int) -> float:
    if step < WARMUP:
        return START + (PEAK - START) * step / WARMUP
    progress = (step - WARMUP) / (int(STRETCH * STEPS) - WARMUP)
    return FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * progress))


def decay(step: int) -> float:
    progress = step / int(STRETCH * STEPS)
    return DECAYS[1] + (DECAYS[0] - DECAYS[1]) * 0.5 * (1 + math.cos(math.pi * progress))


def gather(tokens: Tensor, ids: Tensor) -> Tensor:
    return torch.stack([rows[picked] for rows, picked in zip(tokens, ids, strict=True)])


def plain_loop(encoder: nn.Module, predictor: nn.Module) -> tuple[nn.Module, list[float]]:
    """Train in place; return the moving average and the loss of every step."""
    target = copy.deepcopy(encoder)
    for param in target.parameters():
        param.requires_grad = False
    named = [*encoder.named_parameters(), *predictor.named_parameters()]
    groups = [
        {"params": [param for _, param in named if param.ndim > 1]},
        {"params": [param for _, param in named if param.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=EPS, foreach=False)
    losses = []
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rate(step)
        optimiser.param_groups[0]["weight_decay"] = decay(step)
        batches = [make_batch(2, seed=100 * step + index) for index in range(2)]
        clips = torch.cat([batch.clips for batch in batches])
        with torch.no_grad():
            latents = nn.functional.layer_norm(target(clips), (24,))
        loss = torch.zeros(())
        for kind in range(2):
            context = torch.cat([batch.masks[kind].context for batch in batches])
            hidden = torch.cat([batch.masks[kind].targets for batch in batches])
            guess = predictor(encoder(clips, context), context, hidden, GRID)
            loss = loss + (guess - gather(latents, hidden)).abs().mean()
        loss = loss / 2
        optimiser.zero_grad()
        loss.backward()
        if step >= WARMUP:
            nn.utils.clip_grad_norm_(encoder.parameters(), CLIP)
            nn.utils.clip_grad_norm_(predictor.parameters(), CLIP)
        optimiser.step()
        momentum = MOMENTA[0] + step * (MOMENTA[1] - MOMENTA[0]) / (STEPS * STRETCH)
        with torch.no_grad():
            for theirs, own in zip(encoder.parameters(), target.parameters(), strict=True):
                own.mul_(momentum).add_((1 - momentum) * theirs)
        losses.append(loss.item())
    return target, losses


@pytest.mark.parametrize("clip_after_warmup", [True, False])
def test_steps_are_those_of_a_plain_loop(tmp_path: Path, clip_after_warmup: bool) -> None:
    config = VjepaConfig(momentum=MOMENTA[0], momentum_final=MOMENTA[1])
    objective = make_vjepa(config=config, num_steps=STRETCH * STEPS)
    encoder = copy.deepcopy(objective.trainable["encoder"])
    predictor = copy.deepcopy(objective.trainable["predictor"])
    target, losses = plain_loop(encoder, predictor)

    optim = OptimConfig(
        lr=PEAK,
        lr_start=START,
        lr_final=FINAL,
        lr_scaling="none",
        warmup_steps=WARMUP,
        betas=(0.9, 0.999),
        eps=EPS,
        weight_decay=DECAYS[0],
        weight_decay_final=DECAYS[1],
        schedule_stretch=STRETCH,
        clip_norm=CLIP,
        clip_after_warmup=clip_after_warmup,
    )
    loop = LoopConfig(steps=STEPS, batch_size=4, micro_batch_size=2, log_every=1)
    trainer = make_trainer(tmp_path, objective, loop=loop, optim=optim)
    trainer.run(Batches(0, trainer.loop), StopFlag(), make_progress(trainer.loop))
    for log in (trainer.metrics, trainer.timings, trainer.health.alarms.log):
        log.close()
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line)["loss"] for line in lines]
    pairs = [
        (objective.trainable["encoder"], encoder),
        (objective.trainable["predictor"], predictor),
        (objective.encoder, target),
    ]
    off = max(
        (own - plain).abs().max().item()
        for ours, theirs in pairs
        for own, plain in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    if clip_after_warmup:
        assert logged == pytest.approx(losses, rel=1e-5)
        assert off < 2e-5
    else:  # Gradients above the norm before the end of warm-up: AdamW remembers their sizes.
        assert off > 1e-4
    assert min(abs(one - two) for one, two in itertools.pairwise(losses)) > 1e-3
