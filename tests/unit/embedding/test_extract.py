"""Features against a plain loop over clips, for every way of batching and of placing windows."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from support.encoders import CLIP, TINY, write_video
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.decode import read_frames
from vsalt.data.manifest import Row, read_source
from vsalt.data.transforms import centre_view
from vsalt.errors import ConfigError
from vsalt.models.vit import Encoder
from vsalt.training import extract
from vsalt.training.extract import (
    ExtractConfig,
    WindowConfig,
    encoder_features,
    extract_features,
    plan_windows,
)

LENGTHS = (20, 33, 5, 8, 26)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, ...]:
    folder = tmp_path_factory.mktemp("videos")
    for index, length in enumerate(LENGTHS):
        colour = (60 + 30 * index, 200 - 30 * index, 100)
        write_video(folder / f"{index}.mp4", colour, num_frames=length, seed=index)
    return read_source(folder).rows


def make_encoder(seed: int) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(TINY).eval()


def run(
    rows, encoders=None, *, clip: ClipConfig = CLIP, batch_size=3, workers=0, pooling="mean",
    batch_ends=(), **windows,
):  # fmt: skip
    config = ExtractConfig(
        windows=WindowConfig(**windows),
        pooling=pooling,
        batch_size=batch_size,
        workers=workers,
        device="cpu",
    )
    plan = plan_windows(rows, clip, config.windows)
    functions = [encoder_features(encoder, config) for encoder in encoders or [make_encoder(0)]]
    found = list(
        extract_features(functions, rows, plan, clip=clip, config=config, batch_ends=batch_ends)
    )
    return plan, found


def plain_tokens(encoder: Encoder, row: Row, frames: list[int], fps: float = 10) -> torch.Tensor:
    pixels = read_frames(row.path, (np.array(frames) + 0.5) / fps)
    clip = centre_view(pixels, size=CLIP.size)
    with torch.no_grad():
        return encoder(clip[None])[0]


def middle(length: int) -> list[int]:
    """The four frames, two apart, in the middle; the last is repeated in short videos."""
    start = (max(0, length - 8) + 1) // 2
    return [min(start + 2 * index, length - 1) for index in range(4)]


def test_rows_above_the_limits_are_unreadable(rows) -> None:
    row = Row(path=rows[0].path, relative_path="0.mp4", source=0, columns={})
    strict = ReadLimits(max_fps=5.0)
    (planned,) = plan_windows([row], CLIP, WindowConfig(), limits=strict)
    assert "above the limit of 5 (setting limits.max-fps)" in planned.error
    # Also where it was planned by other limits.
    plan = plan_windows([row], CLIP, WindowConfig())
    config = ExtractConfig(device="cpu", limits=strict)
    functions = [encoder_features(make_encoder(0), config)]
    (found,) = extract_features(functions, [row], plan, clip=CLIP, config=config)
    assert "above the limit of 5 (setting limits.max-fps)" in found.error


def test_workers_change_no_bit(rows) -> None:
    _, here = run(rows, batch_size=2, workers=0)
    _, there = run(rows, batch_size=2, workers=2)
    for one, other in zip(here, there, strict=True):
        assert one.index == other.index
        assert torch.equal(one.features[0], other.features[0])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_features_are_those_of_single_clips(rows, batch_size: int) -> None:
    encoders = [make_encoder(0), make_encoder(1)]
    plan, found = run(rows, encoders, batch_size=batch_size)
    assert [row.index for row in found] == list(range(len(rows)))
    for row, features, length, windows in zip(rows, found, LENGTHS, plan, strict=True):
        for encoder, feature in zip(encoders, features.features, strict=True):
            expected = plain_tokens(encoder, row, middle(length)).mean(dim=0)
            torch.testing.assert_close(feature, expected[None], atol=1e-5, rtol=0)
        start_s = middle(length)[0] / 10
        assert windows.spans_s == (pytest.approx((start_s, min(start_s + 0.8, length / 10))),)


def test_mean_space_keeps_the_order_in_time(rows) -> None:
    encoder = make_encoder(0)
    _, flat = run(rows, [encoder])
    _, timed = run(rows, [encoder], pooling="mean_space")
    for row, one, other, length in zip(rows, flat, timed, LENGTHS, strict=True):
        tokens = plain_tokens(encoder, row, middle(length))
        expected = torch.cat([tokens[:16].mean(dim=0), tokens[16:].mean(dim=0)])
        torch.testing.assert_close(other.features[0][0], expected, atol=1e-5, rtol=0)
        both = other.features[0].reshape(2, 24).mean(dim=0)
        torch.testing.assert_close(both, one.features[0][0], atol=1e-5, rtol=0)


def test_segments_are_spread_evenly(rows) -> None:
    encoder = make_encoder(0)
    plan, found = run(rows, [encoder], per_row=2)
    # 20 frames: two parts of 10, windows of 8 in the middle of each.
    assert plan[0].spans_s == (pytest.approx((0.1, 0.9)), pytest.approx((1.1, 1.9)))
    for index, start in enumerate((1, 11)):
        expected = plain_tokens(encoder, rows[0], [start, start + 2, start + 4, start + 6])
        torch.testing.assert_close(
            found[0].features[0][index], expected.mean(dim=0), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("clip", [CLIP, replace(CLIP, fps=4.0)], ids=["step", "fps"])
@pytest.mark.parametrize("stretch", [(None, None), (0.7, 2.4)])
def test_sliding_windows_are_the_clips_of_their_times(rows, clip, stretch) -> None:
    whole = replace(rows[1], start_s=stretch[0], end_s=stretch[1])
    (windows,), (slid,) = run([whole], clip=clip, stride_s=0.3)
    length_s = 0.8 if clip.fps is None else 1.0
    begin, end = stretch[0] or 0.0, stretch[1] or 3.3
    starts = [begin + 0.3 * index for index in range(20) if begin + 0.3 * index + length_s <= end]
    if starts[-1] + length_s < end - 0.11:
        starts.append(end - length_s)
    assert [start for start, _ in windows.spans_s] == pytest.approx(starts)
    assert [stop for _, stop in windows.spans_s] == pytest.approx([s + length_s for s in starts])
    parts = [replace(whole, start_s=start, end_s=stop) for start, stop in windows.spans_s]
    _, single = run(parts, clip=clip)
    expected = torch.cat([row.features[0] for row in single])
    torch.testing.assert_close(slid.features[0], expected, atol=1e-5, rtol=0)


def test_unreadable_rows_are_named_and_touch_no_other(rows, tmp_path: Path) -> None:
    whole = Path(rows[0].path).read_bytes()
    (tmp_path / "none.mp4").write_bytes(b"not a video")
    half = bytearray(whole)
    # The header stays, the pictures in the middle do not.
    start = whole.index(b"mdat") + 4
    half[start : start + 3000] = b"\xff" * 3000
    (tmp_path / "half.mp4").write_bytes(half)
    broken = read_source(tmp_path).rows
    late = replace(rows[0], start_s=9.0)
    mixed = [rows[0], broken[1], rows[1], broken[0], late, rows[2]]
    _, found = run(mixed, batch_size=2, per_row=2)
    _, alone = run(rows[:3], batch_size=2, per_row=2)
    assert [row.error is None for row in found] == [True, False, True, False, False, True]
    assert "none.mp4" in str(found[1].error)
    assert "half.mp4" in str(found[3].error)
    assert "no frame lies between 9 s" in str(found[4].error)
    for one, other in zip([found[0], found[2], found[5]], alone, strict=True):
        torch.testing.assert_close(one.features[0], other.features[0], atol=1e-5, rtol=0)


def test_batches_end_where_they_should(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = extract.encode_clips

    def spy(encoder, clips, **options):
        sizes.append(len(clips))
        return original(encoder, clips, **options)

    monkeypatch.setattr(extract, "encode_clips", spy)
    run(rows, batch_size=4, per_row=3, batch_ends={1, 2})
    assert sizes == [4, 2, 3, 4, 2]


def test_the_windows_of_a_row_are_placed_once_for_all_its_batches(
    rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []
    original = extract.place_windows

    def spy(video, *given):
        placed.append(Path(video.path).name)
        return original(video, *given)

    monkeypatch.setattr(extract, "place_windows", spy)
    plan, _ = run(rows, batch_size=1, stride_s=0.3)
    assert sum(len(windows.spans_s) for windows in plan) > 2 * len(rows)
    names = [f"{index}.mp4" for index in range(len(rows))]
    assert placed == 2 * names  # once for the plan, once for reading


def test_stretches_of_one_file_have_windows_of_their_own(rows) -> None:
    parts = [replace(rows[1], start_s=start, end_s=start + 1.2) for start in (0.0, 1.5, 0.0)]
    _, found = run(parts, batch_size=1, stride_s=0.2)
    for part, together in zip(parts, found, strict=True):
        _, (alone,) = run([part], batch_size=1, stride_s=0.2)
        torch.testing.assert_close(together.features[0], alone.features[0], atol=1e-5, rtol=0)
    assert (found[0].features[0] - found[1].features[0]).abs().max() > 1e-3


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Arguments without the checks of their types, as users have them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked")
def test_words_that_are_no_choice_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="pooling is 'tokens'; it can be mean, mean_space") as e:
        ExtractConfig(pooling="tokens", device="tpu")
    assert "device is 'tpu'; it can be auto, cpu, cuda" in str(e.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: WindowConfig(per_row=0), "segments is 0"),
        (lambda: WindowConfig(stride_s=0.0), "window-stride-s is 0"),
        (lambda: WindowConfig(stride_s=1.0, per_row=2), "exclude each other"),
        (lambda: ExtractConfig(batch_size=0), "batch-size is 0"),
        (lambda: ExtractConfig(workers=-1), "workers is -1"),
    ],
)
def test_wrong_settings_are_named(build, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_cuda_is_not_replaced_in_silence(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    plan = plan_windows(rows, CLIP, WindowConfig())
    config = ExtractConfig(device="cuda")
    with pytest.raises(ConfigError, match="torch finds none; take cpu or auto"):
        encoder_features(make_encoder(0), config)
    with pytest.raises(ConfigError, match="torch finds none; take cpu or auto"):
        next(extract_features([], rows, plan, clip=CLIP, config=config))


@pytest.mark.cuda
def test_cuda_gives_the_features_of_the_cpu(rows) -> None:
    plan = plan_windows(rows, CLIP, WindowConfig())
    found = {}
    for device in ("cpu", "cuda"):
        config = ExtractConfig(batch_size=3, device=device)
        functions = [encoder_features(make_encoder(0), config)]
        features = extract_features(functions, rows, plan, clip=CLIP, config=config)
        found[device] = torch.cat([row.features[0] for row in features])
    torch.testing.assert_close(found["cpu"], found["cuda"], atol=1e-4, rtol=0)
