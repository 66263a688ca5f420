"""The clips of probes against plain slicing of decoded frames, and what they depend on."""

import itertools
import pickle
from typing import Any

import av
import numpy as np
import pytest
import torch

from vsalt.data import probe_clips
from vsalt.data.config import ClipConfig, ReadLimits
from vsalt.data.decode import Video
from vsalt.data.jobs import Job, Task
from vsalt.data.manifest import Row
from vsalt.data.probe_clips import ProbeClips, ProbeKey
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.data.transforms import centre_view, multi_view
from vsalt.data.workers import WorkerPool
from vsalt.errors import ConfigError

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(16, 16))  # a window of 8 frames
TEST = ProbeClipConfig(clip=CLIP, segments=2, views=3)
TRAIN = ProbeClipConfig(clip=CLIP, segments=2, augment="randaugment", window="random", erase=0.25)
LONG, SHORT, TINY, JPG, PNG, BAD, PART = range(7)


def write_image(path, codec, pix_fmt):
    pixels = np.random.default_rng(5).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
    with av.open(str(path), "w", format="image2") as container:
        stream: Any = container.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
        frame = av.VideoFrame.from_ndarray(pixels.repeat(8, 0).repeat(8, 1), format="rgb24")
        container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_video):
    folder = tmp_path_factory.mktemp("probe")
    write_video(folder / "long.mp4", num_frames=40, seed=1)
    write_video(folder / "short.mp4", num_frames=10, seed=2)
    write_video(folder / "tiny.mp4", num_frames=3, seed=3)
    write_image(folder / "image.jpg", "mjpeg", "yuvj420p")
    write_image(folder / "image.png", "png", "rgb24")
    (folder / "bad.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def rows(folder):
    names = ["long.mp4", "short.mp4", "tiny.mp4", "image.jpg", "image.png", "bad.mp4"]
    places = [(name, {}) for name in names] + [("long.mp4", {"start_s": 1.0, "end_s": 2.0})]
    return [
        Row(path=str(folder / name), relative_path=name, source=0, columns={}, **bounds)
        for name, bounds in places
    ]


def sample(rows, config, row, pass_index=0, seed=0):
    return ProbeClips(rows, config, seed=seed)[ProbeKey(pass_index, row)]


# Frames by hand: a window in the middle of each part, parts that overlap, the last frame held.
@pytest.mark.parametrize(
    ("row", "windows"),
    [
        (LONG, [[6, 8, 10, 12], [26, 28, 30, 32]]),
        (SHORT, [[0, 2, 4, 6], [2, 4, 6, 8]]),
        (TINY, [[0, 2, 2, 2], [0, 2, 2, 2]]),
        (PART, [[10, 12, 14, 16], [12, 14, 16, 18]]),
        (JPG, [[0, 0, 0, 0], [0, 0, 0, 0]]),
        (PNG, [[0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_fixed_windows_have_three_views_of_their_frames(rows, decode_all, row, windows):
    frames = decode_all(rows[row].path).frames
    found = sample(rows, TEST, row)
    assert found.shape == (2, 3, 3, 4, 16, 16)
    assert found.dtype == torch.uint8
    for segment, window in enumerate(windows):
        own = np.stack([frames[index] for index in window])
        assert torch.equal(found[segment], multi_view(own, size=(16, 16), num_views=3))
    # The frames are 48 wide and become 24, so that the crops start at 0, 4 and 8.
    assert not torch.equal(found[:, 0], found[:, 2])


@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
@pytest.mark.parametrize("rate", [{}, {"fps": 4.0}, {"spacing": "linspace"}])
def test_an_image_is_a_clip_of_equal_frames(rows, decode_all, name, rate):
    clip = ClipConfig(num_frames=16, size=(16, 24), **rate)
    row = [place.relative_path for place in rows].index(name)
    found = sample(rows, ProbeClipConfig(clip=clip), row)
    picture = decode_all(rows[row].path).frames[0]
    expected = centre_view(np.stack([picture] * 16), size=(16, 24))
    assert torch.equal(found, expected[None, None])
    for augment in ("crop", "randaugment"):
        changed = sample(rows, ProbeClipConfig(clip=clip, augment=augment), row)
        assert torch.equal(changed, changed[..., :1, :, :].expand_as(changed))


def test_a_png_keeps_its_pixels(rows):
    pixels = np.random.default_rng(5).integers(0, 256, size=(4, 6, 3), dtype=np.uint8)
    clip = ClipConfig(num_frames=2, size=(32, 48))
    found = sample(rows, ProbeClipConfig(clip=clip, views=2), PNG)
    assert np.array_equal(found[0, 0, :, 1].permute(1, 2, 0), pixels.repeat(8, 0).repeat(8, 1))


def shown_frames(clip, frames):
    """The index of the frame that each picture (3, T, h, w) of a clip shows."""
    views = centre_view(np.stack(frames), size=(16, 16)).int()
    gaps = (clip.int()[:, :, None] - views[:, None]).abs().sum((0, 3, 4))
    assert gaps.min(1).values.max() == 0
    return gaps.argmin(1).tolist()


def test_random_windows_lie_anywhere_in_their_part(rows, decode_all):
    frames = decode_all(rows[LONG].path).frames
    config = ProbeClipConfig(clip=CLIP, segments=2, window="random")
    starts = []
    for pass_index in range(60):
        clips = sample(rows, config, LONG, pass_index)[:, 0]
        shown = [shown_frames(clip, frames) for clip in clips]
        assert all(np.diff(window).tolist() == [2, 2, 2] for window in shown)
        starts.append([window[0] for window in shown])
        # A window of 8 frames takes the frames start to start + 7.
        assert 0 <= shown[0][0] <= 20 - 8
        assert 20 <= shown[1][0] <= 40 - 8
    first, second = np.array(starts).T
    assert len(set(first)) > 9
    assert len(set(second)) > 9
    # The parts are drawn independently.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.45


def test_samples_are_functions_of_the_seed_the_pass_and_the_row(rows):
    keys = [ProbeKey(*key) for key in itertools.product(range(3), (LONG, SHORT, PNG))]
    first = {key: ProbeClips(rows, TRAIN, seed=0)[key] for key in keys}
    other = pickle.loads(pickle.dumps(ProbeClips(rows, TRAIN, seed=0)))
    for key in reversed(keys):
        assert torch.equal(other[key], first[key])
        assert first[key].shape == (2, 1, 3, 4, 16, 16)
    for row in (LONG, SHORT, PNG):
        passes = [first[ProbeKey(index, row)] for index in range(3)]
        assert not any(torch.equal(passes[0], one) for one in passes[1:])
        assert not torch.equal(sample(rows, TRAIN, row, seed=1), passes[0])


def test_tests_do_not_depend_on_the_pass_or_the_seed(rows):
    assert torch.equal(sample(rows, TEST, LONG), sample(rows, TEST, LONG, 5, seed=9))


def test_windows_are_changed_each_by_draws_of_its_own(rows):
    config = ProbeClipConfig(clip=CLIP, segments=3, augment="randaugment")
    for clips in (sample(rows, config, PNG, index)[:, 0] for index in range(4)):
        # One picture: what differs between windows is the augmentation, not the content.
        assert not torch.equal(clips[0], clips[1])
        assert not torch.equal(clips[1], clips[2])


def test_erasing_changes_a_box_after_the_crop(rows):
    plain = ProbeClipConfig(clip=CLIP, augment="crop")
    erased = ProbeClipConfig(clip=CLIP, augment="crop", erase=1.0)
    for pass_index in range(5):
        before, after = (sample(rows, one, PNG, pass_index)[0, 0] for one in (plain, erased))
        changed = (before != after).any(0).any(0)
        rows_changed, columns = changed.any(1).nonzero().ravel(), changed.any(0).nonzero().ravel()
        box = changed[rows_changed[0] : rows_changed[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.float().mean() > 0.95
        assert 0 < box.numel() < 0.45 * changed.numel()
        assert not torch.equal(after[:, 0], after[:, 1])


def test_flips(rows):
    flips = [ProbeClipConfig(clip=CLIP, augment="crop", flip=flip) for flip in (0.0, 1.0)]
    straight, flipped = (sample(rows, config, LONG) for config in flips)
    assert torch.equal(straight.flip(-1), flipped)


def test_overlapping_windows_are_read_together_and_others_alone(rows, monkeypatch):
    reads = []
    read = Video.read
    monkeypatch.setattr(
        Video, "read", lambda self, times: reads.append(len(times)) or read(self, times)
    )
    config = ProbeClipConfig(clip=CLIP, segments=3)
    together = sample(rows, config, SHORT)
    # Frames 0 2 4 6, 1 3 5 7 and 2 4 6 8: nine times.
    assert reads == [9]
    reads.clear()
    sample(rows, config, LONG)
    assert reads == [4, 4, 4]
    monkeypatch.setattr(probe_clips, "_MAX_BYTES_TOGETHER", 0)
    reads.clear()
    assert torch.equal(sample(rows, config, SHORT), together)
    assert reads == [4, 4, 4]


def test_an_unreadable_file_gives_zeros_and_is_named(rows):
    dataset = ProbeClips(rows, TEST, seed=0)
    batch = dataset.read([ProbeKey(2, row) for row in (LONG, BAD)], Job())
    assert batch.clips.shape == (2, 2, 3, 3, 4, 16, 16)
    assert not batch.clips[1].any()
    assert batch.rows == (LONG, BAD)
    assert batch.readable == (True, False)
    (bad,) = batch.bad_files
    assert bad[:3] == (2, BAD, 0)
    assert bad.path == rows[BAD].path
    assert "bad.mp4" in bad.error


@pytest.mark.parametrize("config", [TEST, TRAIN])
def test_batches_do_not_depend_on_workers(rows, config):
    keys = [[ProbeKey(1, row) for row in part] for part in ((LONG, SHORT, BAD), (PNG, PART))]
    dataset = ProbeClips(rows, config, seed=3)
    expected = [dataset.read(batch, Job()) for batch in keys]
    for workers in (0, 2):
        pool = WorkerPool(
            dataset, workers=workers, prefetch=1, pin_memory=False, limits=ReadLimits()
        )
        try:
            found = list(pool.batches(map(Task, keys)))
        finally:
            pool.close()
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one.clips, other.clips)
            assert (one.rows, one.bad_files) == (other.rows, other.bad_files)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"segments": 0}, "segments is 0"),
        ({"views": 0}, "views is 0"),
        ({"views": 3, "augment": "crop"}, "give views 1, or augment none"),
        ({"erase": 1.5, "augment": "crop"}, "erase is 1.5"),
        ({"erase": 0.25}, "erase is 0.25 and augment is none"),
        ({"flip": 0.5}, "flip is 0.5 and augment is none"),
        ({"crop_scale": (0.0, 1.0)}, "crop-scale"),
        ({"crop_ratio": (2.0, 1.0)}, "crop-ratio"),
    ],
)
def test_mistakes_in_the_settings(settings, problem):
    with pytest.raises(ConfigError) as caught:
        ProbeClipConfig(clip=CLIP, **settings)
    assert problem in str(caught.value)
    assert len(caught.value.problems) == 1
