"""The plan of a whole run: one column per stage, and SALT's published cost where it applies."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vsalt.compute.flops import block_flops
from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.masking.config import (
    CausalConfig,
    MaskConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.objectives.config import SaltConfig
from vsalt.presets import salt_preset, stage_preset
from vsalt.presets.paper import SIZES, SPLITS
from vsalt.training.build import resolve, resolve_salt
from vsalt.training.config import DeviceConfig
from vsalt.training.plan import StagePlan, plan_salt, plan_stage, print_plans


def table(config: SaltRunConfig, width: int = 140) -> dict[str, list[str]]:
    """The printed plan, row by row."""
    return printed_rows(plan_salt(resolve_salt(config)), width)


def printed_rows(plans: list[StagePlan], width: int = 140) -> dict[str, list[str]]:
    out = io.StringIO()
    print_plans(plans, Console(file=out, width=width))
    lines = [line.split("│")[1:-1] for line in out.getvalue().splitlines() if "│" in line]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}


@pytest.mark.parametrize("letter", SIZES)
def test_paper_presets_cost_what_the_paper_counts(letter: str) -> None:
    """The paper rounds parameters (22 M for every predictor), we count all of them."""
    plans = plan_salt(resolve_salt(salt_preset(f"paper-vit{letter}-3stage")))
    for plan in plans:
        assert plan.flops.six_nd == pytest.approx(plan.published_flops, rel=0.011)
    # The networks are the same in all splits, and the cost grows with the steps.
    for steps in SPLITS.values():
        chosen = [plans[0], *plans[1 - len(steps) :]]
        shares = [number / plan.steps for number, plan in zip(steps, chosen, strict=True)]
        ours = sum(x * plan.flops.six_nd for x, plan in zip(shares, chosen, strict=True))
        theirs = sum(x * plan.published_flops for x, plan in zip(shares, chosen, strict=True))
        assert ours == pytest.approx(theirs, rel=0.005)


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        # Tables 10 and 16 of arXiv 2509.24317, to the three digits that the formula supports.
        ("paper-vitl", ["2.42e+20", "9.51e+20", "1.19e+21"]),
        ("paper-vitG", ["2.42e+20", "2.37e+21", "2.62e+21"]),
        ("paper-vitl-40k", ["1.21e+20", "1.19e+21", "1.31e+21"]),
        ("paper-vitl-3stage-40k", ["1.21e+20", "4.75e+20", "7.13e+20", "1.31e+21"]),
    ],
)
def test_the_published_cost_is_printed(name: str, printed: list[str]) -> None:
    config = salt_preset(name)
    rows = table(config)
    assert rows["FLOPs, as published"] == printed
    steps = [getattr(config, stage).loop.steps for stage in config.stages]
    assert rows["steps"] == [f"{number:,}" for number in [*steps, sum(steps)]]
    # The teacher of every later stage is a ViT-L, of the third the assistant.
    assert rows["parameters, frozen"] == ["-", *["303.89 M"] * (len(steps) - 1), ""]


def test_other_networks_and_clips_have_no_published_cost() -> None:
    config = salt_preset("paper-vitb")
    base, teacher = config.stage("student"), config.teacher.encoder

    def published(
        config: PretrainConfig = base, teacher: EncoderConfig = teacher, **changes: object
    ) -> float | None:
        config = replace(config, stage=replace(config.stage, **changes))
        return plan_stage(resolve(config), teacher, "student").published_flops

    full = published()
    assert full is not None
    shorter = replace(base.stage.loop, steps=40_000)
    assert published(loop=shorter) == pytest.approx(full / 4)
    assert published(encoder=EncoderConfig(size="S")) is None
    assert published(encoder=EncoderConfig(size="B", depth=11)) is None
    assert published(predictor=PredictorConfig(depth=6)) is None
    assert published(masks=replace(base.stage.masks, target_share=0.5)) is None
    assert published(replace(base, clip=replace(base.clip, size=(256, 256)))) is None
    assert published(teacher=EncoderConfig(size="S")) is None


def with_teacher_masks(masks: MaskConfig) -> SaltRunConfig:
    config = salt_preset("tiny-cpu")
    return replace(config, teacher=replace(config.teacher, masks=masks))


def test_the_plan_says_what_is_hidden() -> None:
    """8 x 4 x 4 tokens: V-JEPA's means at 24 clips, see `docs/explanation/masks-and-budgets.md`."""
    rows = table(salt_preset("tiny-cpu"))
    assert rows["masks"] == ["multiblock", "multiblock", ""]
    assert rows["masks, policy"] == ["budget", "budget", ""]
    assert rows["tokens of a clip"] == ["128", "128", ""]
    assert rows["tokens seen"] == ["39 + 27", "39 + 27", ""]
    assert rows["tokens predicted"] == ["51 + 88", "51 + 88", ""]


