"""Bytes of exchanges by formula against those that torch asks the process group for."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support import collectives_driver
from support.collectives_driver import NUM_PARTS, SCENARIOS, Scenario, configure
from vsalt.models.config import ENCODERS, PREDICTORS
from vsalt.scale.communication import Collective, exchange, step_collectives
from vsalt.scale.memory import Sharding
from vsalt.scale.networks import Networks

DRIVER = Path(collectives_driver.__file__)
TUBELET = (2, 16, 16)
LARGE = Networks(ENCODERS["L"], PREDICTORS["L"], ENCODERS["L"], TUBELET)


def counted(num_processes: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(num_processes)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def networks_of(scenario: Scenario) -> Networks:
    config, teacher = configure(scenario)
    stage = config.stage
    source = stage.encoder if scenario.method == "vjepa" else teacher
    return Networks(
        stage.encoder.architecture,
        stage.predictor.architecture,
        None if source is None else source.architecture,
        stage.encoder.tubelet,
    )


def target_sharding(scenario: Scenario) -> Sharding:
    return scenario.sharding if scenario.method == "vjepa" else scenario.teacher_sharding


def by_formula(scenario: Scenario, num_gpus: int) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in step_collectives(
        networks_of(scenario),
        num_gpus=num_gpus,
        num_masks=2,
        num_parts=NUM_PARTS,
        sharding=scenario.sharding,
        target_sharding=target_sharding(scenario),
    ):
        total[each.operation] += each.num_bytes * each.times
    return dict(total)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 4])
def test_bytes_are_those_that_are_sent(num_processes: int) -> None:
    found = counted(num_processes)
    expected = {name: by_formula(each, num_processes) for name, each in SCENARIOS.items()}
    assert {name: each["bytes"] for name, each in found.items()} == expected
    # Nothing else is exchanged, but for the agreement on buckets after the first step.
    assert all(set(each["others"]) <= {"c10d::broadcast_"} for each in found.values())
    for name, scenario in SCENARIOS.items():
        units = networks_of(scenario).target_units
        # Widths here are multiples of four, so no part is filled up.
        parts = num_processes if target_sharding(scenario) == "shard" else 1
        assert found[name]["target_weights"] == sum(unit.shard(parts) for unit in units)


def test_a_ring_by_hand() -> None:
    # Of 8 GPUs each passes on 7 of 8 parts, twice for a sum that all get.
    assert Collective("", "all_reduce", 800, 1).sent_bytes(8) == 1400
    assert Collective("", "all_gather", 800, 3).sent_bytes(8) == 2100
    assert Collective("", "reduce_scatter", 800, 1).sent_bytes(8) == 700
    assert Collective("", "all_reduce", 800, 1).sent_bytes(1) == 0


def test_gradients_of_vit_l() -> None:
    # Encoder 303,885,312; predictor 12 blocks of 1,774,464, its maps in and out, a mask token, a
    # norm: 1024 x 384 + 384, 384 x 1024 + 1024, 384, 768.
    weights = 303_885_312 + 12 * 1_774_464 + 393_600 + 394_240 + 384 + 768
    (found,) = step_collectives(LARGE, num_gpus=8, num_masks=2, num_parts=16, sharding="replicate")
    assert found.num_bytes == 4 * weights == 4 * LARGE.num_weights


def test_the_slower_link_decides_and_one_node_has_no_network() -> None:
    summed = (Collective("gradients", "all_reduce", 1_000_000_000, 1),)
    rates = {"link_bytes_per_s": 100e9, "network_bytes_per_s": 10e9}
    inside = exchange(summed, num_gpus=8, num_nodes=1, window_s=0.0, **rates)
    across = exchange(summed, num_gpus=16, num_nodes=2, window_s=0.0, **rates)
    assert inside.seconds == pytest.approx(0.0175)
    assert inside.network_bytes == 0
    assert across.seconds == pytest.approx(0.1875)
    assert across.network_bytes == across.link_bytes == pytest.approx(1.875e9)
    assert (inside.hidden_at_best, across.least_exposed_s) == (0, across.seconds)


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_not_all_can_be_hidden(sharding: Sharding) -> None:
    collectives = step_collectives(LARGE, num_gpus=16, num_masks=2, num_parts=4, sharding=sharding)
    found = exchange(
        collectives,
        num_gpus=16,
        num_nodes=2,
        link_bytes_per_s=100e9,
        network_bytes_per_s=10e9,
        window_s=1e9,
    )
    assert 0 < found.least_exposed_s < 0.05 * found.seconds
    half = exchange(
        collectives,
        num_gpus=16,
        num_nodes=2,
        link_bytes_per_s=100e9,
        network_bytes_per_s=10e9,
        window_s=found.seconds / 2,
    )
    assert half.hidden_at_best == pytest.approx(0.5)


def test_one_gpu_sends_nothing() -> None:
    assert step_collectives(LARGE, num_gpus=1, num_masks=2, num_parts=1, sharding="shard") == ()
    found = exchange(
        (), num_gpus=1, num_nodes=1, link_bytes_per_s=1.0, network_bytes_per_s=1.0, window_s=0.0
    )
    assert (found.seconds, found.least_exposed_s) == (0.0, 0.0)
