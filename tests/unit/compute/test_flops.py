"""Analytic FLOPs: exact ones against torch's counter, 6ND ones against SALT's tables."""

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vsalt.compute.flops import (
    block_flops,
    encoder_forward_flops,
    encoder_train_flops,
    six_nd_frozen_encoder,
    six_nd_predictor,
    six_nd_trained_encoder,
)
from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.config import PretrainConfig
from vsalt.data.types import Batch
from vsalt.masking.config import CausalConfig, MultiblockConfig, RandomConfig, TubeConfig
from vsalt.masking.sampler import build_mask_sampler
from vsalt.masking.types import MaskBatch
from vsalt.models.config import EncoderConfig, PredictorConfig, SizeName, grid_of
from vsalt.models.vit import Encoder
from vsalt.objectives.config import METHODS, PixelConfig, SaltConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.salt import SaltObjective
from vsalt.presets import stage_preset
from vsalt.presets.paper import paper
from vsalt.training.build import build_objective, resolve
from vsalt.training.plan import clip_shapes

NAMES = ("short", "long")


@pytest.fixture
def counter() -> Iterator[FlopCounterMode]:
    """Counts every matrix product; the math path of attention is products and nothing else."""
    with torch.device("meta"), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as mode:
        yield mode


def meta_batch(num_clips: int, clip: tuple[int, int, int], shapes: ClipShapes) -> Batch:
    return Batch(
        clips=torch.empty(num_clips, 3, *clip, dtype=torch.uint8),
        masks=tuple(
            MaskBatch(
                torch.empty(num_clips, num_context, dtype=torch.int64),
                torch.empty(num_clips, num_targets, dtype=torch.int64),
            )
            for num_context, num_targets in shapes.masks
        ),
        rows=tuple(range(num_clips)),
    )


CASES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], SizeName, dict[str, int]]] = {
    "Ti, 64 px": ((16, 64, 64), (2, 16, 16), "Ti", {"depth": 4}),
    "Ti, not square": ((8, 48, 80), (2, 16, 8), "Ti", {"depth": 3}),
    "S, other numbers": ((4, 64, 64), (4, 8, 8), "S", {"mlp_width": 100, "depth": 5}),
    "L, 224 px": ((16, 224, 224), (2, 16, 16), "L", {"depth": 2}),
    **{
        f"{size}, 2 blocks": ((4, 64, 48), (2, 16, 16), size, {"depth": 2})
        for size in get_args(SizeName)
    },
    **{f"all of {size}": ((4, 64, 48), (2, 16, 16), size, {}) for size in get_args(SizeName)},
}
SLOW = {case for case in CASES if case.startswith("all of") and case != "all of Ti"}
MASK_COUNTS = {
    "Ti, 64 px": ((39, 51), (27, 88)),
    "S, other numbers": ((20, 44),),
    "L, 224 px": ((367, 759), (95, 1106)),
}
"""Context and target tokens of the masks; all others have those of the method's own masks."""


def config_of(method: str, case: str) -> PretrainConfig:
    """A method's configuration with the networks and clips of a case."""
    clip, tubelet, size, given = CASES[case]
    config = stage_preset("tiny-cpu", method)
    encoder = EncoderConfig(size=size, tubelet=tubelet, **given)
    masks = (
        TubeConfig(ratio=0.6)
        if len(MASK_COUNTS.get(case, (0, 0))) == 1
        else RandomConfig(ratio=0.7, num_masks=2)
    )
    stage = replace(config.stage, encoder=encoder, predictor=PredictorConfig(depth=2), masks=masks)
    clip_config = replace(config.clip, num_frames=clip[0], size=clip[1:])
    return resolve(replace(config, clip=clip_config, stage=stage))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in CASES],
)
@pytest.mark.parametrize("method", METHODS)
def test_exact_flops_are_those_of_torchs_counter(
    method: str, case: str, counter: FlopCounterMode
) -> None:
    """Forward and backward of every method and size, as they are built for training."""
    config = config_of(method, case)
    clip, tubelet, _, _ = CASES[case]
    counts = MASK_COUNTS.get(case, clip_shapes(config).masks)
    shapes = ClipShapes(grid=grid_of(clip[0], clip[1:], tubelet), masks=counts)
    small = EncoderConfig(size="Ti", depth=5, tubelet=tubelet)
    teacher = Encoder(small) if METHODS[method].needs_teacher else None
    objective = build_objective(config, teacher)
    objective.loss(meta_batch(3, clip, shapes)).loss_sum.backward()
    objective.after_step(0)
    assert counter.get_total_flops() == 3 * objective.flops(shapes).exact