def test_the_plan_says_how_many_pairs_of_masks_there_are() -> None:
    masks = salt_preset("tiny-cpu").teacher.masks
    assert isinstance(masks, MultiblockConfig)
    rows = table(with_teacher_masks(replace(masks, num_pairs=2)))
    assert rows["masks"] == ["multiblock x 2", "multiblock", ""]
    assert rows["tokens seen"] == ["39 + 27 + 39 + 27", "39 + 27", ""]


@pytest.mark.parametrize(
    ("masks", "family", "seen", "predicted"),
    [
        # One place of 16, in 8 time steps.
        (TubeConfig(num_masks=2), "tube x 2", "2 x 8", "2 x 120"),
        (TubeConfig(ratio=0.75), "tube", "32", "96"),
        (RandomConfig(), "random", "12", "116"),
        (CausalConfig(num_masks=3), "causal x 3", "3 x 12", "3 x 116"),
    ],
)
def test_other_families_have_no_policy(
    masks: MaskConfig, family: str, seen: str, predicted: str
) -> None:
    rows = table(with_teacher_masks(masks))
    assert rows["masks"][:2] == [family, "multiblock"]
    assert rows["masks, policy"][:2] == ["-", "budget"]
    assert rows["tokens seen"][0] == seen
    assert rows["tokens predicted"][0] == predicted
    config = with_teacher_masks(masks)
    student = replace(config.student, masks=masks)
    assert "masks, policy" not in table(replace(config, student=student))


@pytest.mark.parametrize(("precision", "teacher"), [("bf16", "27.5 GB"), ("fp32", "49.7 GB")])
def test_memory_says_its_precision_and_two_stages_fit_80_columns(
    precision: str, teacher: str
) -> None:
    config = salt_preset("paper-vitG")
    config = replace(config, device=DeviceConfig(precision=precision))
    rows = table(config, width=80)
    assert rows == table(config)  # nothing is wrapped
    assert rows[f"memory, about ({precision})"][0] == teacher
    assert rows["masks, policy"][0] == "batch_min"


def test_a_stage_costs_what_it_does_and_not_what_its_schedule_is_of() -> None:
    config = salt_preset("tiny-cpu")
    early = salt_preset("tiny-cpu:salt-early-teacher")
    whole, stopped = (plan_salt(resolve_salt(each)) for each in (config, early))
    assert (whole[0].steps, stopped[0].steps) == (500, 125)
    assert stopped[0].clips == 125 * 16
    assert stopped[0].flops.exact * 4 == whole[0].flops.exact
    assert stopped[1] == whole[1]
    untrained = plan_salt(resolve_salt(salt_preset("tiny-cpu:salt-untrained-teacher")))
    assert (untrained[0].steps, untrained[0].flops.exact, untrained[0].clips) == (0, 0, 0)
    assert 0 < untrained[0].disk_bytes < whole[0].disk_bytes
    assert untrained[1] == whole[1]


def test_a_students_targets_can_be_of_an_earlier_block_of_its_teacher() -> None:
    config = salt_preset("tiny-cpu")
    method = SaltConfig(teacher_layer=0)
    early = replace(config, student=replace(config.student, method=method))
    usual, cheaper = (plan_salt(resolve_salt(each)) for each in (config, early))
    assert cheaper[0] == usual[0]
    teacher = config.teacher.encoder.architecture
    block = block_flops(128, teacher.width, teacher.mlp_width)
    saved = usual[1].flops.exact - cheaper[1].flops.exact
    assert saved == (teacher.depth - 1) * block * usual[1].clips
    paper = salt_preset("paper-vitl")
    student = replace(paper.student, method=method)
    assert plan_salt(resolve_salt(paper))[1].published_flops is not None
    assert plan_salt(resolve_salt(replace(paper, student=student)))[1].published_flops is None


def test_the_moving_average_is_held_in_memory_and_saved() -> None:
    config = resolve(stage_preset("tiny-cpu", "vjepa"))
    vjepa = plan_stage(config, None, "vjepa")
    salt = resolve(stage_preset("tiny-cpu", "salt"))
    like = plan_stage(salt, salt.stage.encoder, "salt")
    assert vjepa.flops == like.flops
    assert vjepa.frozen_params == like.frozen_params == vjepa.encoder_params
    assert vjepa.memory_bytes == like.memory_bytes
    assert (vjepa.averaged_params, like.averaged_params) == (vjepa.encoder_params, 0)
    millions = [f"{vjepa.encoder_params / 1e6:.2f} M"]
    assert printed_rows([vjepa])["parameters, moving average"] == millions
    assert "parameters, frozen" not in printed_rows([vjepa])
    assert printed_rows([like])["parameters, frozen"] == millions
    assert "parameters, moving average" not in printed_rows([like])
    # Of four checkpoints each has the average; a salt run has one copy of its teacher.
    assert vjepa.disk_bytes - like.disk_bytes == 3 * 4 * vjepa.encoder_params
