"""The plan of a whole run: one column per stage, and SALT's published cost where it applies."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.presets import salt_preset
from vsalt.presets.paper import SIZES, SPLITS
from vsalt.training.build import resolve, resolve_salt
from vsalt.training.plan import plan_salt, plan_stage, print_plans


def table(config: SaltRunConfig) -> dict[str, list[str]]:
    """The printed plan, row by row."""
    out = io.StringIO()
    print_plans(plan_salt(resolve_salt(config)), Console(file=out, width=140))
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
    assert published(replace(base, clip=replace(base.clip, size=(256, 256)))) is None
    assert published(teacher=EncoderConfig(size="S")) is None