def test_an_image(counter: FlopCounterMode) -> None:
    """A clip of one time step, as `salt` sees it."""
    clip, tubelet = (2, 64, 80), (2, 16, 16)
    shapes = ClipShapes(grid=grid_of(2, (64, 80), tubelet), masks=((7, 9), (3, 14)))
    config = config_of("salt", "Ti, 64 px")
    objective = build_objective(config, Encoder(EncoderConfig(size="S", depth=2)))
    objective.loss(meta_batch(2, clip, shapes)).loss_sum.backward()
    assert counter.get_total_flops() == 2 * objective.flops(shapes).exact


@pytest.mark.parametrize("layer", [0, 2, -2, 4, -1])
def test_blocks_after_the_teachers_layer_cost_nothing(layer: int, counter: FlopCounterMode) -> None:
    config = config_of("salt", "Ti, 64 px")
    method = SaltConfig(teacher_layer=layer)
    config = replace(config, stage=replace(config.stage, method=method))
    teacher = Encoder(EncoderConfig(size="S", depth=5))
    shapes = ClipShapes(grid=(8, 4, 4), masks=MASK_COUNTS["Ti, 64 px"])
    objective = build_objective(config, teacher)
    objective.loss(meta_batch(2, (16, 64, 64), shapes)).loss_sum.backward()
    assert counter.get_total_flops() == 2 * objective.flops(shapes).exact
    shorter = Encoder(EncoderConfig(size="S", depth=layer % 5 + 1))
    last = replace(config, stage=replace(config.stage, method=SaltConfig()))
    assert objective.flops(shapes) == build_objective(last, shorter).flops(shapes)


MASKS_OF_HALF = {
    "multiblock": MultiblockConfig(target_share=0.5),
    "batch_min": MultiblockConfig(policy="batch_min", group_size=4, target_share=0.5),
    "two pairs": MultiblockConfig(num_pairs=2, target_share=0.5),
    "tube": TubeConfig(ratio=0.75, target_share=0.5, target_choice="running_cell"),
    "random": RandomConfig(ratio=0.75, num_masks=2, target_share=0.25),
    "causal": CausalConfig(ratio=0.5, target_share=0.75),
}


@pytest.mark.parametrize("method", ["pixel", "vjepa"])
@pytest.mark.parametrize("masks", MASKS_OF_HALF)
def test_targets_that_are_left_out_cost_nothing(
    masks: str, method: str, counter: FlopCounterMode
) -> None:
    """The masks themselves are drawn here, and the trainer's own numbers are compared."""
    config = stage_preset("tiny-cpu", method)
    loop = replace(config.stage.loop, micro_batch_size=4, batch_size=4)
    small = EncoderConfig(size="Ti", width=24, depth=2, heads=2, mlp_width=48)
    given = {"encoder": small, "predictor": PredictorConfig(width=12, depth=1, heads=2)}
    stage = replace(config.stage, masks=MASKS_OF_HALF[masks], loop=loop, **given)
    config = resolve(replace(config, stage=stage))
    shapes = clip_shapes(config)
    sampler = build_mask_sampler(config.stage.masks, shapes.grid, config.seed)
    drawn = [sampler(0, position) for position in range(4)]
    counts = tuple((len(mask.context), len(mask.targets)) for mask in drawn[0])
    if masks != "batch_min":  # there they vary, and the plan has their mean
        assert counts == shapes.masks
    objective = build_objective(config, None)
    true = replace(shapes, masks=counts)
    objective.loss(meta_batch(4, (16, 64, 64), true)).loss_sum.backward()
    assert counter.get_total_flops() == 4 * objective.flops(true).exact
    everything = replace(config.stage.masks, target_share=1.0, target_choice="random")
    before = clip_shapes(replace(config, stage=replace(config.stage, masks=everything)))
    assert objective.flops(shapes).exact < objective.flops(before).exact


def test_an_encoders_forward_pass_alone(counter: FlopCounterMode) -> None:
    encoder = Encoder(EncoderConfig(size="S"))
    numbers = {"width": 384, "depth": 12, "mlp_width": 1536, "tubelet_values": 1536}
    with torch.no_grad():
        encoder(torch.empty(2, 3, 16, 64, 96, dtype=torch.uint8))
    assert counter.get_total_flops() == 2 * encoder_forward_flops(192, **numbers)
    # Backward: twice the products, but for the pixels' gradient.
    forward = encoder_forward_flops(192, **numbers)
    tokenizer = 2 * 192 * 1536 * 384
    assert encoder_train_flops(192, **numbers) == 3 * forward - tokenizer


def test_a_block_by_hand() -> None:
    # n = 2, d = 3, m = 5: qkv 2*2*3*9, attention 2 x 2*2*2*3, projection 2*2*3*3, MLP 2 x 2*2*3*5
    assert block_flops(2, 3, 5) == 108 + 48 + 36 + 120


