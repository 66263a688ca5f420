"""Encoders and probes as files that need no vsalt: ONNX, and programs of torch.export.

Input: `clips`, uint8 RGB, (batch, 3, frames, height, width), and for a probe of several windows
(batch, windows, 3, frames, height, width); the network standardises them itself. The number of
clips is free, all else is fixed. Output of an encoder: `tokens` (batch, tokens, width), and
`feature` (batch, width), their mean. Output of a probe: `scores` (batch, classes), before a
softmax.

OUT/
  model.onnx or model.pt2  (large ONNX models: and model.onnx.data)
  export.json              what the clips have to be, classes, hash of the encoder; written last
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from vsalt import __version__, durable
from vsalt.config import to_dict
from vsalt.data.config import ClipConfig
from vsalt.errors import InteropError
from vsalt.interop.extras import require
from vsalt.models.vit import Encoder
from vsalt.training.locate import LoadedEncoder

GraphFormat = Literal["onnx", "torch"]
FILES: dict[GraphFormat, str] = {"onnx": "model.onnx", "torch": "model.pt2"}
DESCRIPTION = "export.json"
INPUT = "clips"
TOLERANCE = 1e-4
"""Largest difference from vsalt's own network that is accepted: absolute, or of the largest value
where that is above 1."""
OPSET = 20
MAX_INLINE_BYTES = 1 << 30
"""Weights of more bytes go into a file beside an ONNX model, which must stay below 2 GiB."""
_FREE = ({0: torch.export.Dim("batch", min=1)},)
_TRACED, _CHECKED = 2, (1, 3)
"""Clips at which a network is traced, and those at which the file is compared with it."""


class EncoderGraph(nn.Module):
    """An encoder with its tokens and their mean.

    Args:
        encoder: in eval mode.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens and feature."""
        tokens = self.encoder(clips)
        return tokens, tokens.mean(dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network to export.

    Attributes:
        module: takes 8-bit clips; in eval mode, on the CPU.
        shape: of one row of its input.
        outputs: their names.
        description: of `export.json`.
    """

    module: nn.Module
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    description: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WrittenGraph:
    """A file that was written and compared.

    Attributes:
        path: of the file.
        shapes: of inputs and outputs; -1 is the number of clips.
        batches: numbers of clips at which it was compared with vsalt's own network.
        max_error: largest difference, as `TOLERANCE` counts it.
    """

    path: Path
    shapes: dict[str, tuple[int, ...]]
    batches: tuple[int, ...]
    max_error: float


def encoder_graph(loaded: LoadedEncoder) -> Graph:
    """Return an encoder as what is exported."""
    clip = loaded.config.clip
    return Graph(
        module=EncoderGraph(loaded.encoder).eval(),
        shape=(3, clip.num_frames, *clip.size),
        outputs=("tokens", "feature"),
        description=_description(loaded, clip, loaded.config.data.antialias),
    )


def network_graph(
    network: nn.Module,
    loaded: LoadedEncoder,
    *,
    clip: ClipConfig,
    antialias: bool,
    num_windows: int,
    num_views: int,
    classes: Sequence[str],
) -> Graph:
    """Return a probe with its encoder as what is exported.

    Args:
        network: from clips to scores, in eval mode.
        loaded: its encoder.
        clip: what a window is.
        antialias: how its frames are shrunk.
        num_windows: windows of a row that the network sees at once.
        num_views: crops of a window over which `vsalt probe` averages probabilities; the network
            takes one.
        classes: names, in the order of the scores.
    """
    windows = (num_windows,) if num_windows > 1 else ()
    return Graph(
        module=network.eval(),
        shape=(*windows, 3, clip.num_frames, *clip.size),
        outputs=("scores",),
        description={
            **_description(loaded, clip, antialias),
            "num_windows": num_windows,
            "num_views": num_views,
            "classes": list(classes),
        },
    )


def _description(loaded: LoadedEncoder, clip: ClipConfig, antialias: bool) -> dict[str, Any]:
    return {
        "vsalt": __version__,
        "encoder_sha256": loaded.sha256,
        "clip": to_dict(clip),
        "view": "short side to int(256 / 224 x size), centre crop",
        "antialias": antialias,
    }


