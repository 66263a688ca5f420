"""Stages on many GPUs: operations, time, cores, what divides and fits."""

from typing import Any

import pytest
import torch

from vsalt.bench.floors import part_flops
from vsalt.bench.setup import bench_stage, bench_teacher
from vsalt.compute import paper
from vsalt.compute.paper_tables import SALT_L_HOURS
from vsalt.compute.types import ClipShapes
from vsalt.errors import ConfigError
from vsalt.models.config import ENCODERS, PREDICTORS
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.scale.budget import Budget, Choices, plan_budget
from vsalt.scale.cluster import Cluster, build_cluster
from vsalt.scale.memory import Sharding
from vsalt.scale.networks import Networks
from vsalt.scale.pace import clip_work
from vsalt.scale.stages import Stage, plan_stages
from vsalt.training.build import build_objective
from vsalt.training.plan import clip_shapes
from vsalt.training.teachers import network_of

TUBELET = (2, 16, 16)
# 1 TFLOP/s is kept up, so a clip of 10^12 operations takes a second.
CLUSTER = Cluster(
    gpus_per_node=8,
    gpu_memory_gib=80.0,
    spare_gib=0.0,
    gpu_tflops=2.0,
    mfu=0.5,
    link_gb_s=100.0,
    network_gb_s=10.0,
    cores_per_node=4.0,
    clips_per_core_s=10.0,
)
MASKS = ((367, 759), (95, 1106))


def student(**changed: Any) -> Stage:
    settings: dict[str, Any] = {
        "title": "student",
        "method": "salt",
        "size": "L",
        "teacher_size": "L",
        "networks": Networks(ENCODERS["L"], PREDICTORS["L"], ENCODERS["L"], TUBELET),
        "shapes": ClipShapes(grid=paper.CLIP_GRID, masks=MASKS),
        "steps": 3600,
        "batch_size": 3072,
        "micro_batch_size": 24,
        "group_size": 24,
    }
    return Stage(**{**settings, **changed})


def budget(gpus: int = 16, stage: Stage | None = None, **choices: Any) -> Budget:
    return plan_budget(stage or student(), gpus, CLUSTER, Choices(**choices))


@pytest.mark.parametrize("method", ["pixel", "salt", "vjepa"])
def test_operations_are_those_of_the_method(method: str) -> None:
    config = bench_stage("tiny-cpu", method)
    with torch.device("meta"):
        teacher = bench_teacher(config, "tiny-cpu")
        objective = build_objective(config, network_of(teacher))
    assert isinstance(objective, MaskedPrediction)
    shapes = clip_shapes(config)
    parts = part_flops(objective, shapes)
    stages = {each.method: each for each in plan_stages("tiny-cpu")}
    work = clip_work(stages[method].networks, stages[method].shapes)
    assert work.total == objective.flops(shapes).exact
    assert (work.teacher, work.backward) == (parts["target"], parts["backward"])


def test_time_by_hand() -> None:
    found = budget()
    # docs/explanation/performance.md: 2,527.9 x 10^9 operations of a clip, 192 clips of a GPU.
    assert found.compute_s == pytest.approx(192 * 2.5279, rel=1e-4)
    assert (found.num_parts, found.num_nodes) == (8, 2)
    # 2 nodes x 4 cores x 10 clips/s.
    assert found.decode_s == pytest.approx(38.4)
    assert found.gpu_hours == tuple(16 * seconds for seconds in found.step_s)
    assert found.step_s[1] == pytest.approx(found.compute_s + found.exchange.seconds)
    assert found.step_s[0] < found.step_s[1]
    pace = 3072 / (found.compute_s + found.exchange.least_exposed_s)
    assert found.decode.cores_per_node == pytest.approx(pace / 2 / 10)
    # Without the teacher's 47 %.
    assert found.decode.with_cached_latents == pytest.approx(pace / 20 / (1 - 0.4722), rel=1e-3)


def test_a_slow_network_is_hidden_by_the_backward_pass_of_one_mask() -> None:
    slow = Cluster(**{**vars(CLUSTER), "network_gb_s": 0.01})
    found = plan_budget(student(), 16, slow, Choices())
    # Gradients are whole when the first mask's, which are done last, have joined the second's.
    shapes = ClipShapes(grid=paper.CLIP_GRID, masks=MASKS[:1])
    window = 24 * clip_work(student().networks, shapes).backward / 1e12
    assert found.exchange.least_exposed_s == pytest.approx(found.exchange.seconds - window)


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_cached_latents_do_not_make_a_slow_network_faster(sharding: Sharding) -> None:
    slow = Cluster(**{**vars(CLUSTER), "network_gb_s": 0.001})
    found = plan_budget(student(), 16, slow, Choices(sharding=sharding))
    teacher = found.compute_s * found.work.teacher / found.work.total
    # What shards wait for was hidden by the teacher's pass, too.
    step = found.compute_s + found.exchange.least_exposed_s
    step -= teacher if sharding == "replicate" else 0
    assert found.decode.with_cached_latents == pytest.approx(3072 / step / 2 / 10)


