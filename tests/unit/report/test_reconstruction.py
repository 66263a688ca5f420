"""Predicted pixels are put back to where they belong, with the statistics that were taken out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from support.tiny import PREDICTOR, make_encoder
from vsalt.data.types import Batch
from vsalt.masking.types import MaskBatch
from vsalt.objectives.config import PixelConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.report.layout import Layout
from vsalt.report.marks import blank
from vsalt.report.reconstruction import known_beforehand, reconstruct, reconstruction_sheet
from vsalt.targets.pixels import PixelNorm, PixelTarget

TUBELET = (2, 8, 8)
GRID = (2, 2, 3)
NORMS: tuple[PixelNorm, ...] = ("per_channel", "joint", "none")
CONTEXT, TARGETS = [0, 4, 9], [1, 2, 6, 8, 11]
MASK = MaskBatch(context=torch.tensor([CONTEXT]), targets=torch.tensor([TARGETS]))


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(5).integers(0, 256, size=(3, 4, 16, 24), dtype=np.uint8)
    )


def place(token: int) -> tuple[slice, ...]:
    """Where a token lies in a clip (3, T, H, W)."""
    starts = (token // 6 * 2, token // 3 % 2 * 8, token % 3 * 8)
    return (slice(None), *(slice(s, s + d) for s, d in zip(starts, TUBELET, strict=True)))


def plain_target(clip: np.ndarray, token: int, normalise: PixelNorm) -> np.ndarray:
    """A token's target by the formulas of `targets.pixels`, colour fastest, in float64."""
    cube = clip[place(token)].transpose(1, 2, 3, 0).reshape(-1, 3) / 255
    if normalise == "per_channel":
        cube = (cube - cube.mean(axis=0)) / (cube.std(axis=0, ddof=1) + 1e-6)
    if normalise == "joint":
        cube = (cube - cube.mean()) / np.sqrt(cube.var(ddof=1) + 1e-6)
    return cube.reshape(-1)


@pytest.mark.parametrize("normalise", NORMS)
def test_the_exact_target_gives_back_the_clip(clip: torch.Tensor, normalise: PixelNorm) -> None:
    plain = np.stack([plain_target(clip.numpy(), token, normalise) for token in TARGETS])
    exact = PixelTarget(TUBELET, normalise).open(clip[None])(MASK.targets)[0]
    np.testing.assert_allclose(exact.numpy(), plain, atol=1e-4)
    rebuilt = reconstruct(clip, MASK, torch.from_numpy(plain).float(), TUBELET, normalise)
    for token in range(12):
        expected = clip[place(token)] if token in CONTEXT + TARGETS else torch.zeros(1)
        assert (rebuilt[place(token)] == expected).all()


@pytest.mark.parametrize("normalise", NORMS)
def test_a_prediction_gets_the_true_statistics_and_is_clipped(
    clip: torch.Tensor, normalise: PixelNorm
) -> None:
    prediction = torch.randn(len(TARGETS), 384, generator=torch.manual_seed(1))
    rebuilt = reconstruct(clip, MASK, prediction, TUBELET, normalise)
    for index, token in enumerate(TARGETS):
        cube = clip[place(token)].numpy().transpose(1, 2, 3, 0).reshape(-1, 3) / 255
        value = prediction[index].numpy().astype(np.float64).reshape(-1, 3)
        if normalise == "per_channel":
            value = value * cube.std(axis=0, ddof=1) + cube.mean(axis=0)
        if normalise == "joint":
            value = value * cube.std(ddof=1) + cube.mean()
        expected = np.clip(value, 0, 1).reshape(*TUBELET, 3).transpose(3, 0, 1, 2)
        # A grey level, for the epsilons and rounding.
        assert np.abs(rebuilt[place(token)].numpy() / 255 - expected).max() < 1 / 255


def test_a_clip_of_one_colour_stays_it(clip: torch.Tensor) -> None:
    flat = torch.full_like(clip, 77)
    prediction = torch.randn(len(TARGETS), 384, generator=torch.manual_seed(1))
    for normalise in ("per_channel", "joint"):
        rebuilt = reconstruct(flat, MASK, prediction, TUBELET, normalise)
        # A grey level for the epsilon under the root.
        apart = [(rebuilt[place(token)].int() - 77).abs().max() for token in TARGETS]
        assert max(apart) <= (1 if normalise == "joint" else 0)


@pytest.mark.parametrize("normalise", ["per_channel", "joint"])
def test_what_is_given_are_the_means(clip: torch.Tensor, normalise: PixelNorm) -> None:
    given = known_beforehand(clip, TUBELET, normalise)
    for token in range(12):
        cube = clip[place(token)].numpy().astype(np.float64)
        mean = cube.mean(axis=(1, 2, 3) if normalise == "per_channel" else None, keepdims=True)
        assert np.abs(given[place(token)].numpy() - mean).max() < 0.51


def exact_objective(normalise: PixelNorm) -> PixelObjective:
    """An objective whose predictor returns the targets, whatever the encoder says."""
    objective = PixelObjective(
        PixelConfig(normalise=normalise), make_encoder(), PREDICTOR, ("short", "long")
    )
    read = objective.loss

    def loss(batch: Batch) -> SimpleNamespace:
        return SimpleNamespace(predictions=read(batch).targets)

    objective.loss = loss
    return objective


@pytest.mark.parametrize("normalise", NORMS)
def test_rows_of_the_sheet(clip: torch.Tensor, normalise: PixelNorm) -> None:
    everything = MaskBatch(
        context=torch.tensor([CONTEXT]),
        targets=torch.tensor([[t for t in range(12) if t not in CONTEXT]]),
    )
    batch = Batch(clips=clip[None], masks=(MASK, everything), rows=(0,))
    objective = exact_objective(normalise)
    sheet = reconstruction_sheet(objective, batch, GRID, normalise, title="", about="")
    layout = Layout(grid=GRID, tubelet=TUBELET, steps=(0, 1))
    *first, seen, rebuilt, seen_too, all_rebuilt = sheet.draw(layout)
    names = ("short: seen", "short: rebuilt", "long: seen", "long: rebuilt")
    assert sheet.rows == (("clip", *names) if normalise == "none" else ("clip", "given", *names))
    assert len(first) == len(sheet.rows) - len(names)
    frames = first[0]
    board = blank(frames, np.ones(frames.shape[:3], dtype=np.bool_))
    for token in range(12):
        _, _, rows, columns = place(token)
        at = (token // 6, rows, columns)
        np.testing.assert_array_equal(seen[at], (frames if token in CONTEXT else board)[at])
        is_marked = token not in CONTEXT + TARGETS
        np.testing.assert_array_equal(rebuilt[at], (board if is_marked else frames)[at])
    np.testing.assert_array_equal(seen_too, seen)
    np.testing.assert_array_equal(all_rebuilt, frames)


def test_the_caption_says_whose_statistics_are_used(clip: torch.Tensor) -> None:
    batch = Batch(clips=clip[None], masks=(MASK, MASK), rows=(0,))
    said = {
        normalise: reconstruction_sheet(
            exact_objective(normalise), batch, GRID, normalise, title="", about=""
        ).explanation
        for normalise in NORMS
    }
    for normalise in ("per_channel", "joint"):
        assert "uses the true mean and deviation of every patch" in said[normalise]
    assert "uses no true mean or deviation of any patch" in said["none"]
