"""`vsalt export`: an encoder, with or without a probe, for Hugging Face, ONNX and torch.export."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vsalt.cli.parse import parse
from vsalt.errors import ConfigError, printable

if TYPE_CHECKING:
    from vsalt.evaluation.network import SavedNetwork
    from vsalt.training.locate import LoadedEncoder


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write an encoder in a form that other programs load; nothing is trained.

    hf: a folder for `AutoModel.from_pretrained` with config, weights, the video processor's config
    and a model card. onnx, torch: one file whose input is 8-bit clips, with any number of clips at
    once; the result is compared with vsalt's own before the command ends.
    """

    run: tyro.conf.Positional[Path | None] = None
    """A run, a checkpoint, or what `vsalt import` wrote; as --encoder of other verbs."""
    out: tyro.conf.Positional[Path | None] = None
    """Folder to write to; must be new or empty."""
    to: Literal["hf", "onnx", "torch"] | None = None
    """hf: Hugging Face transformers (needs vsalt[hf]). onnx: ONNX (needs vsalt[onnx]). torch: a
    program of torch.export."""
    probe: Path | None = None
    """Folder of a `vsalt probe fit` on this encoder, which is exported with it: the result gives
    scores of classes. For hf it must be attentive, fitted in the attentive mode hf."""
    part: str | None = None
    """For probes over folds: the fold whose head is exported."""
    results: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """For hf: folder of a `vsalt probe fit` whose results go into the card. Those of this encoder
    that lie beside the run are found. May be repeated."""
    license: str | None = None
    """For hf: the licence of the weights, such as apache-2.0. Unset: the card says that it is
    missing."""
    self_test: bool = False
    """Instead: convert small networks with random weights to and from transformers, and compare
    what they compute."""
    json: bool = False
    """Print the rows of --self-test as JSON."""


def export(words: Sequence[str], prog: str) -> int:
    """Run the verb `export`."""
    args = parse(ExportArgs, words, prog)
    _check(args)
    if args.self_test:
        return _self_test(args)
    from vsalt.training.locate import load_encoder

    assert args.run is not None
    assert args.out is not None
    loaded = load_encoder(args.run)
    probe = _read_probe(args, loaded) if args.probe is not None else None
    lines = _to_hf(args, loaded, probe) if args.to == "hf" else _to_graph(args, loaded, probe)
    for line in lines:
        print(printable(line))
    return 0


def _check(args: ExportArgs) -> None:
    problems = []
    if args.self_test:
        given = {
            "RUN": args.run,
            "--to": args.to,
            "--probe": args.probe,
            "--license": args.license,
            "--results": args.results or None,
        }
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            problems.append(f"--self-test takes no {' and no '.join(wrong)}")
    else:
        if args.run is None or args.out is None:
            problems.append("give the run and the folder to write to: vsalt export RUN OUT --to hf")
        if args.to is None:
            problems.append("--to is missing; it can be hf, onnx or torch")
        if args.json:
            problems.append("--json is for --self-test")
        if args.to in ("onnx", "torch") and (args.license is not None or args.results):
            problems.append("--license and --results are for the card of --to hf; leave them out")
    if args.part is not None and args.probe is None:
        problems.append("--part names a part of --probe; give that, too")
    if problems:
        raise ConfigError(problems)


def _self_test(args: ExportArgs) -> int:
    """Print the rows; return 1 if one is above the tolerance."""
    from vsalt.interop.self_test import TOLERANCE, self_test

    rows = self_test()
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        width = max(len(row.model) for row in rows)
        for row in rows:
            print(f"{row.model:<{width}}  {row.direction:<22}  {row.max_error:.1e}")
    return 0 if all(row.max_error <= TOLERANCE for row in rows) else 1


def _read_probe(args: ExportArgs, loaded: "LoadedEncoder") -> "SavedNetwork":
    from vsalt.evaluation.network import saved_network
    from vsalt.evaluation.saved import read_head

    assert args.probe is not None
    return saved_network(read_head(args.probe, loaded.sha256, args.part), loaded)


def _to_hf(
    args: ExportArgs, loaded: "LoadedEncoder", probe: "SavedNetwork | None"
) -> Sequence[str]:
    from vsalt.cli.export_results import probe_lines
    from vsalt.interop.export_hf import HfClassifier, HfExport, export_hf

    assert args.run is not None
    assert args.out is not None
    classifier = None
    if probe is not None:
        _refuse_probe(probe)
        assert probe.classifier is not None
        classifier = HfClassifier(
            classifier=probe.classifier,
            classes=probe.classes,
            clip=probe.clip,
            antialias=probe.antialias,
            num_views=probe.num_views,
        )
    given = (*args.results, *([args.probe] if args.probe else []))
    lines = probe_lines(loaded, args.run, given)
    notes = export_hf(
        loaded, args.out, HfExport(classifier=classifier, probes=lines, license=args.license)
    )
    kind = "AutoModelForVideoClassification" if probe else "AutoModel"
    results = f"{len(lines)} probe result{'' if len(lines) == 1 else 's'} in its card"
    missing = "" if args.license else "; the card says that the licence is missing: --license"
    return [
        f"{args.out}: {kind}.from_pretrained({str(args.out)!r}) loads it; {results}{missing}",
        *(f"  {note}" for note in notes),
    ]


def _refuse_probe(probe: "SavedNetwork") -> None:
    """Say why `VJEPA2ForVideoClassification` cannot hold a probe, as far as its settings tell."""
    problems = []
    other = "; --to onnx and --to torch take it"
    if probe.classifier is None:
        problems.append(
            "the probe is a linear map of pooled features, and transformers' classifier pools by "
            f"attention; fit --kind attentive --attentive.mode hf{other}"
        )
    if probe.num_windows > 1:
        problems.append(
            f"the probe sees {probe.num_windows} windows of a row at once, transformers one; fit "
            f"it with --attentive.segments 1{other}"
        )
    if probe.layers not in ((-1,), (len(probe.network.encoder.blocks) - 1,)):
        problems.append(
            f"the probe sees the blocks {list(probe.layers)}, transformers the last one{other}"
        )
    if problems:
        raise ConfigError(problems)


def _to_graph(
    args: ExportArgs, loaded: "LoadedEncoder", probe: "SavedNetwork | None"
) -> Sequence[str]:
    from vsalt.interop.graphs import GraphFormat, encoder_graph, export_graph, network_graph

    assert args.out is not None
    kind: GraphFormat = "onnx" if args.to == "onnx" else "torch"
    if probe is None:
        graph = encoder_graph(loaded)
    else:
        graph = network_graph(
            probe.network,
            loaded,
            clip=probe.clip,
            antialias=probe.antialias,
            num_windows=probe.num_windows,
            num_views=probe.num_views,
            classes=probe.classes,
        )
    written = export_graph(graph, args.out, kind)
    sizes = ", ".join(f"{name} {list(shape)}" for name, shape in written.shapes.items())
    lines = [
        f"{written.path}: {sizes}; compared with vsalt's own network at "
        f"{' and '.join(map(str, written.batches))} clips, largest difference "
        f"{written.max_error:.1e}"
    ]
    if probe is not None and probe.num_views > 1:
        lines.append(
            f"  the probe's results are of probabilities averaged over {probe.num_views} crops of "
            "a clip; the file takes one"
        )
    return lines
