"""The methods' losses against loops over clips, masks and tokens; what is trained and how."""

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import (
    PREDICTOR,
    TUBELET,
    cut,
    make_batch,
    make_encoder,
    randomise,
)
from vsalt.data.types import Batch
from vsalt.errors import ConfigError
from vsalt.objectives.config import PixelConfig, SaltConfig, TokenLoss
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.protocol import Objective, param_group
from vsalt.objectives.salt import SaltObjective

NAMES = ("short", "long")
GRID = (2, 2, 3)


def make_pixel(config: PixelConfig | None = None) -> PixelObjective:
    objective = PixelObjective(config or PixelConfig(), make_encoder(1), PREDICTOR, NAMES)
    randomise(objective.trainable["predictor"], 2)
    return objective


def make_salt(config: SaltConfig | None = None) -> SaltObjective:
    """A teacher of other width, depth and heads than the student."""
    teacher = make_encoder(3, width=36, depth=1, heads=3)
    objective = SaltObjective(config or SaltConfig(), make_encoder(1), teacher, PREDICTOR, NAMES)
    randomise(objective.trainable["predictor"], 2)
    return objective


def slow_clip_losses(objective: MaskedPrediction, batch: Batch, target_of, loss: str) -> np.ndarray:
    """Loss of every clip under every mask, shape (masks, clips), token by token."""
    encoder = slow.params_of(objective.encoder)
    predictor = slow.params_of(objective.trainable["predictor"])
    losses = np.zeros((len(batch.masks), len(batch.clips)))
    for m, mask in enumerate(batch.masks):
        for b, clip in enumerate(batch.clips.numpy()):
            context, targets = mask.context[b].tolist(), mask.targets[b].tolist()
            latents = slow.encode(encoder, clip, context, tubelet=TUBELET, heads=2)
            predicted = slow.predict(predictor, latents, context, targets, GRID, heads=2)
            for row, token in zip(predicted, targets, strict=True):
                off = row - target_of(clip, token)
                distance = np.abs(off) if loss == "l1" else off**2
                losses[m, b] += distance.mean() / len(targets)
    return losses


def assert_losses(objective: Objective, batch: Batch, expected: np.ndarray) -> None:
    output = objective.loss(batch)
    assert output.num_clips == len(batch.clips)
    assert output.loss_sum.dtype == torch.float32
    np.testing.assert_allclose(output.loss_sum.item(), expected.mean(axis=0).sum(), rtol=2e-5)
    assert not output.clip_losses.requires_grad
    np.testing.assert_allclose(output.clip_losses.numpy(), expected.mean(axis=0), rtol=2e-5)
    assert set(output.metrics) == {"loss_short", "loss_long"}
    for name, by_clip in zip(NAMES, expected, strict=True):
        value = output.metrics[f"loss_{name}"]
        assert not value.requires_grad
        np.testing.assert_allclose(value.item(), by_clip.sum(), rtol=2e-5)


@pytest.mark.parametrize("loss", ["mse", "l1"])
@pytest.mark.parametrize("normalise", ["per_channel", "joint", "none"])
def test_the_pixel_loss_is_the_formula(loss: TokenLoss, normalise: str) -> None:
    objective = make_pixel(PixelConfig(loss=loss, normalise=normalise))
    batch = make_batch(3)

    def target_of(clip: np.ndarray, token: int) -> np.ndarray:
        return slow.pixel_target(slow.cube(clip, token, TUBELET, GRID) / 255, normalise)

    assert_losses(objective, batch, slow_clip_losses(objective, batch, target_of, loss))


@pytest.mark.parametrize("loss", ["mse", "l1"])
@pytest.mark.parametrize("norm", ["layer_norm", "none"])
def test_the_salt_loss_is_the_formula(loss: TokenLoss, norm: str) -> None:
    objective = make_salt(SaltConfig(loss=loss, target_norm=norm))
    batch = make_batch(3)
    teacher = slow.params_of(objective.target.encoder)
    latents = [
        slow.encode(teacher, clip, list(range(12)), tubelet=TUBELET, heads=3)
        for clip in batch.clips.numpy()
    ]

    def target_of(clip: np.ndarray, token: int) -> np.ndarray:
        index = [np.array_equal(clip, other) for other in batch.clips.numpy()].index(True)
        row = latents[index][token]
        return slow.layer_norm(row, 1e-5) if norm == "layer_norm" else row

    assert_losses(objective, batch, slow_clip_losses(objective, batch, target_of, loss))


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_listeners_get_what_the_loss_was_taken_from(make) -> None:
    objective, batch = make(), make_batch(3)
    output = objective.loss(batch)
    assert tuple(output.context) == tuple(output.predictions) == tuple(output.targets) == NAMES
    for name, mask in zip(NAMES, batch.masks, strict=True):
        context = objective.encoder(batch.clips, mask.context)
        assert torch.equal(output.context[name], context)
        predictor = objective.trainable["predictor"]
        prediction = predictor(context, mask.context, mask.targets, GRID)
        assert torch.equal(output.predictions[name], prediction)
        off = output.predictions[name] - output.targets[name]
        distance = off.abs() if objective.distance == "l1" else off.square()
        loss = distance.mean(dim=(1, 2)).sum().item()
        assert output.metrics[f"loss_{name}"].item() == pytest.approx(loss, rel=1e-6)
        for found in (output.context, output.predictions, output.targets):
            assert not found[name].requires_grad


def test_default_losses_are_the_papers() -> None:
    assert (PixelConfig().loss, PixelConfig().normalise) == ("mse", "per_channel")
    assert (SaltConfig().loss, SaltConfig().target_norm) == ("l1", "layer_norm")


