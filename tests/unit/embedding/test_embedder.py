"""`vsalt.load`: files, arrays and tensors get the features of a plain loop; doubt is refused."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vsalt
from support.encoders import CLIP, FPS, write_checkpoint, write_video
from vsalt.data.config import ClipConfig
from vsalt.data.decode import Video, read_frames
from vsalt.data.manifest import read_source
from vsalt.data.transforms import centre_view
from vsalt.embedding.embedder import Embedder
from vsalt.embedding.videos import require_choice
from vsalt.errors import ConfigError, DataError, WeightsError
from vsalt.training.extract import WindowConfig
from vsalt.training.locate import load_encoder

LENGTHS = (20, 33, 6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        write_video(folder / f"{index}.mp4", (60 * index, 90, 150), num_frames=length, seed=index)
        for index, length in enumerate(LENGTHS)
    ]


@pytest.fixture
def encoder(checkpoint: Path) -> Embedder:
    return vsalt.load(checkpoint, device="cpu")


def all_frames(path: Path) -> np.ndarray:
    with Video(path) as video:
        return video.read((np.arange(video.info.num_frames) + 0.5) / FPS)


def plain_tokens(checkpoint: Path, pixels: np.ndarray) -> torch.Tensor:
    """The tokens of one clip of frames, in the slow and plain way."""
    encoder = load_encoder(checkpoint).encoder
    with torch.no_grad():
        return encoder(centre_view(pixels, size=CLIP.size)[None])[0]


def middle(path: Path) -> np.ndarray:
    """The four frames, two apart, in the middle of a video; the last is repeated."""
    with Video(path) as video:
        length = video.info.num_frames
    start = (max(0, length - 8) + 1) // 2
    wanted = [min(start + 2 * index, length - 1) for index in range(4)]
    return read_frames(path, (np.array(wanted) + 0.5) / FPS)


def close(one: np.ndarray, other: np.ndarray | torch.Tensor) -> None:
    np.testing.assert_allclose(one, np.asarray(other), atol=1e-5, rtol=0)


def test_files_get_the_features_of_a_plain_loop(
    encoder: Embedder, checkpoint: Path, paths: list[Path]
) -> None:
    found = encoder.embed(paths)
    assert (found.shape, found.dtype) == ((3, encoder.num_features), np.float32)
    close(found, torch.stack([plain_tokens(checkpoint, middle(path)).mean(0) for path in paths]))
    # One video is a batch of one, and paths may be text or a column of an array.
    close(encoder.embed(str(paths[1])), found[1:2])
    close(encoder.embed(np.array([[str(path)] for path in paths])), found)
    close(encoder.embed(path for path in paths[:2]), found[:2])
    assert encoder.embed([]).shape == (0, encoder.num_features)


def test_tokens_lie_where_they_are_in_the_clip(
    encoder: Embedder, checkpoint: Path, paths: list[Path]
) -> None:
    found = encoder.tokens(paths)
    assert found.shape == (3, 2, 4, 4, 24) == (3, *encoder.map_shape)
    expected = plain_tokens(checkpoint, middle(paths[1]))
    for time, row, column in ((0, 0, 0), (1, 2, 3), (0, 3, 1)):
        close(found[1, time, row, column], expected[16 * time + 4 * row + column])
    close(found.mean(axis=(1, 2, 3)), encoder.embed(paths))


def test_whole_videos_in_memory_are_treated_as_their_files(
    checkpoint: Path, paths: list[Path]
) -> None:
    for settings in ({}, {"segments": 3}, {"pooling": "mean_space"}):
        encoder = vsalt.load(checkpoint, device="cpu", batch_size=2, **settings)
        videos = [all_frames(path) for path in paths]
        close(encoder.embed(videos, fps=float(FPS)), encoder.embed(paths))


def test_frames_are_shrunk_as_in_training(
    checkpoint: Path, paths: list[Path], tmp_path: Path
) -> None:
    rough = vsalt.load(write_checkpoint(tmp_path / "rough", antialias=False), device="cpu")
    frames = all_frames(paths[1])
    found = rough.embed(frames, fps=float(FPS))
    close(found, rough.embed(paths[1]))
    smooth = vsalt.load(checkpoint, device="cpu").embed(frames, fps=float(FPS))
    assert np.abs(found - smooth).max() > 1e-4


@pytest.mark.parametrize("spacing", ["exact", "linspace"])
@pytest.mark.parametrize("rate", [5.0, 3.0, 10.0])
def test_clips_by_rate_take_the_frames_that_files_give(
    tmp_path: Path, paths: list[Path], rate: float, spacing: str
) -> None:
    clip = ClipConfig(num_frames=4, fps=rate, size=(32, 32), spacing=spacing)
    checkpoint = write_checkpoint(tmp_path / "step-7", clip=clip)
    # With three windows, times that are starts of frames miss them by the rounding of floats.
    for segments in (2, 3):
        encoder = vsalt.load(checkpoint, device="cpu", segments=segments)
        videos = [all_frames(path) for path in paths]
        close(encoder.embed(videos, fps=float(FPS)), encoder.embed(paths))


def test_a_ready_clip_is_taken_as_it_is(
    encoder: Embedder, checkpoint: Path, paths: list[Path]
) -> None:
    clip = middle(paths[0])
    expected = plain_tokens(checkpoint, clip).mean(0)[None]
    close(encoder.embed(clip), expected)
    # Segments are windows of a video; a clip has one.
    close(vsalt.load(checkpoint, device="cpu", segments=3).embed(clip), expected)


def test_every_layout_means_the_same_clip(encoder: Embedder, paths: list[Path]) -> None:
    clip = middle(paths[0])
    expected = encoder.embed(clip)
    tensor = torch.from_numpy(clip)
    closed = clip.copy()
    closed.flags.writeable = False
    same = [closed, clip[None], clip.transpose(0, 3, 1, 2), clip.transpose(3, 0, 1, 2)]
    same += [tensor, tensor.permute(0, 3, 1, 2), tensor.permute(3, 0, 1, 2)[None], [tensor]]
    for given in same:
        close(encoder.embed(given), expected)
    close(encoder.embed(clip.transpose(3, 0, 1, 2), layout="CTHW"), expected)


def test_kinds_can_be_mixed_and_keep_their_places(encoder: Embedder, paths: list[Path]) -> None:
    clip = middle(paths[2])
    row = replace(read_source(paths[0].parent).rows[0], start_s=0.2, end_s=1.0)
    found = encoder.embed([clip, paths[1], torch.from_numpy(clip), row])
    whole = encoder.embed(paths)
    close(found[:3], whole[[2, 1, 2]])
    assert np.abs(found[3] - whole[0]).max() > 1e-3  # another stretch
    part = read_frames(paths[0], (np.array([2, 4, 6, 8]) + 0.5) / FPS)
    close(found[3], encoder.embed(part)[0])


THREE = (3, 3, 8, 3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros(THREE, np.uint8), "can be THWC, TCHW or CTHW; say which by layout='THWC'"),
        (np.zeros((3, 4, 9, 3), np.uint8), "can be THWC or CTHW; say which"),
        (torch.zeros(4, 3, 9, 3, dtype=torch.uint8), "can be THWC or TCHW; say which"),
        (np.zeros((4, 9, 9, 1), np.uint8), "no axis of 3 colours"),
        (np.zeros((4, 9, 9, 3)), "type float64, whose scale is unknown; give 8-bit"),
        (torch.zeros(4, 3, 9, 9), "type float32, whose scale is unknown"),
        (torch.zeros(4, 3, 9, 9, dtype=torch.bfloat16), "type bfloat16, whose scale is unknown"),
        (np.zeros((9, 9, 3), np.uint8), r"np\.stack\(frames\) makes one"),
        ([np.zeros((1, 4, 9, 9, 3), np.uint8)], "with five is several videos"),
        ([np.zeros((9, 9, 3), np.uint8)] * 4, r"np\.stack\(frames\)"),
        (np.zeros((5, 9, 9, 3), np.uint8), "has 5 frames. Without fps, an array is a clip .* 4 fr"),
        (np.zeros((4, 0, 9, 3), np.uint8), "no video of 3 colours"),
        ([3], "video 0 is of type int; give a path"),
        (7, "videos is of type int"),
        (b"a.mp4", "videos is of type bytes"),
        (np.array([["a", "b"]]), "give one column"),
    ],
)
def test_what_can_be_read_in_two_ways_or_none_is_refused(
    encoder: Embedder, given: object, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        encoder.embed(given)


def test_the_layout_settles_what_the_shape_leaves_open(encoder: Embedder) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 3, 9, 3), dtype=np.uint8)
    close(encoder.embed(noise, layout="THWC"), encoder.embed(np.repeat(noise, 2, axis=1)[:, ::2],
          layout="THWC"))  # fmt: skip
    as_rows, as_colours = (encoder.embed(noise, layout=axes) for axes in ("THWC", "TCHW"))
    assert np.abs(as_rows - as_colours).max() > 1e-3
    with pytest.raises(DataError, match="no video of 3 colours with the axes CTHW"):
        encoder.embed(noise, layout="CTHW")
    with pytest.raises(DataError, match=r"fps is 0\.0; it must be above 0"):
        encoder.embed(noise, layout="THWC", fps=0.0)


def test_columns_of_data_frames_are_taken(encoder: Embedder, paths: list[Path]) -> None:
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"path": [str(path) for path in paths], "label": ["a", "b", "a"]})
    expected = encoder.embed(paths)
    close(encoder.embed(table["path"]), expected)
    close(encoder.embed(table.select("path")), expected)
    with pytest.raises(DataError, match=r"give one column of them"):
        encoder.embed(table)


def damaged(video: bytes) -> bytes:
    """Blank the pictures of an mp4, which lie behind `mdat`, and keep its index."""
    start = video.index(b"mdat") + 4
    end = video.index(b"moov") - 4 if video.index(b"moov") > start else len(video)
    return video[:start] + bytes(end - start) + video[end:]


def test_unreadable_files_are_named_together_or_become_nan(
    encoder: Embedder, paths: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    given = [paths[0], tmp_path / "bad.mp4", paths[1], tmp_path / "none.mp4"]
    with pytest.raises(DataError, match=r"2 of 4 videos cannot be read:\n  video 1, .*bad\.mp4"):
        encoder.embed(given)
    found = encoder.embed(given, unreadable="nan")
    close(found[[0, 2]], encoder.embed(paths[:2]))
    assert np.isnan(found[[1, 3]]).all()
    # A file whose header is whole shows what is wrong with it only when it is decoded.
    whole = paths[1].read_bytes()
    (tmp_path / "cut.mp4").write_bytes(damaged(whole))
    with pytest.raises(DataError, match=r"1 of 2 videos cannot be read:\n  video 1, .*cut\.mp4"):
        encoder.embed([paths[0], tmp_path / "cut.mp4"])
    assert np.isnan(encoder.embed(tmp_path / "cut.mp4", unreadable="nan")).all()
    with pytest.raises(DataError, match=r"is a folder; .*read_source\('.*'\)\.rows"):
        encoder.embed(str(paths[0].parent))
    with pytest.raises(DataError, match=r"labels\.csv is a table; .*read_source\('.*'\)\.rows"):
        encoder.embed("labels.csv")


def test_nothing_is_encoded_before_all_headers_were_looked_into(
    encoder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    clip = np.zeros((4, 9, 9, 3), np.uint8)
    encoded = []
    monkeypatch.setattr(
        type(encoder.loaded.encoder), "features", lambda *given, **more: encoded.append(given)
    )
    with pytest.raises(DataError, match=r"1 of 2 videos cannot be read"):
        encoder.embed([clip, tmp_path / "bad.mp4"])
    assert not encoded
    with pytest.raises(TypeError):  # the clip alone would be encoded
        encoder.embed(clip)
    assert encoded


def test_words_that_are_no_choice_are_refused() -> None:
    require_choice("layout", "THWC", ("THWC", "TCHW"))
    with pytest.raises(ConfigError, match="layout is 'HWCT'; it can be 'THWC' or 'TCHW'"):
        require_choice("layout", "HWCT", ("THWC", "TCHW"))


def test_mistakes_show_when_it_is_loaded(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="5"):
        vsalt.load(checkpoint, layers=(5,))
    with pytest.raises(ConfigError, match="segments is 0"):
        vsalt.load(checkpoint, segments=0)
    with pytest.raises(WeightsError, match="there is no encoder at"):
        vsalt.load(tmp_path / "none")
    several = vsalt.load(checkpoint, segments=2)
    assert several.config.windows == WindowConfig(per_row=2)
    with pytest.raises(ConfigError, match="load the encoder with segments=1"):
        several.tokens(np.zeros((4, 9, 9, 3), np.uint8))


def test_it_tells_what_it_is_and_can_be_sent(
    encoder: Embedder, checkpoint: Path, paths: list[Path]
) -> None:
    text = repr(encoder)
    assert text == (
        f"Embedder(teacher, step 7 of {checkpoint}: clips of 4 frames, 32x32 pixels, to 24 numbers)"
    )
    sent = pickle.loads(pickle.dumps(encoder))
    close(sent.embed(paths[0]), encoder.embed(paths[0]))
