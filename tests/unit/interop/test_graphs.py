"""ONNX files and programs of torch.export compute what vsalt's own networks do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.encoders import CLIP, write_checkpoint
from support.fill import fill_parameters
from vsalt.config import from_dict
from vsalt.data.config import ClipConfig
from vsalt.errors import InteropError, RunFolderError
from vsalt.evaluation.network import ProbeNetwork
from vsalt.interop import graphs
from vsalt.interop.graphs import (
    TOLERANCE,
    Graph,
    encoder_graph,
    export_graph,
    network_graph,
)
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.training.locate import LoadedEncoder, load_encoder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedEncoder:
    found = load_encoder(write_checkpoint(tmp_path / "one"))
    fill_parameters(found.encoder)
    return found


def clips(num: int, *windows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(num)
    shape = (num, *windows, 3, CLIP.num_frames, *CLIP.size)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def run_onnx(path: Path, given: torch.Tensor) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (own,) = session.get_inputs()
    assert (own.name, own.type) == ("clips", "tensor(uint8)")
    assert own.shape[0] == "batch"  # any number of clips
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"clips": given.numpy()}), strict=True))


@torch.no_grad()
def test_an_encoder_becomes_onnx(loaded: LoadedEncoder, tmp_path: Path) -> None:
    written = export_graph(encoder_graph(loaded), tmp_path / "out", "onnx")
    assert written.max_error <= TOLERANCE
    for num in (1, 5):
        tokens = loaded.encoder(clips(num))
        assert tokens.square().mean() > 0.3
        found = run_onnx(written.path, clips(num))
        assert list(found) == ["tokens", "feature"]
        np.testing.assert_allclose(found["tokens"], tokens, atol=TOLERANCE)
        np.testing.assert_allclose(found["feature"], tokens.mean(dim=1), atol=TOLERANCE)
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert told["input"] == {"clips": [-1, 3, 4, 32, 32]}
    assert told["outputs"] == {"tokens": [-1, 32, 24], "feature": [-1, 24]}
    assert told["encoder_sha256"] == loaded.sha256
    assert told["antialias"] is loaded.config.data.antialias
    assert from_dict(ClipConfig, told["clip"]) == CLIP
    with pytest.raises(RunFolderError, match="not empty"):
        export_graph(encoder_graph(loaded), tmp_path / "out", "onnx")


@torch.no_grad()
def test_weights_of_a_large_network_lie_in_a_file_beside_the_model(
    loaded: LoadedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MAX_INLINE_BYTES", 1000)
    written = export_graph(encoder_graph(loaded), tmp_path / "out", "onnx")
    size = sum(param.nbytes for param in loaded.encoder.parameters())
    assert (tmp_path / "out" / "model.onnx.data").stat().st_size >= 0.9 * size
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere") / written.path.name
    tokens = loaded.encoder(clips(2))
    np.testing.assert_allclose(run_onnx(moved, clips(2))["tokens"], tokens, atol=TOLERANCE)


@torch.no_grad()
def test_an_encoder_becomes_a_program_of_torch(loaded: LoadedEncoder, tmp_path: Path) -> None:
    written = export_graph(encoder_graph(loaded), tmp_path / "out", "torch")
    module = torch.export.load(written.path).module()
    for num in (1, 5):
        tokens, feature = module(clips(num))
        torch.testing.assert_close(tokens, loaded.encoder(clips(num)), atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(feature, tokens.mean(dim=1))


def probe(loaded: LoadedEncoder, num_windows: int) -> Graph:
    head = AttentiveClassifier(AttentivePooler(24, 2, 2), 3)
    fill_parameters(head)
    network = ProbeNetwork(
        loaded.encoder, head, layers=(-1,), pooling="tokens", num_windows=num_windows
    )
    return network_graph(
        network,
        loaded,
        clip=CLIP,
        antialias=True,
        num_windows=num_windows,
        num_views=3,
        classes=("up", "down", "still"),
    )


@torch.no_grad()
@pytest.mark.parametrize("num_windows", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_probe_and_its_encoder_become_onnx(
    num_windows: int, loaded: LoadedEncoder, tmp_path: Path
) -> None:
    graph = probe(loaded, num_windows)
    written = export_graph(graph, tmp_path / "out", "onnx")
    given = clips(4, *([num_windows] if num_windows > 1 else []))
    expected = graph.module(given)
    assert expected.std(dim=0).min() > 0.01  # clips differ in their scores
    found = run_onnx(written.path, given)
    np.testing.assert_allclose(found["scores"], expected, atol=TOLERANCE)
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (told["classes"], told["num_windows"]) == (["up", "down", "still"], num_windows)
    assert (told["num_views"], told["antialias"]) == (3, True)


@pytest.mark.parametrize("shift", [20 * TOLERANCE, float("nan")])
def test_a_file_that_computes_something_else_is_refused(
    shift: float, loaded: LoadedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_runner = graphs._torch_runner

    def wrong_runner(path: Path) -> Any:
        run = true_runner(path)
        return lambda given: (run(given)[0], run(given)[1] + shift)

    monkeypatch.setattr(graphs, "_torch_runner", wrong_runner)
    with pytest.raises(InteropError, match="computes something else than the network"):
        export_graph(encoder_graph(loaded), tmp_path / "out", "torch")
    assert not (tmp_path / "out" / "export.json").exists()
