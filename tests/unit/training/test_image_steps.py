"""Steps of images between steps of videos: masks, plan, records, FLOPs, health and val_loss."""

import io
import json
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from support.pictures import write_png
from support.tiny import TUBELET, make_batch
from support.trainers import Batches, make_pixel, make_progress, make_trainer
from vsalt.compute.types import ClipFlops
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig, from_dict, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import SHAPES, ClipConfig, DataConfig
from vsalt.data.quarantine import Quarantine
from vsalt.data.shapes_by_step import StepShapes
from vsalt.data.synthetic import synthesise
from vsalt.data.types import Batch
from vsalt.errors import ConfigError
from vsalt.masking.budget import BudgetMasker
from vsalt.masking.config import (
    CausalConfig,
    MaskConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.models.config import EncoderConfig
from vsalt.presets import salt_preset, stage_preset
from vsalt.training.build import resolve, resolve_salt, with_image_masks
from vsalt.training.config import LoopConfig
from vsalt.training.data import StageData, leave_out_unreadable
from vsalt.training.health import Health
from vsalt.training.loop import Trainer
from vsalt.training.plan import clip_shapes, plan_salt, plan_stage, print_plans
from vsalt.training.step_flops import flops_until
from vsalt.training.stop import StopFlag
from vsalt.training.validation import validate

SHAPES_2_OF_5 = StepShapes(Fraction(2, 5))
FLOPS = {"video": ClipFlops(exact=1000, six_nd=10.0), "image": ClipFlops(exact=70, six_nd=0.5)}


def with_masks(masks: MaskConfig) -> PretrainConfig:
    config = stage_preset("tiny-cpu", "pixel")
    return resolve(replace(config, stage=replace(config.stage, masks=masks)))


# On 4 x 4 tokens of one time step: 1 - 0.9 of 16 places, likewise of 16 tokens.
@pytest.mark.parametrize("masks", [TubeConfig(), RandomConfig(num_masks=2), CausalConfig()])
def test_masks_of_fixed_share_hold_for_images_as_they_are(masks: MaskConfig) -> None:
    config = with_image_masks(with_masks(masks))
    assert config.stage.image_masks == masks
    counts = clip_shapes(config, "image")
    assert counts.grid == (1, 4, 4)
    assert set(counts.masks) == {(1, 15)}
    assert counts.context_share == pytest.approx(0.1)


def test_budgets_of_images_are_written_out_for_their_own_grid() -> None:
    given = MultiblockConfig(long=replace(MultiblockConfig().long, num_context=20))
    config = with_image_masks(with_masks(given))
    masks = config.stage.image_masks
    assert isinstance(masks, MultiblockConfig)
    assert config.stage.masks.long.num_context == 20  # of 128 tokens; an image has 16
    for blocks in masks.kinds.values():
        assert 0 < blocks.num_context < 16
        assert 0 < blocks.num_targets < 16
        assert BudgetMasker((1, 4, 4), blocks, masks.aspect_ratio).acceptance() >= 0.5
    assert with_image_masks(config) == config
    assert from_dict(PretrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_an_image_of_224_pixels_has_budgets_like_a_step_of_video() -> None:
    run = with_image_masks(resolve_salt(salt_preset("small-gpu")))
    for name in run.stages:
        video, image = (clip_shapes(run.stage(name), shape) for shape in SHAPES)
        assert image.num_tokens * video.grid[0] == video.num_tokens
        for of_video, of_image in zip(video.masks, image.masks, strict=True):
            # Blocks span all time steps, so that the shares are alike.
            for many, few in zip(of_video, of_image, strict=True):
                assert few / image.num_tokens == pytest.approx(many / video.num_tokens, abs=0.06)


def test_masks_that_an_image_has_no_room_for_are_refused_by_the_flags_of_the_stage() -> None:
    config = stage_preset("tiny-cpu", "pixel")
    masks = RandomConfig(ratio=0.95)
    stage = replace(config.stage, masks=masks)
    resolved = resolve(replace(config, stage=stage))
    with pytest.raises(ConfigError, match=r"on images, masks.ratio is 0.95.*--masks.ratio 0.9375"):
        with_image_masks(resolved)
    run = salt_preset("tiny-cpu")
    run = replace(run, teacher=stage, student=replace(run.student, masks=masks))
    with pytest.raises(ConfigError) as caught:
        with_image_masks(resolve_salt(run))
    assert [problem.split(".ratio")[0] for problem in caught.value.problems] == [
        "on images, teacher.masks",
        "on images, student.masks",
    ]


def test_own_masks_of_images_must_have_the_kinds_of_the_others() -> None:
    blocks = replace(MultiblockConfig().short, num_blocks=2)
    config = with_masks(MultiblockConfig())
    own = replace(config, stage=replace(config.stage, image_masks=MultiblockConfig(short=blocks)))
    masks = with_image_masks(own).stage.image_masks
    assert isinstance(masks, MultiblockConfig)
    assert masks.short.num_blocks == 2
    assert masks.short.num_context is not None
    other = replace(config, stage=replace(config.stage, image_masks=TubeConfig()))
    with pytest.raises(ConfigError, match=r"image_masks are tube_1, masks short long budget"):
        with_image_masks(other)


def plan_rows(config: SaltRunConfig, shapes: StepShapes) -> dict[str, list[str]]:
    out = io.StringIO()
    print_plans(plan_salt(config, shapes), Console(file=out, width=80))
    lines = [line.split("│")[1:-1] for line in out.getvalue().splitlines() if "│" in line]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}


def test_the_plan_tells_images_apart_if_there_are_any() -> None:
    config = resolve_salt(salt_preset("tiny-cpu"))
    plain = plan_rows(config, StepShapes())
    assert not any("image" in name for name in plain)
    config = with_image_masks(config)
    mixed = plan_rows(config, SHAPES_2_OF_5)
    assert mixed["steps of images"] == ["200", "400", "600"]
    assert mixed["tokens of a clip"] == ["128", "128", ""]
    assert mixed["tokens of an image"] == ["16", "16", ""]
    context, targets = zip(*clip_shapes(config.stage("student"), "image").masks, strict=True)
    assert mixed["tokens seen, image"][1] == f"{context[0]} + {context[1]}"
    assert mixed["tokens predicted, image"][1] == f"{targets[0]} + {targets[1]}"
    # The larger shape decides.
    memory = next(name for name in plain if name.startswith("memory"))
    assert mixed[memory] == plain[memory]
    only = plan_rows(config, StepShapes(Fraction(1)))
    assert only["steps of images"] == only["steps"]
    assert "tokens of a clip" not in only
    assert float(only["FLOPs, exact"][0]) < 0.2 * float(plain["FLOPs, exact"][0])


def test_planned_operations_are_the_sum_over_steps() -> None:
    config = with_image_masks(with_masks(MultiblockConfig()))
    plan = plan_stage(config, None, "teacher", SHAPES_2_OF_5)
    per_clip = {
        shape: plan_stage(config, None, "", StepShapes(Fraction(index))).flops
        for index, shape in enumerate(SHAPES)
    }
    steps = config.stage.loop.steps
    exact = sum(per_clip[SHAPES_2_OF_5.at(step)].exact // steps for step in range(steps))
    assert plan.flops.exact == exact
    six_nd = sum(per_clip[SHAPES_2_OF_5.at(step)].six_nd / steps for step in range(steps))
    assert plan.flops.six_nd == pytest.approx(six_nd)
    assert plan.image_steps == 0.4 * steps


def test_paper_runs_with_images_have_no_published_cost() -> None:
    run = salt_preset("paper-vitb")
    run = with_image_masks(resolve_salt(run))
    teacher = plan_stage(run.stage("teacher"), None, "teacher", SHAPES_2_OF_5)
    assert teacher.published_flops is None
    assert plan_stage(run.stage("teacher"), None, "teacher").published_flops is not None


@pytest.mark.parametrize("share", [Fraction(0), Fraction(1, 3), Fraction(1)])
def test_operations_until_a_step_are_those_of_its_steps(share: Fraction) -> None:
    shapes, exact, six_nd = StepShapes(share), 0, 0.0
    for step in range(40):
        total = flops_until(step, 4, shapes, FLOPS)
        assert (total.exact, total.six_nd) == (exact, six_nd)
        exact += 4 * FLOPS[shapes.at(step)].exact
        six_nd += 4 * FLOPS[shapes.at(step)].six_nd


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    """A stage on 16 videos and 24 pictures, of which two cannot be read."""
    folder = tmp_path_factory.mktemp("mixed")
    videos = synthesise(folder / "videos", num_clips=16, seed=1, size=32, num_frames=10)
    noise = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(24)]
    for name in names:
        write_png(folder / name, noise.integers(0, 256, (36, 40, 3), dtype=np.uint8))
    for name in names[:2]:
        (folder / name).write_bytes(b"no picture")
    (folder / "pictures.csv").write_text("\n".join(["path", *names]) + "\n")
    sources = (f"{videos}@3", f"{folder / 'pictures.csv'}@2")
    encoder = EncoderConfig(size="Ti", width=24, depth=1, heads=2, mlp_width=48, tubelet=TUBELET)
    loop = LoopConfig(steps=10, batch_size=4, micro_batch_size=2)
    return with_image_masks(
        resolve(
            PretrainConfig(
                clip=ClipConfig(num_frames=4, size=(32, 32), frame_step=2),
                data=DataConfig(sources=sources, holdout=0.5, workers=0),
                stage=StageConfig(encoder=encoder, loop=loop),
            )
        )
    )


def test_a_stage_reads_batches_of_one_shape_and_their_masks(mixed: PretrainConfig) -> None:
    catalogue = Catalogue.load(mixed.data, seed=mixed.seed)
    assert catalogue.shapes == SHAPES_2_OF_5
    with StageData(mixed, catalogue, pin_memory=False).batches(0, {}) as batches:
        seen = []
        for step, _, batch in batches:
            shape = SHAPES_2_OF_5.at(step)
            counts = clip_shapes(mixed, shape)
            assert batch.clips.shape == (2, 3, 2 * counts.grid[0], 32, 32)
            assert counts.masks == tuple(
                (mask.context.shape[1], mask.targets.shape[1]) for mask in batch.masks
            )
            both = torch.cat([batch.masks[0].context, batch.masks[1].targets], dim=1)
            assert int(both.max()) < counts.num_tokens
            assert {catalogue.rows[row].is_image for row in batch.rows} == {shape == "image"}
            if shape == "image":
                assert torch.equal(batch.clips[:, :, 0], batch.clips[:, :, 1])
            seen.append(step)
    assert seen == [step for step in range(10) for _ in range(2)]


def test_held_out_clips_of_each_shape_are_read_apart(mixed: PretrainConfig, tmp_path: Path) -> None:
    # The seed holds out one of the two broken pictures at least.
    catalogue = Catalogue.load(mixed.data, seed=mixed.seed)
    broken = [
        row for row in catalogue.holdout if catalogue.rows[row].relative_path in ("0.png", "1.png")
    ]
    assert broken
    holdout = StageData(mixed, catalogue, pin_memory=False).holdout()
    assert list(holdout) == list(SHAPES)
    quarantine = Quarantine(tmp_path / "quarantine.jsonl", max_bad_share=1.0)
    rows: set[int] = set()
    for shape, loader in holdout.items():
        places = {row: place for place, row in enumerate(loader.rows)}
        leave_out_unreadable(loader, quarantine, Console(file=io.StringIO()), resumed=False)
        for batch in loader:
            assert batch.clips.shape[2] == (4 if shape == "video" else 2)
            assert {catalogue.rows[row].is_image for row in batch.rows} == {shape == "image"}
            rows |= set(batch.rows)
        loader.close()
    assert rows == set(catalogue.holdout) - set(broken)
    noted = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [(bad["step"], bad["position"]) for bad in noted] == [(-2, places[i]) for i in broken]


class MixedBatches(Batches):
    """As the loader gives them; `blank` steps are grey."""

    blank: tuple[int, ...] = ()
    shapes = SHAPES_2_OF_5

    def __iter__(self):
        for step, index, _ in super().__iter__():
            yield step, index, self.batch(step, index)

    def batch(self, step: int, index: int) -> Batch:
        image = self.shapes.at(step) == "image"
        counts = ((2, 4), (2, 4)) if image else ((5, 4), (3, 7))
        batch = make_batch(2, counts, num_frames=2 if image else 4, seed=100 * step + index)
        if image:
            batch.clips[:, :, 1] = batch.clips[:, :, 0]
        if step in self.blank:
            batch.clips.fill_(100)
        return batch


def train_mixed(
    run: Path, loop: LoopConfig, *, shapes: StepShapes = SHAPES_2_OF_5, blank: tuple[int, ...] = ()
) -> Trainer:
    trainer = make_trainer(run, make_pixel(), loop=loop)
    trainer.shapes, trainer.clip_flops = shapes, FLOPS
    trainer.health = Health(trainer.loop, trainer.health.alarms, shapes)
    batches = MixedBatches(0, trainer.loop)
    batches.blank, batches.shapes = blank, shapes
    trainer.run(batches, StopFlag(), make_progress(trainer.loop))
    for log in (trainer.metrics, trainer.timings, trainer.health.alarms.log):
        log.close()
    return trainer


def records_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


LOOP = LoopConfig(
    steps=40, batch_size=4, micro_batch_size=2, log_every=4, health_every=8, save_every=1000
)


def test_records_come_for_both_shapes_and_count_exactly(tmp_path: Path) -> None:
    trainer = train_mixed(tmp_path, LOOP)
    records = records_of(tmp_path)
    for shape, num_steps, first in (("video", 24, 6), ("image", 16, 10)):
        found = [record["step"] for record in records if record["shape"] == shape]
        assert len(found) == num_steps // 4
        assert found[0] == first
    for record in records:
        shapes = [SHAPES_2_OF_5.at(step) for step in range(record["step"])]
        assert record["shape"] == shapes[-1]
        assert record["clips"] == 4 * record["step"]
        assert record["flops_exact"] == 4 * sum(FLOPS[shape].exact for shape in shapes)
        assert record["flops_six_nd"] == 4 * sum(FLOPS[shape].six_nd for shape in shapes)
    meta = json.loads((tmp_path / "checkpoints" / "step-40" / "meta.json").read_text())
    assert meta["flops_exact"] == 4 * (24 * 1000 + 16 * 70)
    # Losses are kept apart, as those of images and videos are not of one size.
    memory = trainer.health.alarms.memory
    for kept in (memory.losses_by_shape, memory.grad_norms_by_shape):
        assert {shape: len(values) for shape, values in kept.items()} == {"video": 24, "image": 16}


def test_features_are_measured_on_videos_only(tmp_path: Path) -> None:
    images = tuple(step for step in range(40) if SHAPES_2_OF_5.at(step) == "image")
    train_mixed(tmp_path / "a", replace(LOOP, log_every=1, health_every=4), blank=images)
    measured = [record for record in records_of(tmp_path / "a") if "rankme" in record]
    assert [record["shape"] for record in measured] == 6 * ["video"]
    assert min(record["target_deviation"] for record in measured) > 0.5
    kinds = {
        json.loads(line)["kind"]
        for line in (tmp_path / "a" / "warnings.jsonl").read_text().splitlines()
    }
    assert not kinds & {"collapse", "constant_targets"}
    only = StepShapes(Fraction(1))
    train_mixed(tmp_path / "b", replace(LOOP, steps=8), shapes=only, blank=tuple(range(8)))
    (last,) = [record for record in records_of(tmp_path / "b") if "target_deviation" in record]
    assert (last["shape"], last["target_deviation"]) == ("image", 0.0)


def test_val_loss_is_over_all_clips_and_of_each_shape() -> None:
    objective = make_pixel()
    objective.trainable.eval()
    batches = MixedBatches(0, LOOP.resolved())
    videos, images = [batches.batch(0, 0), batches.batch(1, 0)], [batches.batch(2, 0)]
    found = validate(objective, {"video": videos, "image": images}, "cpu", "fp32")
    with torch.no_grad():
        sums = [float(objective.loss(batch).loss_sum) for batch in [*videos, *images]]
    assert found["val_loss"] == pytest.approx(sum(sums) / 6)
    assert found["val_loss_video"] == pytest.approx(sum(sums[:2]) / 4)
    assert found["val_loss_image"] == pytest.approx(sums[2] / 2)
    alone = validate(objective, {"video": videos}, "cpu", "fp32")
    assert {name: found[name] for name in ("val_rankme", "val_lidar")} == {
        name: alone[name] for name in ("val_rankme", "val_lidar")
    }
    assert alone["val_loss"] == found["val_loss_video"]
    assert set(alone) == {"val_loss", "val_rankme", "val_lidar"}
    assert not math.isnan(validate(objective, {"image": images}, "cpu", "fp32")["val_loss"])
