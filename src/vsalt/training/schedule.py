"""Learning rate and weight decay as functions of the step alone."""

import math

from vsalt.training.config import OptimConfig


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of step 0, 1, ..., num_steps - 1.

    Linear from `lr_start` to `lr` over `warmup_steps`. Then with schedule `cosine` half a cosine
    down to `lr_final` (SALT, arXiv 2509.24317, table of hyper-parameters); with `constant` no
    change until the last `cooldown_steps`, over which it falls linearly to `lr_final` (V-JEPA 2,
    arXiv 2506.09985).

    Args:
        step: the step.
        num_steps: length of the run; the schedule is `schedule_stretch` times as long.
        config: a resolved config.
    """
    warmup = config.warmup_steps
    assert warmup is not None, "resolve the config first"
    if step < warmup:
        return config.lr_start + (config.lr - config.lr_start) * step / warmup
    length = _stretched(num_steps, config)
    if config.schedule == "constant":
        begin = length - config.cooldown_steps
        progress = max(0, step - begin) / max(1, config.cooldown_steps)
        return config.lr + (config.lr_final - config.lr) * progress
    progress = (step - warmup) / max(1, length - warmup)
    return _half_cosine(config.lr, config.lr_final, progress)


def weight_decay(step: int, num_steps: int, config: OptimConfig) -> float:
    """Return the weight decay of a step: half a cosine from `weight_decay` to the final value."""
    progress = step / _stretched(num_steps, config)
    return _half_cosine(config.weight_decay, config.weight_decay_final, progress)


def clips_gradients(step: int, config: OptimConfig) -> bool:
    """Return whether gradients are clipped at a step of a resolved config."""
    assert config.warmup_steps is not None, "resolve the config first"
    waits = config.clip_after_warmup and step < config.warmup_steps
    return config.clip_norm is not None and not waits


def _stretched(num_steps: int, config: OptimConfig) -> int:
    """Length of the schedules in whole steps, as V-JEPA's code rounds it."""
    return int(config.schedule_stretch * num_steps)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
