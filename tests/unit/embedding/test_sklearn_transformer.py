"""`VideoEmbedder` keeps scikit-learn's contract, as far as that is about videos."""

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression as Logistic
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

import vsalt
from support.encoders import write_checkpoint, write_video
from vsalt import VideoEmbedder
from vsalt.errors import DataError

_A_TABLE = "transform is handed a table of numbers, which is no video, and refuses it"
_FIT_LOOKS = "fit is to look into the table, but it learns nothing and opens no video"
CANNOT_APPLY = {
    "check_complex_data": _FIT_LOOKS,
    "check_dict_unchanged": _A_TABLE,
    "check_dtype_object": _A_TABLE,
    "check_estimator_sparse_tag": _FIT_LOOKS,
    "check_estimators_dtypes": _A_TABLE,
    "check_estimators_empty_data_messages": _FIT_LOOKS,
    "check_estimators_nan_inf": _FIT_LOOKS,
    "check_estimators_pickle": _A_TABLE,
    "check_f_contiguous_array_estimator": _A_TABLE,
    "check_fit1d": _FIT_LOOKS,
    "check_fit2d_predict1d": _A_TABLE,
    "check_fit_idempotent": _A_TABLE,
    "check_fit_score_takes_y": _A_TABLE,
    "check_methods_sample_order_invariance": _A_TABLE,
    "check_methods_subset_invariance": _A_TABLE,
    "check_n_features_in": _FIT_LOOKS,
    "check_n_features_in_after_fitting": _FIT_LOOKS,
    "check_pipeline_consistency": _A_TABLE,
    "check_transformer_data_not_an_array": _A_TABLE,
    "check_transformer_general": _A_TABLE,
}
"""Checks of scikit-learn that cannot apply to `VideoEmbedder` itself, and why.

All of them pass with `OfTables`, which makes a clip of each row of a table."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve videos; every second one is red, the others are blue."""
    folder = tmp_path_factory.mktemp("videos")
    colours = ((200, 30, 30), (30, 30, 200))
    return [
        str(write_video(folder / f"{index}.mp4", colours[index % 2], num_frames=10, seed=index))
        for index in range(12)
    ]


LABELS = np.array(["red", "blue"] * 6)


class OfTables(VideoEmbedder):
    """Takes a row of numbers as a clip, so that scikit-learn's checks have something to give it."""

    def fit(self, X: Any, y: Any = None) -> "OfTables":
        self._as_clips(X, reset=True)
        super().fit(X, y)
        return self

    def transform(self, X: Any) -> np.ndarray:
        return super().transform(self._as_clips(X, reset=False))

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        return self.fit(X, y).transform(X)

    def _as_clips(self, X: Any, *, reset: bool) -> np.ndarray:
        table = validate_data(self, X, dtype=np.float64, reset=reset)
        shades = (255 / (1 + np.exp(-table))).astype(np.uint8)
        frames = [np.resize(row, (4, 8, 8, 3)) for row in shades]
        return np.stack(frames)

    def __sklearn_tags__(self) -> Any:
        return tables(super().__sklearn_tags__())


class Declared(VideoEmbedder):
    """Says that it takes tables, which lets scikit-learn try its checks; it does not."""

    def __sklearn_tags__(self) -> Any:
        return tables(super().__sklearn_tags__())


def tables(tags: Any) -> Any:
    tags.input_tags.two_d_array = True
    tags.input_tags.one_d_array = False
    tags.input_tags.string = False
    tags.no_validation = False
    return tags


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Arguments without the checks of their types, as users have them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def checks(embedder: VideoEmbedder) -> dict[str, set[str]]:
    """The names of scikit-learn's checks by how they ended."""
    found: dict[str, set[str]] = {"passed": set(), "failed": set(), "skipped": set()}
    for result in check_estimator(embedder, on_skip=None, on_fail=None):
        found[result["status"]].add(result["check_name"])
    return found


@pytest.mark.usefixtures("unchecked")
def test_all_checks_pass_where_a_row_of_numbers_is_a_clip(checkpoint: Path) -> None:
    found = checks(OfTables(checkpoint, device="cpu"))
    assert found["failed"] == set()
    assert found["skipped"] <= {"check_array_api_input"}  # needs SCIPY_ARRAY_API
    assert {"check_pipeline_consistency", "check_methods_subset_invariance"} <= found["passed"]
    assert len(found["passed"]) > 35


