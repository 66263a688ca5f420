from pathlib import Path

import pytest

from vsalt.data.synthetic import synthesise


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small synthetic set."""
    return synthesise(
        tmp_path_factory.mktemp("videos"), num_clips=32, seed=1, size=32, num_frames=10
    )
