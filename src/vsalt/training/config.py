"""Settings of optimiser, loop and device."""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from vsalt.errors import report_problems

Sharding: TypeAlias = Literal["replicate", "shard"]

WARMUP_SHARE = 0.08
"""Warm-up of presets without an absolute length, as a share of the run."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW and its schedules. Learning rates hold at `lr_batch_size` clips per step."""

    lr: float = 6.25e-4
    """Peak learning rate."""
    lr_start: float = 2e-4
    """Learning rate at the first step of warm-up."""
    lr_final: float = 1e-6
    """Learning rate at the end."""
    lr_batch_size: int = 3072
    """Batch size that the three learning rates are meant for."""
    lr_scaling: Literal["sqrt", "linear", "none"] = "sqrt"
    """How learning rates change with the batch size: by the ratio's square root, the ratio, not."""
    warmup_steps: int | None = None
    """Steps of linear warm-up; unset: 8 % of the run."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the two moments."""
    eps: float = 1e-8
    """AdamW's epsilon."""
    weight_decay: float = 0.04
    """Weight decay at the start; matrices only."""
    weight_decay_final: float = 0.4
    """Weight decay at the end, reached along half a cosine."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """The learning rate after warm-up: half a cosine down to lr_final, or constant (V-JEPA 2)."""
    schedule_stretch: float = 1.0
    """All schedules run as if the run were so many times as long, and end early (V-JEPA: 1.25)."""
    cooldown_steps: int = 0
    """With schedule constant: last steps, over which the learning rate falls to lr_final."""
    clip_norm: float | None = 0.02
    """L2 norm to which gradients of encoder and predictor are clipped, each on its own."""
    clip_after_warmup: bool = False
    """Clip only after warm-up, as V-JEPA."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = self._schedule_problems()
        problems += [
            f"optim.{name.replace('_', '-')} is {getattr(self, name)}; "
            "it must be above 0, and finite"
            for name in ("lr", "lr_batch_size", "eps")
            if not 0 < getattr(self, name) < math.inf
        ]
        problems += [
            f"optim.{name.replace('_', '-')} is {getattr(self, name)}; "
            "it must be 0 or more, and finite"
            for name in ("lr_start", "lr_final", "weight_decay", "weight_decay_final")
            if not 0 <= getattr(self, name) < math.inf
        ]
        if self.warmup_steps is not None and self.warmup_steps < 0:
            problems.append(f"optim.warmup-steps is {self.warmup_steps}; it must be 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            problems.append(f"optim.clip-norm is {self.clip_norm}; it must be above 0, or None")
        if not all(0 <= beta < 1 for beta in self.betas):
            problems.append(f"optim.betas are {self.betas}; both must be in [0, 1)")
        report_problems(problems)

    def _schedule_problems(self) -> list[str]:
        problems = []
        if not 1 <= self.schedule_stretch < math.inf:
            problems.append(
                f"optim.schedule-stretch is {self.schedule_stretch}; it must be at least 1, finite"
            )
        if self.cooldown_steps < 0:
            problems.append(f"optim.cooldown-steps is {self.cooldown_steps}; it must be 0 or more")
        elif self.cooldown_steps and self.schedule == "cosine":
            problems.append(
                f"optim.cooldown-steps is {self.cooldown_steps}, but half a cosine has none; set "
                "it to 0, or take --optim.schedule constant"
            )
        elif self.cooldown_steps and self.schedule_stretch != 1:
            problems.append(
                f"optim.cooldown-steps is {self.cooldown_steps} and optim.schedule-stretch "
                f"{self.schedule_stretch}, so the run would end before it has cooled down; set one "
                "of them to its default"
            )
        return problems

    def warmup_of(self, num_steps: int) -> int:
        """Return the steps of warm-up of a run: those that are given, or their usual share."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return round(WARMUP_SHARE * num_steps)

    def resolved(self, num_steps: int, batch_size: int) -> "OptimConfig":
        """Return the config for a run: warm-up in steps, learning rates for its batch size."""
        ratio = batch_size / self.lr_batch_size
        factor = {"sqrt": ratio**0.5, "linear": ratio, "none": 1.0}[self.lr_scaling]
        warmup = self.warmup_of(num_steps)
        problems = []
        # A stage of no steps has no schedule that could be wrong.
        if num_steps and warmup >= num_steps:
            problems.append(
                f"optim.warmup-steps is {warmup}, but the run has {num_steps} steps; set it "
                f"below that, or to None for {WARMUP_SHARE:.0%} of the run"
            )
        elif num_steps and warmup + self.cooldown_steps > num_steps:
            problems.append(
                f"optim.cooldown-steps is {self.cooldown_steps}, but after warm-up the run has "
                f"{num_steps - warmup} steps; set it to that or less"
            )
        report_problems(problems)
        return replace(
            self,
            lr=self.lr * factor,
            lr_start=self.lr_start * factor,
            lr_final=self.lr_final * factor,
            lr_batch_size=batch_size,
            warmup_steps=warmup,
        )


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long a stage runs, on how many clips at a time, and what it leaves behind."""

    steps: int = 1000
    """Optimiser steps. With 0 nothing is trained: the initial weights are the result."""
    stop_at: int | None = None
    """End after so many of the steps; schedules stay those of all."""
    batch_size: int = 32
    """Clips per step, over all processes and accumulation steps."""
    micro_batch_size: int | None = None
    """Clips per forward pass; a divisor of the batch size. Unset: the whole batch. A process
    whose share of the batch is smaller takes its share at once."""
    log_every: int = 10
    """Steps between records in metrics.jsonl; where images are mixed in, of each shape's steps."""
    health_every: int = 100
    """Steps between measures of the features' health; rounded up to a multiple of log_every."""
    val_every: int | None = None
    """Steps between two val_loss; unset: save_every."""
    save_every: int = 100
    """Steps between checkpoints."""
    keep_last: int = 2
    """Checkpoints kept, beside the best one."""
    async_save: Literal["auto", "on", "off"] = "auto"
    """Write checkpoints while training goes on, from a copy in main memory: 3 words per weight, 4
    with a moving average. The files are the same. auto: on cuda."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"loop.{name.replace('_', '-')} is {getattr(self, name)}; it must be at least 1"
            for name in (
                "batch_size",
                "log_every",
                "health_every",
                "save_every",
                "keep_last",
            )
            if getattr(self, name) < 1
        ]
        if self.steps < 0:
            problems.append(f"loop.steps is {self.steps}; it must be 0 or more")
        if self.stop_at is not None and not 1 <= self.stop_at <= self.steps:
            problems.append(
                f"loop.stop-at is {self.stop_at}; it must be from 1 to loop.steps ({self.steps}), "
                "or None"
            )
        if self.val_every is not None and self.val_every < 1:
            problems.append(f"loop.val-every is {self.val_every}; it must be at least 1")
        elif self.val_every is not None and self.save_every % self.val_every:
            problems.append(
                f"loop.save-every ({self.save_every}) must be a multiple of loop.val-every "
                f"({self.val_every}), so that every checkpoint has its val_loss"
            )
        micro = self.micro_batch_size
        if micro is not None and (micro < 1 or self.batch_size % micro):
            problems.append(
                f"loop.micro-batch-size is {micro}; it must divide loop.batch-size "
                f"({self.batch_size})"
            )
        report_problems(problems)

    @property
    def end(self) -> int:
        """Optimiser steps that are done: `stop_at`, or all."""
        return self.steps if self.stop_at is None else self.stop_at

    def with_steps(self, steps: int) -> "LoopConfig":
        """Return the config for another number of steps; `stop_at` stays the same part of them.

        Without steps there is nothing to stop.
        """
        if self.stop_at is None or steps <= 0:
            return replace(self, steps=steps, stop_at=None)
        stop_at = round(self.stop_at * steps / self.steps)
        return replace(self, steps=steps, stop_at=max(1, min(steps, stop_at)))

    def resolved(self) -> "LoopConfig":
        """Return the config with every number written out."""
        return replace(
            self,
            micro_batch_size=self.micro_batch_size or self.batch_size,
            val_every=self.val_every or self.save_every,
            health_every=math.ceil(self.health_every / self.log_every) * self.log_every,
        )


@dataclass(frozen=True, kw_only=True)
class DeviceConfig:
    """Where and in which precision the networks run."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else cpu."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast with fp32 weights on cuda, fp32 on cpu."""
    compile: bool = False
    """Compile the networks' blocks (torch.compile), which takes a minute or more at every start."""
    threads: int | None = None
    """CPU threads of the main process; unset: torch's own choice. Part of bit-exact resuming."""
    deterministic: bool = True
    """On cuda, use deterministic kernels only; exact resuming needs it. The CPU's always are."""
    timeout_s: int = 60
    """Of several processes: seconds that a step waits for the others before the run ends."""
    sharding: Sharding = "replicate"
    """Of several processes: each holds the networks that are trained, with gradients and optimiser
    state (replicate), or a part of them (shard). One process holds all of them either way."""
    teacher_sharding: Sharding = "replicate"
    """The same for a frozen teacher. A moving average is held as what it follows."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.threads is not None and self.threads < 1:
            problems.append(f"device.threads is {self.threads}; it must be at least 1")
        if self.timeout_s < 1:
            problems.append(f"device.timeout-s is {self.timeout_s}; it must be at least 1")
        report_problems(problems)
