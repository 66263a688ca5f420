"""How many masks per second every family draws, in one process, as a loader's worker does."""

import time
from dataclasses import replace
from itertools import count
from typing import Any, get_args

from vsalt.bench.machine import Clock, describe_machine
from vsalt.config import PretrainConfig, clip_grid
from vsalt.errors import ConfigError
from vsalt.masking.config import MASKS, MaskConfig, MultiblockConfig, Policy
from vsalt.masking.sampler import build_mask_sampler, resolve_masks
from vsalt.masking.types import Grid

SECONDS = 0.5
"""Each family draws so long."""


def measure_masks(
    config: PretrainConfig, *, seconds: float = SECONDS, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Measure every family of masks with its defaults, and the policies of multi-block ones.

    Args:
        config: resolved, as `bench_data` gives it; its clips give the grid, its batch the group.
        seconds: that each family draws.
        clock: seconds.

    Raises:
        ConfigError: if the seconds are not above 0.
    """
    if not 0 < seconds < float("inf"):
        raise ConfigError([f"--seconds is {seconds}; it must be above 0, and finite"])
    grid, clips = clip_grid(config.clip, config.stage, "video"), config.stage.loop.batch_size
    rows = [_measure(masks, grid, clips, config.seed, seconds, clock) for masks in all_masks(clips)]
    return {
        "kind": "masks",
        "machine": describe_machine("cpu"),
        "settings": {"grid": list(grid), "clips": clips, "seconds": seconds},
        "rows": rows,
    }


def all_masks(group_size: int) -> list[MaskConfig]:
    """Return every family with its defaults, multi-block masks once for each policy."""
    found: list[MaskConfig] = []
    for kind in MASKS.values():
        masks = kind()
        if isinstance(masks, MultiblockConfig):
            policies: tuple[Policy, ...] = get_args(Policy)
            found += [replace(masks, policy=each, group_size=group_size) for each in policies]
        else:
            found.append(masks)
    return found


def _measure(
    masks: MaskConfig, grid: Grid, clips: int, seed: int, seconds: float, clock: Clock
) -> dict[str, Any]:
    """Draw masks for batch after batch; a family that the grid does not allow says why."""
    names = {
        "family": masks.name,
        "policy": masks.policy if isinstance(masks, MultiblockConfig) else None,
        "kinds": list(masks.kind_names),
    }
    try:
        sampler = build_mask_sampler(resolve_masks(masks, grid), grid, seed)
    except ConfigError as error:
        return {**names, "counts": None, "masks_per_s": None, "refused": "; ".join(error.problems)}
    for position in range(clips):
        sampler(0, position)
    begin, drawn = clock(), 0
    for step in count(1):
        for position in range(clips):
            drawn += len(sampler(step, position))
        spent = clock() - begin
        if spent >= seconds:
            break
    return {
        **names,
        "counts": [list(pair) for pair in sampler.counts],
        "masks_per_s": drawn / spent,
        "refused": None,
    }
