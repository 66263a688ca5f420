"""The tables of floors in docs/explanation/performance.md are what the code computes."""

import json
import re
from collections.abc import Sequence
from functools import cache

import pytest
import torch

from support.pages import ROOT
from vsalt.bench.floors import part_flops, part_work
from vsalt.bench.parts import PARTS
from vsalt.bench.setup import bench_stage, bench_teacher
from vsalt.compute.types import ClipShapes
from vsalt.config import PretrainConfig
from vsalt.models.config import SizeName
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.training.build import build_objective
from vsalt.training.plan import clip_shapes
from vsalt.training.teachers import network_of

RESULTS = ROOT / "benchmarks" / "results" / "step"
PAGE = (ROOT / "docs/explanation/performance.md").read_text(encoding="utf-8")
CLIPS = 24
SIZES = pytest.mark.parametrize("size", ["S", "B", "L"])


@cache
def salt(
    student: SizeName, teacher: SizeName
) -> tuple[PretrainConfig, MaskedPrediction, ClipShapes]:
    config = bench_stage("paper-vitb", "salt", size=student, batch_size=CLIPS)
    with torch.device("meta"):
        network = network_of(bench_teacher(config, "paper-vitb", teacher))
        objective = build_objective(config, network)
    assert isinstance(objective, MaskedPrediction)
    return config, objective, clip_shapes(config)


def row(size: str, values: Sequence[str]) -> str:
    return f"| ViT-{size} | {' | '.join(values)} |"


@SIZES
def test_operations_of_the_parts(size: SizeName) -> None:
    _, objective, shapes = salt(size, size)
    parts = part_flops(objective, shapes)
    values = [*parts.values(), objective.flops(shapes).exact]
    expected = row(size, [f"{value / 1e9:,.1f}" for value in values])
    assert expected in PAGE, f"write into docs/explanation/performance.md:\n{expected}"
    share = f"{parts['target'] / values[-1]:.0%}".replace("%", " %")
    assert f"{share} of a ViT-{size} step" in PAGE.replace("\n", " ")


@SIZES
def test_bytes_of_the_parts(size: SizeName) -> None:
    config, objective, shapes = salt(size, size)
    work = part_work(objective, shapes, CLIPS, config.stage.optim)
    expected = row(size, [f"{each.num_bytes / 1e6:,.0f}" for each in work.values()])
    assert expected in PAGE, f"write into docs/explanation/performance.md:\n{expected}"


def test_what_a_smaller_teacher_spares() -> None:
    exact = [
        objective.flops(shapes).exact for _, objective, shapes in (salt("L", "B"), salt("L", "L"))
    ]
    found = re.search(r"ViT-L student with a ViT-B teacher has (\d\.\d\d) of", PAGE)
    assert found is not None
    assert found[1] == f"{exact[0] / exact[1]:.2f}"


@pytest.mark.parametrize("size", ["S", "B", "L"])
def test_measured_parts_are_those_of_the_committed_run(size: str) -> None:
    found = json.loads((RESULTS / f"vit-{size.lower()}.json").read_text(encoding="utf-8"))
    assert found["settings"]["clips"] == 1
    parts = found["split"]["parts"]
    values = [parts[part]["times_floor"] for part in PARTS if part in parts and part != "data"]
    shares = [parts[part]["share"] for part in PARTS if part in parts and part != "data"]
    cells = [
        f"{value:.2f} ({share:.0%})".replace("%", " %")
        for value, share in zip(values, shares, strict=True)
    ]
    whole = [f"{found['times_floor']:.2f}", f"{found['mfu']:.0%}".replace("%", " %")]
    expected = row(size, [*cells, *whole])
    assert expected in PAGE, f"write into docs/explanation/performance.md:\n{expected}"
    seconds = sum(part["seconds"] for part in parts.values())
    left = found["split"]["step_s"] - seconds
    assert left == pytest.approx(found["split"]["remainder_s"], abs=1e-9)
    remainder = f"{left / found['split']['step_s']:.2%}".replace("%", " %")
    sentence = PAGE.replace("\n", " ").partition("The remainder was")[2].partition(";")[0]
    expected = f"{remainder} (of the step )?for ViT-{size}"
    assert re.search(expected, sentence), f"write into that sentence: {expected}"
