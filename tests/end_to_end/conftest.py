from pathlib import Path

import numpy as np
import pytest

from support.pictures import write_png
from vsalt.data.synthetic import synthesise


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small synthetic set."""
    return synthesise(
        tmp_path_factory.mktemp("videos"), num_clips=32, seed=1, size=32, num_frames=10
    )


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of 24 pictures of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(24)]
    for name in names:
        write_png(folder / name, noise.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    (folder / "pictures.csv").write_text("\n".join(["path", *names]) + "\n")
    return folder / "pictures.csv"
