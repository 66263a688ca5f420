"""Small labelled videos whose classes are colours, and an untrained encoder on disk."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.encoders import write_checkpoint, write_video
from vsalt.data import probe_clips
from vsalt.evaluation import tokens

COLOURS = {"blue": (60, 80, 200), "grey": (130, 130, 130), "red": (200, 90, 60)}
NUM_ROWS = 36


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """36 videos in 3 colours, 4 folds, 12 scenes; one fold is the test split. Absolute paths."""
    folder = tmp_path_factory.mktemp("videos")
    rows = []
    for index in range(NUM_ROWS):
        label = list(COLOURS)[index % 3]
        shade = 10 * np.random.default_rng(index).normal()
        path = folder / f"{index}.mp4"
        write_video(path, np.array(COLOURS[label]) + shade, num_frames=10, seed=index)
        fold, scene = index // 3 % 4, f"s{index // 3}"
        split = "test" if fold == 3 else "train"
        rows.append(
            {"path": str(path), "label": label, "split": split, "fold": str(fold), "scene": scene}
        )
    return rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a manifest."""

    def write(rows: list[dict[str, str]], name: str = "labels.csv") -> Path:
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list:
    """Every sample that is asked for, as (config, seed, key), in order."""
    found = []

    class Spy(probe_clips.ProbeClips):
        def __init__(self, rows, config, *, seed, limits=None):
            super().__init__(rows, config, seed=seed, limits=limits)
            self.asked_with = (config, seed)

        def __getitem__(self, key):
            found.append((*self.asked_with, key))
            return super().__getitem__(key)

    monkeypatch.setattr(tokens, "ProbeClips", Spy)
    return found