def test_a_predictor_of_zero_scores_the_mean_of_a_standard_normal() -> None:
    """Standardised targets: E|x| is sqrt(2 / pi) = 0.80 for normal x, E x^2 is 1 for any."""
    for loss, expected, slack in (("l1", 0.798, 0.1), ("mse", 1.0, 1e-3)):
        objective = make_salt(SaltConfig(loss=loss))
        torch.nn.init.zeros_(objective.trainable["predictor"].out.weight)
        torch.nn.init.zeros_(objective.trainable["predictor"].out.bias)
        batch = make_batch(4)
        assert objective.loss(batch).loss_sum.item() / 4 == pytest.approx(expected, abs=slack)


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_losses_of_clips_add_up(make) -> None:
    objective, batch = make(), make_batch(4)
    whole = objective.loss(batch)
    parts = [objective.loss(cut(batch, *ends)) for ends in ((0, 1), (1, 3), (3, 4))]
    assert sum(part.num_clips for part in parts) == whole.num_clips
    torch.testing.assert_close(sum(part.loss_sum for part in parts), whole.loss_sum)
    for name, value in whole.metrics.items():
        torch.testing.assert_close(sum(part.metrics[name] for part in parts), value)


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_exactly_encoder_and_predictor_get_gradients(make) -> None:
    objective = make()
    objective.loss(make_batch(2)).loss_sum.backward()
    named = dict(objective.trainable.named_parameters())
    assert {name.split(".")[0] for name in named} == {"encoder", "predictor"}
    for name, param in named.items():
        assert param.grad is not None, name
        assert param.grad.abs().max() > 0, name
    for module in (objective.target, objective.trainable):
        assert isinstance(module, torch.nn.Module)
    assert all(param.grad is None for param in objective.target.parameters())
    assert not {id(p) for p in objective.target.parameters()} & {id(p) for p in named.values()}


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_matrices_decay_and_every_parameter_is_in_one_group(make) -> None:
    objective = make()
    names = {id(param): name for name, param in objective.trainable.named_parameters()}
    groups = objective.param_groups()
    listed = [id(param) for group in groups for param in (*group.decayed, *group.undecayed)]
    assert sorted(listed) == sorted(names)
    for group in groups:
        for param in (*group.decayed, *group.undecayed):
            assert names[id(param)].startswith(f"{group.name}.")
        decayed = {names[id(param)] for param in group.decayed}
        expected = {
            name
            for name in names.values()
            if name.startswith(f"{group.name}.") and name.endswith("weight") and "norm" not in name
        }
        assert decayed == expected


def test_frozen_parameters_are_in_no_group() -> None:
    encoder = make_encoder()
    encoder.tokenizer.requires_grad_(False)
    group = param_group("encoder", encoder)
    kept = {id(param) for param in (*group.decayed, *group.undecayed)}
    assert not kept & {id(param) for param in encoder.tokenizer.parameters()}
    assert len(kept) == len(list(encoder.parameters())) - 2


def test_the_predictor_maps_the_students_width_to_the_teachers() -> None:
    predictor = make_salt().trainable["predictor"]
    assert (predictor.embed.in_features, predictor.out.out_features) == (24, 36)
    decoder = make_pixel().trainable["predictor"]
    assert (decoder.embed.in_features, decoder.out.out_features) == (24, 3 * 2 * 8 * 8)


def test_the_students_rotary_mode_is_the_predictors() -> None:
    objective = SaltObjective(
        SaltConfig(), make_encoder(positions="interleaved"), make_encoder(), PREDICTOR, NAMES
    )
    assert objective.trainable["predictor"].positions == "interleaved"


def test_tubelets_of_teacher_and_student_must_agree() -> None:
    teacher = make_encoder(tubelet=(2, 8, 4))
    with pytest.raises(ConfigError, match=r"teacher's tubelets are \(2, 8, 4\)") as caught:
        SaltObjective(SaltConfig(), make_encoder(), teacher, PREDICTOR, NAMES)
    assert "--encoder.tubelet" in str(caught.value)


def test_what_the_teacher_does_not_have_is_told_at_once() -> None:
    config = SaltConfig(teacher_layer=2, teacher_frames="mean")
    with pytest.raises(ConfigError) as caught:
        make_salt(config)
    assert "teacher-layer is 2, but the teacher has 1 blocks" in str(caught.value)
    assert "teacher-frames is mean, but the teacher sees whole clips" in str(caught.value)


def test_a_batch_needs_one_mask_per_kind() -> None:
    with pytest.raises(ValueError, match="expected 2 masks, got 1"):
        make_pixel().loss(make_batch(2, ((5, 4),)))


@pytest.mark.parametrize("make", [make_pixel, make_salt])
def test_nothing_is_carried_and_every_block_is_a_shard(make) -> None:
    objective = make()
    assert isinstance(objective, Objective)
    assert objective.carried_state() == {}
    objective.load_carried_state({})
    with pytest.raises(ValueError, match="carries no state, got \\['centre'\\]"):
        objective.load_carried_state({"centre": torch.zeros(1)})
    before = {name: p.clone() for name, p in objective.trainable.named_parameters()}
    objective.after_step(0)
    for name, param in objective.trainable.named_parameters():
        assert torch.equal(param, before[name])
    blocks = [*objective.encoder.blocks, *objective.trainable["predictor"].blocks]
    assert [id(unit) for unit in objective.shard_units()] == [id(block) for block in blocks]
    assert objective.encoder is objective.trainable["encoder"]