def export_graph(graph: Graph, out: Path, kind: GraphFormat) -> WrittenGraph:
    """Write a network to a file, and compare what the file computes with the network.

    Args:
        graph: the network.
        out: folder to write to; must be new or empty.
        kind: of the file.

    Raises:
        InteropError: if the file differs by more than `TOLERANCE`.
        MissingExtraError: if a package is missing.
        RunFolderError: if `out` is in use, or cannot be written.
    """
    if kind == "onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, extra="onnx", what="writing and comparing ONNX files")
    durable.create_new_folder(out, "OUT")
    path = out / FILES[kind]
    with torch.no_grad(), _quiet(), durable.explain_write_errors(f"to {out}"):
        _write(graph, path, kind)
        run = _torch_runner(path) if kind == "torch" else _onnx_runner(path)
        compared = [_compare(graph, run, batch) for batch in _CHECKED]
    # torch's maximum, unlike Python's, of numbers with a NaN is NaN.
    error, shapes = float(torch.tensor([found for found, _ in compared]).max()), compared[0][1]
    if not error <= TOLERANCE:
        raise InteropError(
            f"{path} computes something else than the network, by up to {error:.1e}; at most "
            f"{TOLERANCE:g} is accepted. Please report this"
        )
    description = {
        "format": kind,
        "input": {INPUT: [-1, *graph.shape]},
        "outputs": {name: list(shape) for name, shape in shapes.items()},
        **graph.description,
        "max_error": error,
    }
    durable.write_json(out / DESCRIPTION, description)
    durable.sync_tree(out)
    shapes = {INPUT: (-1, *graph.shape), **shapes}
    return WrittenGraph(path=path, shapes=shapes, batches=_CHECKED, max_error=error)


def _write(graph: Graph, path: Path, kind: GraphFormat) -> None:
    program = torch.export.export(
        graph.module.requires_grad_(False),
        (_clips(graph, _TRACED),),
        dynamic_shapes=_FREE,
    )
    if kind == "torch":
        torch.export.save(program, path)
    else:
        _write_onnx(program, graph, path)


def _clips(graph: Graph, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(256, (batch, *graph.shape), dtype=torch.uint8, generator=generator)


def _write_onnx(program: Any, graph: Graph, path: Path) -> None:
    written = torch.onnx.export(
        program,
        input_names=[INPUT],
        output_names=list(graph.outputs),
        opset_version=OPSET,
        dynamic_shapes=_FREE,  # for the name of the axis; what is free is in the program
        dynamo=True,
        verbose=False,
    )
    assert written is not None
    written.save(str(path), external_data=_is_large(graph.module))


def _is_large(module: nn.Module) -> bool:
    """Whether weights go into a file of their own."""
    return sum(param.nbytes for param in module.parameters()) > MAX_INLINE_BYTES


_Runner = Any


def _torch_runner(path: Path) -> _Runner:
    module = torch.export.load(path).module()

    def run(clips: Tensor) -> tuple[Tensor, ...]:
        found = module(clips)
        return found if isinstance(found, tuple) else (found,)

    return run


def _onnx_runner(path: Path) -> _Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(clips: Tensor) -> tuple[Tensor, ...]:
        found: list[np.ndarray] = session.run(None, {INPUT: clips.numpy()})
        return tuple(map(torch.from_numpy, found))

    return run


def _compare(graph: Graph, run: _Runner, batch: int) -> tuple[float, dict[str, tuple[int, ...]]]:
    """Return the largest difference at a number of clips, and the shapes of the outputs."""
    clips = _clips(graph, batch)
    expected = graph.module(clips)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = run(clips)
    if [one.shape for one in found] != [one.shape for one in expected]:
        raise InteropError(
            f"the file's outputs have shapes {[list(one.shape) for one in found]}, the network's "
            f"{[list(one.shape) for one in expected]}. Please report this"
        )
    errors = [
        (a - b).abs().max() / b.abs().max().clamp(min=1)
        for a, b in zip(found, expected, strict=True)
    ]
    shapes = {name: (-1, *one.shape[1:]) for name, one in zip(graph.outputs, expected, strict=True)}
    return float(torch.stack(errors).max()), shapes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say of their own workings from the user; the result is compared."""
    names = ("torch.onnx", "torch.export", "onnxscript")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
