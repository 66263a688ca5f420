"""The made videos: their labels can be seen in the pixels, and not in a single frame."""

import csv
import hashlib
import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from vsalt.data.decode import Video
from vsalt.data.manifest import read_source
from vsalt.data.synthetic import DEFAULTS, plan_clips, synthesise
from vsalt.data.synthetic_config import MOTIONS, SHAPES, TEXTURES, SynthConfig
from vsalt.data.synthetic_frames import draw_clip
from vsalt.errors import ConfigError, DataError, collect_problems

ALL = SynthConfig(motions=MOTIONS, textures=("stripes", "checks"))


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def test_the_files_are_what_the_manifest_says(tmp_path):
    made = []
    manifest = synthesise(
        tmp_path / "set", num_clips=20, seed=3, num_frames=10, on_clip=lambda: made.append(1)
    )
    assert len(made) == 20
    rows = read_source(manifest).rows
    assert len(rows) == 20
    for row, clip in zip(rows, plan_clips(20, 3), strict=True):
        assert row.label == row.columns["motion"] == clip.motion
        assert row.columns["appearance"] == row.columns["shape"] == clip.appearance
        assert row.columns["texture"] == "plain"
        assert row.split == clip.split
        with Video(row.path) as video:
            info = video.info
            assert (info.num_frames, info.fps, info.height, info.width) == (10, 12.0, 64, 64)
            decoded = video.read((np.arange(10) + 0.5) / 12).astype(float)
        drawn = draw_clip(clip, DEFAULTS, seed=3, size=64, num_frames=10).astype(float)
        assert np.abs(decoded - drawn).mean() < 12  # compression and halved colour resolution
    assert not list((tmp_path / "set").glob("*.tmp"))


def test_bytes_are_a_function_of_the_seed(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthesise(tmp_path / name, num_clips=4, seed=seed, num_frames=6)
    first, second, other = (digest(tmp_path / name) for name in "abc")
    assert first == second
    assert len(first) == 5
    assert not set(first.values()) & {v for k, v in other.items() if k.suffix == ".mp4"}


def test_bytes_are_the_same_in_another_process(tmp_path):
    config = SynthConfig(
        motions=MOTIONS, textures=("checks",), distractors=2, noise=12.0, flicker=3.0
    )
    synthesise(tmp_path / "here", num_clips=3, num_frames=6, config=config)
    code = (
        "import sys; from pathlib import Path\n"
        "from vsalt.data.synthetic import *; from vsalt.data.synthetic_config import *\n"
        f"synthesise(Path(sys.argv[1]), num_clips=3, num_frames=6, config={config!r})"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], check=True)
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


@pytest.mark.parametrize("noise", [0.0, 20.0])
def test_bytes_do_not_depend_on_the_state_of_memory(tmp_path, noise):
    """An encoder whose look-ahead is on gives other bytes in about one of six runs."""
    config = SynthConfig(noise=noise)
    draw = np.random.default_rng(0)
    held = []
    found = set()
    for attempt in range(60):
        held.append(np.ones(draw.choice([100, 3000, 7000, 60000, 200000]), dtype=np.uint8))
        if len(held) > 20:
            held.pop(draw.integers(20))
        synthesise(tmp_path / str(attempt), num_clips=1, num_frames=6, config=config)
        found |= set(digest(tmp_path / str(attempt)).values())
    assert len(found) == 2


@pytest.mark.parametrize("config", [DEFAULTS, ALL], ids=["defaults", "all"])
def test_labels_are_balanced_and_independent_in_each_split(config):
    num_clips = 5 * 4 * config.num_classes
    clips = list(plan_clips(num_clips, 0, config))
    names = [config.motions, config.shapes, config.textures]
    for split, share in (("train", 16), ("test", 4)):
        labels = Counter((c.motion, c.shape, c.texture) for c in clips if c.split == split)
        assert set(labels) == set(itertools.product(*names))
        assert set(labels.values()) == {share}
    train = {c.scene for c in clips if c.split == "train"}
    test = {c.scene for c in clips if c.split == "test"}
    assert not train & test
    assert Counter(Counter(c.scene for c in clips).values()) == {8: num_clips // 8}


def test_the_appearance_is_what_varies():
    for config, expected in (
        (DEFAULTS, set(SHAPES)),
        (SynthConfig(textures=("checks",)), set(SHAPES)),
        (SynthConfig(shapes=("disc",), textures=TEXTURES), {f"disc_{name}" for name in TEXTURES}),
    ):
        assert {clip.appearance for clip in plan_clips(200, 0, config)} == expected


def test_distractors_and_noise_change_no_label():
    cluttered = SynthConfig(distractors=3, noise=20.0, background_contrast=2.0)
    assert list(plan_clips(64, 1, cluttered)) == list(plan_clips(64, 1))


@pytest.mark.parametrize("num_clips", [10, 16, 40])
def test_small_sets_have_both_splits(num_clips):
    assert {clip.split for clip in plan_clips(num_clips, 0)} == {"train", "test"}


@pytest.mark.parametrize(("every", "num_test"), [(2, 160), (4, 80), (5, 64)])
def test_the_share_of_the_test_split(every, num_test):
    clips = list(plan_clips(320, 0, test_every=every))
    assert Counter(clip.split for clip in clips) == {"train": 320 - num_test, "test": num_test}
    if every == 5:
        assert clips == list(plan_clips(320, 0))


def test_refusals(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        synthesise(tmp_path / "used", num_clips=1)
    for name, value in (
        *(("size", 15), ("size", 33), ("num_frames", 0), ("fps", 0), ("num_clips", 0)),
        ("test_every", 1),
    ):
        with pytest.raises(DataError, match="must be"):
            synthesise(tmp_path / "new", **{"num_clips": 1, name: value})
    assert not (tmp_path / "new").exists()


def test_settings_that_make_no_sense_are_told_together():
    with pytest.raises(ConfigError) as told, collect_problems():
        SynthConfig(
            motions=(),
            shapes=("disc", "disc"),
            distractors=17,
            background_contrast=-1.0,
            background_speed=9.0,
            noise=float("nan"),
            flicker=256.0,
            qp=0,
        )
    names = [problem.split()[0] for problem in told.value.problems]
    numbers = ["distractors", "background-contrast", "background-speed", "noise", "flicker", "qp"]
    assert names == ["motions", "shapes", *numbers]


@pytest.mark.parametrize("spin", ["spin_clockwise", "spin_counter_clockwise"])
def test_a_spin_that_cannot_be_seen_is_refused(spin):
    with pytest.raises(ConfigError, match="plain disc that spins"):
        SynthConfig(motions=("left", spin))
    SynthConfig(motions=("left", spin), shapes=("square", "cross"))
    SynthConfig(motions=("left", spin), textures=("stripes",))


def test_the_header(tmp_path):
    manifest = synthesise(tmp_path / "set", num_clips=1, num_frames=2)
    with manifest.open() as file:
        header = next(csv.reader(file))
    labels = ["label", "motion", "appearance", "shape", "texture"]
    assert header == ["path", *labels, "split", "group"]
