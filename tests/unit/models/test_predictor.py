"""The predictor against a slow float64 reference, and what order must not change."""

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import PREDICTOR, make_masks, randomise
from vsalt.masking.types import MaskBatch
from vsalt.models.config import Positions
from vsalt.models.predictor import Predictor

GRID = (2, 3, 4)


def make_predictor(positions: Positions = "vjepa2") -> Predictor:
    predictor = Predictor(PREDICTOR, in_width=12, out_width=10, positions=positions)
    randomise(predictor, 0)
    return predictor


def make_input() -> tuple[torch.Tensor, MaskBatch]:
    context = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0))
    return context, make_masks(2, GRID, 6, 5)


@pytest.mark.parametrize("positions", ["vjepa2", "interleaved", "sincos"])
def test_predictions_are_the_formula(positions: Positions) -> None:
    predictor = make_predictor(positions)
    context, mask = make_input()
    with torch.no_grad():
        ours = predictor(context, mask.context, mask.targets, GRID)
    assert ours.shape == (2, 5, 10)
    for clip in range(2):
        expected = slow.predict(
            slow.params_of(predictor),
            context[clip].double().numpy(),
            mask.context[clip].tolist(),
            mask.targets[clip].tolist(),
            GRID,
            heads=2,
            mode=positions,
        )
        np.testing.assert_allclose(ours[clip], expected, atol=3e-5)


def test_the_order_of_tokens_does_not_matter() -> None:
    predictor = make_predictor()
    context, mask = make_input()
    of_context, of_targets = torch.tensor([3, 5, 0, 1, 4, 2]), torch.tensor([4, 2, 0, 3, 1])
    with torch.no_grad():
        plain = predictor(context, mask.context, mask.targets, GRID)
        shuffled = predictor(
            context[:, of_context],
            mask.context[:, of_context],
            mask.targets[:, of_targets],
            GRID,
        )
    torch.testing.assert_close(shuffled, plain[:, of_targets], atol=2e-5, rtol=1e-5)


def test_a_prediction_depends_on_its_position_and_on_the_context() -> None:
    predictor = make_predictor()
    context, mask = make_input()
    with torch.no_grad():
        plain = predictor(context, mask.context, mask.targets, GRID)
        moved = predictor(context, mask.context, mask.targets.flip(0), GRID)
        other = predictor(context.flip(0), mask.context, mask.targets, GRID)
    assert (plain - moved).abs().max() > 0.01
    assert (plain - other).abs().max() > 0.01


def test_every_parameter_gets_a_gradient() -> None:
    predictor = make_predictor()
    context, mask = make_input()
    context.requires_grad_()
    predictor(context, mask.context, mask.targets, GRID).square().sum().backward()
    for name, param in predictor.named_parameters():
        assert param.grad is not None, name
        assert param.grad.abs().max() > 0, name
    assert (context.grad.abs().amax(dim=-1) > 0).all()


@pytest.mark.parametrize("positions", ["vjepa2", "sincos"])
def test_under_autocast_tokens_are_added_up_in_float32(positions: Positions) -> None:
    """As in V-JEPA 2, whose float32 mask tokens decide the type of what they are put beside."""
    predictor = make_predictor(positions)
    context, mask = make_input()
    types: list[torch.dtype] = []
    for block in predictor.blocks:
        block.register_forward_hook(lambda _, given, out: types.extend([given[0].dtype, out.dtype]))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        coarse = predictor(context, mask.context, mask.targets, GRID)
    assert set(types) == {torch.float32}
    exact = predictor(context, mask.context, mask.targets, GRID)
    assert 0 < (coarse - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("positions", ["vjepa2", "interleaved", "sincos"])
def test_an_image_is_the_first_time_step_of_a_clip(positions: Positions) -> None:
    predictor = make_predictor(positions)
    context, _ = make_input()
    mask = make_masks(2, (1, 3, 4), 6, 5)
    with torch.no_grad():
        image = predictor(context, mask.context, mask.targets, (1, 3, 4))
        clip = predictor(context, mask.context, mask.targets, (5, 3, 4))
    torch.testing.assert_close(image, clip, atol=2e-5, rtol=1e-5)