@pytest.mark.usefixtures("unchecked")
def test_the_checks_that_cannot_apply_are_those_of_tables(checkpoint: Path) -> None:
    found = checks(Declared(checkpoint, device="cpu"))
    assert found["failed"] == set(CANNOT_APPLY)
    # Most of what is left is about parameters, cloning and copying.
    assert {"check_estimators_overwrite_params", "check_get_params_invariance"} <= found["passed"]


def test_it_is_the_first_step_of_a_pipeline(checkpoint: Path, paths: list[str]) -> None:
    model = make_pipeline(VideoEmbedder(checkpoint, device="cpu"), StandardScaler(), Logistic())
    model.fit(paths[:8], LABELS[:8])
    assert model.score(paths[8:], LABELS[8:]) == 1.0
    features = model[0].transform(paths)
    np.testing.assert_array_equal(features, vsalt.load(checkpoint, device="cpu").embed(paths))
    assert features.dtype == np.float32
    sent = pickle.loads(pickle.dumps(model))
    assert sent.predict(paths[8:]).tolist() == LABELS[8:].tolist()


def test_its_settings_can_be_searched(checkpoint: Path, paths: list[str]) -> None:
    model = make_pipeline(VideoEmbedder(checkpoint, device="cpu"), Logistic())
    grid = {"videoembedder__pooling": ["mean", "mean_space"], "videoembedder__segments": [1, 2]}
    search = GridSearchCV(model, grid, cv=2).fit(np.array(paths), LABELS)
    assert len(search.cv_results_["params"]) == 4
    widths = {
        clone(VideoEmbedder(checkpoint, pooling=pooling, device="cpu")).fit([])._n_features_out
        for pooling in grid["videoembedder__pooling"]
    }
    assert widths == {24, 48}


def test_the_memory_of_a_pipeline_tells_encoders_apart(paths: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = []
    for seed in (1, 2, 1):
        shutil.rmtree(run, ignore_errors=True)
        write_checkpoint(run, seed=seed)
        steps = (VideoEmbedder(run, device="cpu"), StandardScaler())
        model = make_pipeline(*steps, memory=str(tmp_path / "cache")).fit(paths)
        found.append(model[-1].mean_)
        features = vsalt.load(run, device="cpu").embed(paths)
        np.testing.assert_allclose(found[-1], features.mean(axis=0, dtype=float), atol=1e-6)
    assert not np.allclose(found[0], found[1], atol=1e-3)
    kept = list((tmp_path / "cache").rglob("output.pkl"))
    assert len(kept) == 2  # what had been kept of the first was found again


def test_columns_of_tables_go_in_and_named_columns_come_out(
    checkpoint: Path, paths: list[str]
) -> None:
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"path": paths, "age": list(range(12))})
    embedder = VideoEmbedder(checkpoint, device="cpu")
    both = ColumnTransformer([("video", embedder, "path"), ("rest", "passthrough", ["age"])])
    both.set_output(transform="polars")
    found = both.fit_transform(table)
    assert found.shape == (12, 25)
    assert found.columns[:2] == ["video__videoembedder0", "video__videoembedder1"]
    expected = vsalt.load(checkpoint, device="cpu").embed(paths)
    np.testing.assert_array_equal(found.to_numpy()[:, :24].astype(np.float32), expected)
    assert found["rest__age"].to_list() == list(range(12))


def test_frames_and_wrong_inputs(checkpoint: Path, paths: list[str]) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (3, 4, 16, 16, 3), dtype=np.uint8)
    embedder = VideoEmbedder(checkpoint, device="cpu")
    with pytest.raises(NotFittedError):
        embedder.transform(clips)
    assert embedder.fit_transform(clips).shape == (3, 24)
    whole = VideoEmbedder(checkpoint, fps=10.0, device="cpu").fit_transform([clips[0].repeat(5, 0)])
    assert whole.shape == (1, 24)
    with pytest.raises(DataError, match="type float64, whose scale is unknown"):
        embedder.transform(np.zeros((3, 24)).reshape(1, 4, 3, 2, 3))
    with pytest.raises(DataError, match="cannot be read"):
        embedder.transform([*paths[:1], "none.mp4"])


def test_without_scikit_learn_the_error_names_what_to_install() -> None:
    program = (
        "import sys; sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "import vsalt\n"
        "try: vsalt.VideoEmbedder\n"
        "except vsalt.VsaltError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    says = "VideoEmbedder needs scikit-learn: pip install 'vsalt[sklearn]'"
    assert done.stdout.strip() == says, done.stderr
