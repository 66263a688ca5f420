"""Memory by formula against what torch keeps, and against numbers worked out by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vsalt.bench.setup import bench_stage, bench_teacher
from vsalt.config import PretrainConfig
from vsalt.masking.config import MASKS
from vsalt.models import attention
from vsalt.models.config import ENCODERS, PREDICTORS, EncoderConfig
from vsalt.objectives.masked_prediction import MaskedPrediction, count_params
from vsalt.scale.memory import block_bytes, largest_micro_batch, saved_bytes, step_memory
from vsalt.scale.networks import Networks, block
from vsalt.training.accumulate import accumulate
from vsalt.training.build import build_objective, resolve
from vsalt.training.device import autocast
from vsalt.training.optim import build_optimiser
from vsalt.training.plan import clip_shapes
from vsalt.training.rate import random_batch
from vsalt.training.teachers import network_of

TUBELET = (2, 16, 16)


def networks_of(config: PretrainConfig, teacher: EncoderConfig | None) -> Networks:
    stage = config.stage
    source = stage.encoder if stage.method.name == "vjepa" else teacher
    return Networks(
        encoder=stage.encoder.architecture,
        predictor=stage.predictor.architecture,
        teacher=None if source is None else source.architecture,
        tubelet=stage.encoder.tubelet,
        is_rotary=stage.encoder.positions in ("vjepa2", "interleaved"),
    )


def build(
    method: str, size: str = "Ti", batch_size: int = 2, masks: str = "multiblock", **encoder: object
) -> tuple[PretrainConfig, MaskedPrediction, Networks]:
    config = bench_stage("tiny-cpu", method, size=size, batch_size=batch_size)  # type: ignore[arg-type]
    stage = config.stage
    if masks != "multiblock":
        stage = replace(stage, masks=MASKS[masks]())
    stage = replace(stage, encoder=replace(stage.encoder, **encoder))  # type: ignore[arg-type]
    config = resolve(replace(config, stage=stage))
    teacher = bench_teacher(config, "tiny-cpu")
    objective = build_objective(config, network_of(teacher))
    assert isinstance(objective, MaskedPrediction)
    return config, objective, networks_of(config, teacher)


def kept_bytes(objective: MaskedPrediction, forward: Callable[[], object]) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass: activations, and copies of weights."""
    weights = {each.untyped_storage().data_ptr() for each in objective.trainable.parameters()}
    weights |= {each.untyped_storage().data_ptr() for each in objective.trainable.buffers()}
    shapes = {tuple(each.shape) for each in objective.trainable.parameters() if each.dim() == 2}
    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()  # alive until all is counted, so that no address is used twice
    found = [0, 0]
    for address, tensor in seen.items():
        if address not in weights:
            # Transposed by the linear map; activations have clips, or clips times tokens, in front.
            is_copy = tensor.dtype == torch.bfloat16 and tuple(tensor.shape[::-1]) in shapes
            found[is_copy] += tensor.untyped_storage().nbytes()
    del output
    return found[0], found[1]


