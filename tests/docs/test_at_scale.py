"""The tables of docs/explanation/at-scale.md are what the formulas give."""

from functools import cache

import pytest

from support.pages import ROOT
from vsalt.compute.paper_tables import SALT_L_HOURS
from vsalt.models.config import SizeName
from vsalt.scale.budget import Budget, Choices, plan_budget
from vsalt.scale.cluster import GIB, build_cluster
from vsalt.scale.stages import Stage, plan_stages

PAGE = (ROOT / "docs/explanation/at-scale.md").read_text(encoding="utf-8")
SIZES = pytest.mark.parametrize("size", ["L", "H", "g", "G"])
CLUSTER, ASSUMED = build_cluster({}, "bf16")


@cache
def stages(size: SizeName) -> list[Stage]:
    return plan_stages("paper-vitl", size=size)


def budgets(size: SizeName, gpus: int, choices: Choices | None = None) -> list[Budget]:
    return [plan_budget(each, gpus, CLUSTER, choices or Choices()) for each in stages(size)]


def expect(cells: list[str]) -> None:
    row = f"| {' | '.join(cells)} |"
    assert row in PAGE, f"write into docs/explanation/at-scale.md:\n{row}"


@SIZES
def test_memory(size: SizeName) -> None:
    found = budgets(size, 64)[1]
    memory = found.memory
    sharded = budgets(size, 64, Choices(sharding="shard"))[1].memory.total
    state = memory.weights + memory.gradients + memory.optimiser
    parts = (state, memory.teacher, memory.weight_copies, memory.activations, memory.total, sharded)
    gib = [f"{part / GIB:.1f}" for part in parts]
    weights = f"{found.stage.networks.num_weights / 1e6:,.0f} M"
    expect([size, weights, *gib, str(found.largest_micro_batch)])


@SIZES
def test_communication_and_cores(size: SizeName) -> None:
    found = budgets(size, 64)[1]
    sharded = budgets(size, 64, Choices(sharding="shard"))[1]
    sent = [
        cell
        for each in (found.exchange, sharded.exchange)
        for cell in (f"{each.link_bytes / 1e9:.2f}", f"{each.seconds:.3f}")
    ]
    decode = found.decode
    cores = [f"{decode.cores_per_node:.1f}", f"{decode.with_cached_latents:.1f}"]
    expect([size, *sent, f"{found.compute_s:.2f}", f"{decode.clips_per_s:,.0f}", *cores])


@SIZES
def test_seconds_of_a_step(size: SizeName) -> None:
    steps = [budgets(size, gpus)[1].step_s for gpus in (8, 16, 32, 64, 128, 256, 512)]
    expect([size, *(f"{best:.3g}–{worst:.3g}" for best, worst in steps)])


@SIZES
def test_hours(size: SizeName) -> None:
    pairs = [
        [sum(each.gpu_hours[end] for each in budgets(size, gpus)[:2]) for end in (0, 1)]
        for gpus in (8, 64, 512)
    ]
    pairs.append(list(budgets(size, 64)[2].gpu_hours))
    expect([size, *(f"{best:,.0f}–{worst:,.0f}" for best, worst in pairs)])


def test_single_numbers() -> None:
    assert f"{SALT_L_HOURS:,} A100-hours" in PAGE
    large = budgets("G", 512)[1]
    assert f"takes {large.exchange.seconds / large.compute_s:.0%}".replace("%", " %") in PAGE
    assert all(f"`{each.flag}" in PAGE for each in ASSUMED)
    latents = budgets("L", 64)[1].decode.latents_gb_per_s
    assert f"\n{latents:.1f} GB/s of all nodes" in PAGE