def test_repeats_spare_cores() -> None:
    once, thrice = budget(), budget(repeats=3)
    assert thrice.decode.with_repeats == pytest.approx(once.decode.cores_per_node / 3)
    assert thrice.decode_s == pytest.approx(once.decode_s / 3)


def test_reading_can_be_the_limit() -> None:
    fast = Cluster(**{**vars(CLUSTER), "gpu_tflops": 2000.0})
    found = plan_budget(student(), 16, fast, Choices())
    assert found.step_s == (found.decode_s, found.decode_s)
    assert any("reading is the limit" in warning for warning in found.warnings)
    assert not budget().warnings


def test_what_does_not_divide_is_said() -> None:
    (warning,) = budget(gpus=40).warnings
    assert "3072 clips cannot be divided among 40 GPUs; take --batch-size 3080" in warning
    alone = student(micro_batch_size=20, group_size=None)
    (warning,) = budget(stage=alone).warnings
    assert "192 clips, no multiple of --micro-batch-size 20; take 16" in warning
    (warning,) = budget(stage=student(micro_batch_size=12)).warnings
    assert "refuses --micro-batch-size 12 with masks.group-size 24" in warning
    assert not budget(gpus=256).warnings
    (warning,) = budget(gpus=192).warnings
    assert "16 clips, which divide no group of 24 masks evenly" in warning
    assert "--batch-size 4608" in warning


def test_what_does_not_fit_is_said_and_the_proposal_fits() -> None:
    large = Networks(ENCODERS["G"], PREDICTORS["G"], ENCODERS["L"], TUBELET)
    stage = student(networks=large, size="G")
    found = budget(stage=stage, precision="fp32")
    assert not found.fits
    (warning,) = found.warnings
    size = found.largest_micro_batch
    smaller = f"--micro-batch-size {size} with masks.group-size {size}, which makes other masks,"
    assert f"take {smaller} or --precision bf16 or" in warning
    proposal = student(networks=large, micro_batch_size=size, group_size=size)
    assert budget(stage=proposal, precision="fp32").fits


def test_shards_that_do_not_fit_are_not_proposed() -> None:
    small = Cluster(**{**vars(CLUSTER), "gpu_memory_gib": 18.0})
    found = plan_budget(student(), 64, small, Choices())
    assert not found.fits
    assert not plan_budget(student(), 64, small, Choices(sharding="shard")).fits
    (warning,) = found.warnings
    assert "shard" not in warning


def test_stages_of_the_paper() -> None:
    teacher, student_, vjepa = plan_stages("paper-vith")
    assert (teacher.size, student_.size, student_.teacher_size) == ("L", "H", "L")
    assert (teacher.steps, student_.steps, vjepa.steps) == (80_000, 160_000, 240_000)
    assert vjepa.networks.teacher == ENCODERS["H"]
    assert student_.shapes.masks == MASKS
    assert (student_.batch_size, student_.micro_batch_size, student_.group_size) == (3072, 24, 24)


def test_the_papers_hours_are_17_per_cent_of_an_a100() -> None:
    # SALT, table 11: 8,263 A100-hours for both stages of ViT-L. The page says what follows.
    cluster, _ = build_cluster({"mfu": 1.0}, "bf16")
    stages = plan_stages("paper-vitl")[:2]
    flops = sum(
        each.steps * each.batch_size * clip_work(each.networks, each.shapes).total
        for each in stages
    )
    share = flops / (SALT_L_HOURS * 3600 * cluster.flops_per_s)
    assert f"{share:.2f}" == "0.17"


def test_numbers_that_are_given_are_not_assumed() -> None:
    cluster, assumed = build_cluster({"mfu": 0.3, "link_gb_s": None}, "fp32")
    assert cluster.mfu == 0.3
    flags = [each.flag for each in assumed]
    assert "--mfu" not in flags
    assert {"--link-gb-s", "--gpu-tflops", "--decode-clips-per-core-s"} <= set(flags)
    assert all(each.source for each in assumed)


def test_numbers_out_of_range_are_refused_together() -> None:
    with pytest.raises(ConfigError) as error:
        build_cluster({"mfu": 1.5, "network_gb_s": 0.0, "spare_gib": 90.0}, "bf16")
    for flag in ("--mfu", "--network-gb-s", "--spare-gib"):
        assert flag in str(error.value)


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("paper-vitl", {"batch_size": 0}, "--batch-size is 0"),
        ("vjepa-faithful", {"teacher_size": "B"}, "no teacher; leave --teacher-size out"),
        ("paper-vitx", {}, "does not exist"),
    ],
)
def test_wrong_choices_are_refused(preset: str, settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_stages(preset, **settings)


def test_a_preset_of_one_stage_is_taken_alone() -> None:
    (stage,) = plan_stages("vjepa-faithful", size="H")
    assert (stage.method, stage.size) == ("vjepa", "H")
    assert stage.networks.teacher == ENCODERS["H"]