@contextmanager
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Norms in fp32, as autocast does on CUDA by its documented list, and fused attention."""
    original = torch.nn.functional.layer_norm

    def layer_norm(x: Tensor, *args: object, **kwargs: object) -> Tensor:
        return original(x.float(), *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, "layer_norm", layer_norm)
        patch.setattr(attention, "MAX_TOKENS", 0)
        yield


CASES = [
    ("pixel", {}),
    ("salt", {}),
    ("vjepa", {"size": "S", "batch_size": 1}),
    pytest.param("pixel", {"size": "B", "batch_size": 1}, marks=pytest.mark.slow),
    ("pixel", {"masks": "tube"}),
    ("salt", {"masks": "random", "batch_size": 3}),
    ("pixel", {"positions": "sincos"}),
    ("salt", {"width": 132, "heads": 2, "mlp_width": 300, "depth": 3}),
]


@pytest.mark.parametrize(("method", "how"), CASES)
def test_activations_are_what_torch_keeps(method: str, how: dict[str, object]) -> None:
    config, objective, networks = build(method, **how)  # type: ignore[arg-type]
    batch = random_batch(config)
    kept, copies = kept_bytes(objective, lambda: objective.loss(batch))
    expected = sum(saved_bytes(networks, *mask, "fp32") for mask in clip_shapes(config).masks)
    assert copies == 0
    assert kept == len(batch.rows) * expected


@pytest.mark.parametrize(("method", "how"), CASES[:5])
def test_activations_in_bf16(
    method: str, how: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, objective, networks = build(method, **how)  # type: ignore[arg-type]
    batch = random_batch(config)
    with as_on_cuda(monkeypatch), autocast("cpu", "bf16"):
        kept, copies = kept_bytes(objective, lambda: objective.loss(batch))
    expected = sum(saved_bytes(networks, *mask, "bf16") for mask in clip_shapes(config).masks)
    assert copies == 2 * networks.num_matrix_weights
    assert kept == len(batch.rows) * expected


@pytest.mark.parametrize("method", ["pixel", "salt", "vjepa"])
def test_weights_gradients_and_moments_are_the_optimisers(method: str) -> None:
    config, objective, networks = build(method)
    optimiser = build_optimiser(objective.param_groups(), config.stage.optim)
    accumulate(objective, [random_batch(config)], 2, "cpu", "fp32")
    optimiser.step()
    parameters = list(objective.trainable.parameters())
    moments = [
        value.nbytes
        for state in optimiser.state.values()
        for value in state.values()
        if value.dim() > 0  # the number of steps is no moment
    ]
    found = step_memory(
        networks, clip_shapes(config), 2, num_gpus=1, sharding="replicate", precision="fp32"
    )
    assert found.weights == sum(each.nbytes for each in parameters)
    assert found.gradients == sum(each.grad.nbytes for each in parameters if each.grad is not None)
    assert found.optimiser == sum(moments)
    teacher = 0 if objective.target is None else count_params(objective.target)
    assert found.teacher == 4 * teacher


def encoder_weights(size: str) -> int:
    networks = Networks(ENCODERS[size], PREDICTORS[size], ENCODERS[size], TUBELET)
    return sum(unit.num_weights for unit in networks.target_units)


def test_vit_l_by_hand() -> None:
    # 24 blocks of 4 d^2 + 2 d m + 9 d + m; the tokenizer 1536 d + d; the last norm 2 d.
    assert block(ENCODERS["L"]).num_weights == 12_596_224
    assert encoder_weights("L") == 303_885_312
    # 10 x 1024 + 2 x 4096 + 16 + 4 values of four bytes.
    assert block_bytes(ENCODERS["L"], "fp32") == 73_808
    # 8 x 1024 + 2 x 4096 values of two bytes, 2 x 1024 + 16 + 4 of four.
    assert block_bytes(ENCODERS["L"], "bf16") == 41_040


@pytest.mark.parametrize(
    ("size", "billions"), [("B", 0.086), ("L", 0.303), ("H", 0.632), ("g", 1.012), ("G", 1.843)]
)
def test_encoders_have_the_papers_parameters(size: str, billions: float) -> None:
    # SALT, arXiv 2509.24317, table 3.
    assert encoder_weights(size) == pytest.approx(billions * 1e9, rel=0.01)


def networks_of_size(size: str) -> Networks:
    return Networks(ENCODERS[size], PREDICTORS[size], ENCODERS["L"], TUBELET)


def test_shards_are_parts_of_everything_that_is_trained() -> None:
    config, _, networks = build("salt")
    shapes = clip_shapes(config)
    whole, part = (
        step_memory(networks, shapes, 2, num_gpus=4, sharding=how, precision="fp32")
        for how in ("replicate", "shard")
    )
    assert part.weights * 4 == whole.weights  # all first dimensions of ViT-Ti are multiples of 4
    assert part.optimiser == 2 * part.weights
    assert part.teacher == whole.teacher
    assert part.activations == whole.activations
    assert 0 < part.gathered < whole.weights


def test_a_sharded_target_is_kept_in_parts_and_whole_block_by_block() -> None:
    config, _, networks = build("salt")
    shapes = clip_shapes(config)
    how = {"num_gpus": 4, "sharding": "replicate", "precision": "fp32"}
    whole = step_memory(networks, shapes, 2, **how)  # type: ignore[arg-type]
    part = step_memory(networks, shapes, 2, **how, target_sharding="shard")  # type: ignore[arg-type]
    assert part.teacher * 4 == whole.teacher
    # Three blocks of 12 d^2 + 13 d weights, and the rest: V d + 3 d.
    d, values = 192, 3 * 2 * 16 * 16
    assert part.gathered == 4 * (3 * (12 * d**2 + 13 * d) + values * d + 3 * d)
    assert whole.gathered == 0


def test_the_largest_micro_batch_fits_and_the_next_does_not() -> None:
    config, _, networks = build("salt")
    shapes = clip_shapes(config)
    how = {"num_gpus": 1, "sharding": "replicate", "precision": "bf16"}
    needed = {
        size: step_memory(networks, shapes, size, **how).total  # type: ignore[arg-type]
        for size in (1, 4, 6)
    }
    largest = largest_micro_batch(
        networks,
        shapes,
        48,
        needed[6] - 1,
        group_size=24,
        **how,  # type: ignore[arg-type]
    )
    assert largest == 4
    assert largest_micro_batch(networks, shapes, 48, needed[1] - 1, **how) is None  # type: ignore[arg-type]
