"""Learning rate and weight decay as functions of the step alone."""

import math

from vsalt.training.config import OptimConfig


def learning_rate(step: int, num_steps: int, config: OptimConfig) -> float:
    """Return the learning rate of step 0, 1, ..., num_steps - 1.

    Linear from `lr_start` to `lr` over `warmup_steps`, then half a cosine down to `lr_final`
    (SALT, arXiv 2509.24317, table of hyper-parameters).

    Args:
        step: the step.
        num_steps: length of the run.
        config: a resolved config.
    """
    warmup = config.warmup_steps
    assert warmup is not None, "resolve the config first"
    if step < warmup:
        return config.lr_start + (config.lr - config.lr_start) * step / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return _half_cosine(config.lr, config.lr_final, progress)


def weight_decay(step: int, num_steps: int, config: OptimConfig) -> float:
    """Return the weight decay of a step: half a cosine from `weight_decay` to the final value."""
    return _half_cosine(config.weight_decay, config.weight_decay_final, step / num_steps)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
