"""A tiny SALT run on made-up videos, which tests must not change."""

from dataclasses import replace
from pathlib import Path

import pytest

from vsalt.config import SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.data.synthetic import synthesise
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.objectives.config import SaltConfig
from vsalt.training.config import DeviceConfig, LoopConfig
from vsalt.training.start import start_salt


def tiny_config(source: str) -> SaltRunConfig:
    """4 x 4 tokens at each of 4 times; the best checkpoint is one of two."""
    encoder = EncoderConfig(size="Ti", width=24, depth=1, heads=2, mlp_width=48, tubelet=(2, 8, 8))
    stage = StageConfig(
        encoder=encoder,
        predictor=PredictorConfig(width=24, depth=1, heads=2, mlp_width=48),
        loop=LoopConfig(steps=2, batch_size=4, log_every=1, save_every=1),
    )
    return SaltRunConfig(
        seed=3,
        clip=ClipConfig(num_frames=8, size=(32, 32), frame_step=2),
        data=DataConfig(sources=(source,), holdout=0.3, workers=0),
        device=DeviceConfig(device="cpu", threads=1),
        teacher=stage,
        student=replace(stage, method=SaltConfig()),
    )


@pytest.fixture(scope="package")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 videos, of which 5 are test."""
    folder = tmp_path_factory.mktemp("videos") / "set"
    synthesise(folder, num_clips=32, num_frames=24, fps=12)
    return folder / "labels.csv"


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """A finished run of two stages."""
    folder = tmp_path_factory.mktemp("run") / "run"
    start_salt(folder, tiny_config(str(source)))
    return folder
