"""A frozen encoder as a transformer of scikit-learn: videos in, a table of features out.

Needs the extra `sklearn`.
"""

import contextlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from vsalt.embedding.embedder import Embedder, load
from vsalt.embedding.videos import Layout, Videos
from vsalt.errors import MissingExtraError, VsaltError
from vsalt.models.config import Pooling
from vsalt.training.locate import find_checkpoint

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import Tags
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtraError("VideoEmbedder needs scikit-learn", extra="sklearn") from error


class VideoEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns videos into features by a trained encoder, as the first step of a `Pipeline`.

    `X` is what `Embedder.embed` takes: a column of paths, a list of paths or arrays, an array with
    five axes. It is never a table of numbers, so the tags tell scikit-learn not to look into it.
    `fit` loads the encoder and learns nothing. Features are float32 and do not depend on which
    videos are given together, but for rounding.

    Args:
        encoder: path of a run or a checkpoint, as `vsalt.load` takes it.
        pooling: see `vsalt.load`.
        layers: see `vsalt.load`.
        segments: see `vsalt.load`.
        fps: rate of arrays that are whole videos; None: arrays are clips that are ready.
        layout: axes of arrays, where their shape leaves it open.
        batch_size: clips that are encoded at once.
        workers: processes that decode files.
        device: auto, cpu or cuda.

    Attributes:
        embedder_: the loaded encoder. A fitted transformer is pickled with it.

    Example:
        >>> model = make_pipeline(VideoEmbedder("run"), StandardScaler(), LogisticRegression())
        >>> model.fit(train_paths, train_labels).score(test_paths, test_labels)
        0.87
    """

    embedder_: Embedder

    def __init__(
        self,
        encoder: str | PathLike[str],
        *,
        pooling: Pooling = "mean",
        layers: Sequence[int] = (-1,),
        segments: int = 1,
        fps: float | None = None,
        layout: Layout | None = None,
        batch_size: int = 16,
        workers: int = 0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
    ) -> None:
        self.encoder = encoder
        self.pooling = pooling
        self.layers = layers
        self.segments = segments
        self.fps = fps
        self.layout = layout
        self.batch_size = batch_size
        self.workers = workers
        self.device = device

    def fit(self, X: Videos, y: Any = None) -> "VideoEmbedder":  # noqa: ARG002
        """Load the encoder; neither videos nor labels are looked at.

        Raises:
            WeightsError: there is no encoder at the path.
            ConfigError: a setting is not allowed.
        """
        self.embedder_ = load(
            self.encoder,
            pooling=self.pooling,
            layers=self.layers,
            segments=self.segments,
            batch_size=self.batch_size,
            workers=self.workers,
            device=self.device,
        )
        return self

    def transform(self, X: Videos) -> Float32[np.ndarray, "N F"]:
        """Return one feature per video.

        Raises:
            NotFittedError: before `fit`.
            DataError: see `Embedder.embed`.
        """
        check_is_fitted(self)
        return self.embedder_.embed(X, fps=self.fps, layout=self.layout)

    @property
    def _n_features_out(self) -> int:
        """F; scikit-learn names the columns by it."""
        return self.embedder_.num_features

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled; before `fit` with a hash of the weights that it would load.

        By that the `memory` of a pipeline tells encoders apart that follow each other at one path.
        Without an encoder there is nothing to tell apart, and `fit` says so.
        """
        state: dict[str, Any] = super().__getstate__()
        if not hasattr(self, "embedder_"):
            with contextlib.suppress(VsaltError, OSError):
                meta = find_checkpoint(Path(self.encoder)).meta
                state = {**state, "_weights_sha256": meta["weights_sha256"]}
        return state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        tags.no_validation = True
        return tags
