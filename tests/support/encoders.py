"""Checkpoints of small encoders that were never trained, and videos of one colour."""

import json
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch

from vsalt.config import PretrainConfig, StageConfig, resolve_stage, to_dict
from vsalt.data.config import ClipConfig, DataConfig
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder
from vsalt.models.weights import save_weights, weights_hash
from vsalt.objectives.config import SaltConfig

CLIP = ClipConfig(num_frames=4, frame_step=2, size=(32, 32))
TINY = EncoderConfig(size="Ti", width=24, depth=1, heads=2, mlp_width=48, tubelet=(2, 8, 8))
"""16 tokens at each of 2 times."""
FPS = 10


def write_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    clip: ClipConfig = CLIP,
    encoder: EncoderConfig = TINY,
    predictor: PredictorConfig | None = None,
    predictor_out: int = 24,
    antialias: bool = True,
) -> Path:
    """Write what a stage leaves behind of its encoder, with weights drawn from the seed.

    With the settings of a predictor, the method is salt, and there is one, too.
    """
    stage = StageConfig(encoder=encoder)
    if predictor is not None:
        stage = StageConfig(encoder=encoder, predictor=predictor, method=SaltConfig())
    data = DataConfig(antialias=antialias)
    config = PretrainConfig(clip=clip, data=data, stage=resolve_stage(stage))
    torch.manual_seed(seed)
    network = Encoder(config.stage.encoder)
    tensors = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    if predictor is not None:
        head = Predictor(
            config.stage.predictor,
            in_width=network.width,
            out_width=predictor_out,
            positions=encoder.positions,
        )
        tensors |= {f"predictor.{name}": value for name, value in head.state_dict().items()}
    folder.mkdir(parents=True)
    save_weights(folder / "model.safetensors", tensors)
    meta = {"step": 7, "config": to_dict(config), "best_step": 7}
    meta["weights_sha256"] = weights_hash(tensors)
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def write_video(path: Path, colour: Sequence[float], *, num_frames: int = 20, seed: int = 0):
    """Write frames of one colour with grey noise, 40 x 48 pixels, 10 per second."""
    noise = np.random.default_rng(seed).normal(scale=25, size=(num_frames, 40, 48, 1))
    frames = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "5", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path