def test_parts_add_up() -> None:
    parts = [ClipFlops(2, 0.5), ClipFlops(3, 0.25)]
    assert parts[0] + parts[1] == ClipFlops(5, 0.75)


PAPER_SHAPES = ClipShapes(grid=(8, 14, 14), masks=((367, 759), (95, 1106)))
TEACHER, PREDICTOR = 303_000_000, 22_000_000


def test_six_nd_of_one_clip_is_salts_table() -> None:
    """SALT-L with the paper's rounded parameters: 0.570 + 0.414 + 0.950 TFLOPs."""
    parts = (
        six_nd_trained_encoder(TEACHER, PAPER_SHAPES),
        six_nd_predictor(PREDICTOR, PAPER_SHAPES),
        six_nd_frozen_encoder(TEACHER, PAPER_SHAPES),
    )
    assert [f"{part / 1e12:.3f}" for part in parts] == ["0.570", "0.414", "0.950"]


def test_six_nd_takes_the_configured_share_of_other_masks() -> None:
    masks = RandomConfig(ratio=0.75, num_masks=2)
    config = stage_preset("tiny-cpu", "pixel")
    config = resolve(replace(config, stage=replace(config.stage, masks=masks)))
    shapes = clip_shapes(config)
    assert shapes.masks == ((32, 96), (32, 96))
    assert six_nd_trained_encoder(1000, shapes) == pytest.approx(6 * 1000 * (32 + 32))


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("seen", [0.1, 0.25])
def test_six_nd_counts_only_the_tokens_that_the_predictor_sees(share: float, seen: float) -> None:
    """All of the context and the share of the rest, of 1,000 tokens under three masks."""
    shapes = ClipShapes(
        grid=(10, 10, 10), masks=((1, 1),) * 3, context_share=seen, target_share=share
    )
    tokens = 3 * (1000 * seen + share * 1000 * (1 - seen))
    assert six_nd_predictor(7, shapes) == pytest.approx(6 * 7 * tokens, rel=1e-12)
    for other in (six_nd_trained_encoder, six_nd_frozen_encoder):
        assert other(7, shapes) == other(7, replace(shapes, target_share=1.0))


@pytest.mark.parametrize("masks", MASKS_OF_HALF)
def test_the_share_of_the_targets_is_the_configured_one(masks: str) -> None:
    config = stage_preset("tiny-cpu", "pixel")
    config = replace(config, stage=replace(config.stage, masks=MASKS_OF_HALF[masks]))
    loop = replace(config.stage.loop, micro_batch_size=4, batch_size=4)
    config = resolve(replace(config, stage=replace(config.stage, loop=loop)))
    assert clip_shapes(config).target_share == MASKS_OF_HALF[masks].target_share


STAGES = [
    ("L", 303_000_000, 1.193),
    ("H", 632_000_000, 1.497),
    ("g", 1_012_000_000, 1.848),
    ("G", 1_843_000_000, 2.617),
]


@pytest.mark.parametrize(("size", "student", "total_1e21"), STAGES)
def test_six_nd_of_whole_runs_is_salts_table(
    size: SizeName, student: int, total_1e21: float
) -> None:
    """80,000 steps of a ViT-L teacher and 160,000 of the student, 3072 clips each."""
    teacher_stage = six_nd_trained_encoder(TEACHER, PAPER_SHAPES)
    teacher_stage += six_nd_predictor(PREDICTOR, PAPER_SHAPES)
    student_stage = six_nd_trained_encoder(student, PAPER_SHAPES)
    student_stage += six_nd_predictor(PREDICTOR, PAPER_SHAPES)
    student_stage += six_nd_frozen_encoder(TEACHER, PAPER_SHAPES)
    flops = 3072 * (80_000 * teacher_stage + 160_000 * student_stage)
    assert round(flops / 1e21, 3) == total_1e21

    # With all parameters counted, biases included, the networks are up to 0.5 % above the table.
    config = paper(size)
    with torch.device("meta"):
        teacher, predictor = Encoder(config.teacher.encoder), PredictorConfig()
        stages = (
            PixelObjective(PixelConfig(), teacher, predictor.resolved("L"), NAMES),
            SaltObjective(
                SaltConfig(),
                Encoder(config.student.encoder),
                teacher,
                predictor.resolved(size),
                NAMES,
            ),
        )
    steps = (config.teacher.loop.steps, config.student.loop.steps)
    clips = [n * config.teacher.loop.batch_size for n in steps]
    exact = sum(
        n * stage.flops(PAPER_SHAPES).six_nd for n, stage in zip(clips, stages, strict=True)
    )
    assert 1.0 <= exact / flops < 1.005
