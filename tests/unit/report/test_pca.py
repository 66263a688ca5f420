"""Principal components against the eigenvectors of the covariance, and the colours made of them."""

import numpy as np
import pytest
import torch

from support.tiny import make_clips, make_encoder
from vsalt.report.layout import Layout
from vsalt.report.pca import TokenColours, pca_sheet, principal_components, token_colours


def rows(num: int = 50, width: int = 7, seed: int = 0) -> np.ndarray:
    """Rows with clearly different variances along mixed directions, and a mean."""
    generator = np.random.default_rng(seed)
    mixing = np.linalg.qr(generator.normal(size=(width, width)))[0]
    return generator.normal(size=(num, width)) * 2.0 ** -np.arange(width) @ mixing + 5


def test_scores_are_projections_on_the_eigenvectors_of_the_covariance() -> None:
    given = rows()
    values, vectors = np.linalg.eigh(np.cov(given, rowvar=False))
    scores, shares = principal_components(given)
    np.testing.assert_allclose(shares, values[::-1][:3] / values.sum(), rtol=1e-10)
    for index in range(3):
        vector = vectors[:, -1 - index]
        vector = vector if vector[np.abs(vector).argmax()] > 0 else -vector
        expected = (given - given.mean(axis=0)) @ vector
        np.testing.assert_allclose(scores[:, index], expected, atol=1e-9)


def test_signs_that_the_decomposition_may_choose_change_nothing(monkeypatch) -> None:
    before, _ = principal_components(rows())
    svd = np.linalg.svd

    def flipped(*args, **kwargs):
        u, s, v = svd(*args, **kwargs)
        signs = np.where(np.arange(len(s)) % 2, 1, -1)
        return u * signs, s, v * signs[:, None]

    monkeypatch.setattr(np.linalg, "svd", flipped)
    after, _ = principal_components(rows())
    np.testing.assert_allclose(after, before, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (9, 2), (9, 1)])
def test_components_that_do_not_exist_are_0(shape: tuple[int, int]) -> None:
    scores, shares = principal_components(rows(*shape))
    rank = min(shape[0] - 1, shape[1])
    assert scores.shape == (shape[0], 3)
    assert sum(shares) == pytest.approx(1.0 if rank else 0.0)
    np.testing.assert_allclose(scores[:, rank:], 0, atol=1e-12)


def test_equal_rows_have_no_components() -> None:
    scores, shares = principal_components(np.ones((6, 4)))
    assert shares == (0.0, 0.0, 0.0)
    assert not scores.any()


def test_colours_are_scaled_by_percentiles_over_all_clips() -> None:
    clips = make_clips(2, num_frames=4, size=(16, 24))
    encoder = make_encoder()
    with torch.inference_mode():
        found = token_colours(encoder, [clips[:1], clips[1:]], (2, 2, 3))
        tokens = encoder(clips).flatten(0, 1).double().numpy()
    scores, shares = principal_components(tokens)
    assert found.shares == pytest.approx(shares, rel=1e-5)
    assert found.rgb.shape == (2, 2, 2, 3, 3)
    for index in range(3):
        ordered = np.sort(scores[:, index])
        # The percentile by its definition: between the neighbours at 0.02 (n - 1) and 0.98 (n - 1).
        low, high = (np.interp(q * (len(ordered) - 1), range(len(ordered)), ordered)
                     for q in (0.02, 0.98))  # fmt: skip
        expected = 255 * (scores[:, index] - low) / (high - low)
        colours = found.rgb[..., index].reshape(-1)
        assert np.abs(colours - expected.clip(0, 255)).max() <= 0.51
        assert {0, 255} <= set(colours.tolist())


def test_an_encoder_that_says_nothing_is_grey() -> None:
    encoder = make_encoder()
    torch.nn.init.zeros_(encoder.norm.weight)
    with torch.inference_mode():
        found = token_colours(encoder, [make_clips(1)], (2, 2, 3))
    assert found.shares == (0.0, 0.0, 0.0)
    assert set(found.rgb.reshape(-1).tolist()) == {128}


def test_rows_of_the_sheet() -> None:
    clip = make_clips(1, num_frames=4, size=(16, 24))
    rgb = np.random.default_rng(0).integers(0, 256, size=(2, 2, 2, 3, 3), dtype=np.uint8)
    colours = {
        "student": TokenColours(rgb=rgb, shares=(0.5, 0.25, 0.125)),
        "untrained": TokenColours(rgb=rgb[::-1], shares=(0.1, 0.1, 0.1)),
    }
    sheet = pca_sheet(clip, 1, colours, title="Tokens", about="File: a.")
    frames, student, untrained = sheet.draw(Layout(grid=(2, 2, 3), tubelet=(2, 8, 8), steps=(1,)))
    assert sheet.rows == ("clip", "student", "untrained")
    np.testing.assert_array_equal(frames[0], clip[0, :, 2].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(student[0, ::8, ::8], rgb[1, 1])
    np.testing.assert_array_equal(untrained[0, ::8, ::8], rgb[0, 1])
    assert "student 88% (50% + 25% + 12%); untrained 30%" in sheet.explanation
