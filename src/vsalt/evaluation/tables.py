"""A probe's result as tables for the terminal."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vsalt.errors import printable
from vsalt.evaluation.metrics import Metrics
from vsalt.evaluation.result import EncoderResult, ProbeResult, Scores
from vsalt.evaluation.transductive import Exposure
from vsalt.training.encoder_names import name_encoders

LONGEST_NAME = 28
FEW_GROUPS = 20
TOO_FEW_GROUPS = 5
"""Below, an interval of a bootstrap over them says nothing."""
SHORT = {"weight_decay": "wd"}


def probe_tables(result: ProbeResult) -> RenderableType:
    """Return the table of encoders, the table of parts if there are several, and that of classes.

    Shares are percentages.
    """
    names = _names(result)
    tables: list[RenderableType] = [_encoders(result, names)]
    if len(result.parts) > 1:
        tables.append(_parts(result, names))
    first = result.encoders[0]
    tables.append(_classes(result.classes, first.metrics, f"classes under {names[0]}"))
    return Group(*tables, *map(Text, _notes(result, names)))


def _names(result: ProbeResult) -> list[str]:
    given = [(encoder.name, encoder.stage) for encoder in result.encoders]
    return [printable(str(name)) for name in name_encoders(given, longest=LONGEST_NAME)]


def _encoders(result: ProbeResult, names: Sequence[str]) -> Table:
    num_test = sum(part.num_test for part in result.parts)
    title = f"{result.kind} probe of {result.source}: {num_test} test rows"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("encoder", overflow="fold")
    table.add_column(Text("accuracy [95 %]"), justify="right", no_wrap=True)
    table.add_column("balanced", justify="right", no_wrap=True)
    table.add_column("chosen", justify="right", no_wrap=True)
    table.add_column("pretraining saw", width=len("no test rows"))
    for name, encoder in zip(names, result.encoders, strict=True):
        table.add_row(
            Text(name),
            Text(_accuracy(encoder.metrics, result.num_test_groups)),
            _percent(encoder.metrics.balanced_accuracy),
            _chosen(encoder),
            _exposure(encoder),
        )
    chance = result.chance
    table.add_row("even guess", _percent(chance.uniform), "", "", "")
    table.add_row("majority", _percent(chance.majority), "", "", "")
    return table


def _accuracy(metrics: Metrics, num_groups: int | None) -> str:
    interval = metrics.interval
    if _too_few(metrics, num_groups):
        return f"{_percent(metrics.accuracy)} [–]"
    return f"{_percent(metrics.accuracy)} [{_percent(interval.low)}, {_percent(interval.high)}]"


def _too_few(metrics: Metrics, num_groups: int | None) -> bool:
    """Whether the interval is a bootstrap over so few groups that it would mislead."""
    bootstrap = metrics.interval.method == "group bootstrap"
    return bootstrap and num_groups is not None and num_groups < TOO_FEW_GROUPS


def _exposure(encoder: EncoderResult) -> str:
    if encoder.role == "floor":
        return "no network"
    return str(encoder.exposure)


def _chosen(encoder: EncoderResult) -> str:
    """The hyper-parameters, as a range where they differ from part to part."""
    texts = []
    for name in encoder.parts[0].settings:
        values = sorted({part.settings[name] for part in encoder.parts})
        ends = values[:1] if len(values) == 1 else [values[0], values[-1]]
        texts.append(f"{SHORT.get(name, name)} " + " … ".join(f"{value:.3g}" for value in ends))
    return ", ".join(texts)


def _parts(result: ProbeResult, names: Sequence[str]) -> Table:
    table = Table(title="accuracy by fold", title_justify="left")
    table.add_column("fold")
    table.add_column("test rows", justify="right")
    for name in names:
        table.add_column(Text(name), justify="right", overflow="fold")
    for index, part in enumerate(result.parts):
        cells = [_percent(encoder.parts[index].accuracy) for encoder in result.encoders]
        table.add_row(Text(printable(part.name)), str(part.num_test), *cells)
    return table


def score_tables(scores: Scores, probe: str, source: str) -> RenderableType:
    """Return the table of a saved probe on other rows, and that of classes."""
    metrics = scores.metrics
    table = Table(title=Text(f"{probe} on {source}"), title_justify="left")
    for name in ("rows", "accuracy [95 %]", "balanced"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_row(
        str(metrics.num_rows),
        Text(_accuracy(metrics, scores.num_groups)),
        _percent(metrics.balanced_accuracy),
    )
    table.add_row("even guess", _percent(1 / len(scores.classes)), "")
    notes = [
        f"95 % interval: {_INTERVALS[metrics.interval.method]}.",
        *_about_groups(metrics, scores.num_groups, "rows"),
    ]
    if scores.left_out:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in scores.left_out.items())
        notes.append(f"Rows left out: {reasons}.")
    if scores.probe.num_seen:
        notes.append(
            f"The probe was trained on {scores.probe.num_seen} of these rows, or chosen by them."
        )
    notes += _about_pretraining("the encoder", scores.pretraining, "rows")
    return Group(table, _classes(scores.classes, metrics, "classes"), *map(Text, notes))


def _classes(classes: tuple[str, ...], metrics: Metrics, title: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    table.add_column("class", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("recall", justify="right")
    table.add_column("most often taken for", overflow="fold")
    for index, entry in enumerate(metrics.classes):
        recall = "" if entry.recall is None else _percent(entry.recall)
        confused = Text(printable(_confused(classes, metrics, index)))
        table.add_row(Text(printable(entry.name)), str(entry.num_rows), recall, confused)
    return table


def _confused(classes: tuple[str, ...], metrics: Metrics, index: int) -> str:
    counts = list(metrics.confusion[index])
    counts[index] = 0
    most = max(counts)
    return f"{classes[counts.index(most)]} ({most})" if most else ""


def _about_groups(metrics: Metrics, num_groups: int | None, rows: str) -> Iterator[str]:
    """Yield what few groups make of an interval."""
    if metrics.interval.method != "group bootstrap" or num_groups is None:
        return
    if _too_few(metrics, num_groups):
        yield f"The {rows} are of {num_groups} groups only, too few for an interval."
    elif num_groups < FEW_GROUPS:
        yield (
            f"The {rows} are of {num_groups} groups only; the intervals are rough, "
            "and too narrow rather than too wide."
        )


def _about_pretraining(name: str, exposure: Exposure, rows: str) -> Iterator[str]:
    """Yield what stands between an encoder and a score on rows that it has never seen."""
    if exposure.kind == "transductive":
        yield (
            f"Pretraining of {name} may have drawn {exposure.num_seen} of {exposure.num_test} "
            f"{rows}, without their labels."
        )
    elif exposure.kind == "unknown":
        yield (
            f"What pretraining of {name} saw is unknown: weights were moved out of their run or "
            "imported, its own or its teacher's, or the teacher is not vsalt's."
        )


def _notes(result: ProbeResult, names: Sequence[str]) -> Iterator[str]:
    """Yield what a reader of the numbers has to know."""
    first = result.encoders[0].metrics
    method = first.interval.method
    chosen = _CHOSEN[result.encoders[0].parts[0].selected_on]
    yield f"95 % intervals: {_INTERVALS[method]}. {chosen}"
    yield from _about_groups(first, result.num_test_groups, "test rows")
    for name, encoder in zip(names, result.encoders, strict=True):
        yield from _about_pretraining(name, encoder.exposure, "test rows")
    if result.num_shared_test_rows:
        yield f"{result.num_shared_test_rows} test rows have training rows of their own group."
    if result.passed_over:
        yield f"Clips of {len(result.passed_over)} training rows could not be read; see probe.json."
    if result.left_out:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in result.left_out.items())
        yield f"Rows left out: {reasons}."
    stuck = [
        name
        for name, encoder in zip(names, result.encoders, strict=True)
        if not _converged(encoder)
    ]
    if stuck:
        yield f"The final fit did not converge for: {', '.join(stuck)}."


_INTERVALS = {
    "group bootstrap": "bootstrap over the groups of the test rows",
    "wilson": "Wilson, rows independent",
}
_CHOSEN = {
    "selection": "Hyper-parameters were chosen on a part of the training rows.",
    "test": "The best probe was chosen on the test rows, as the paper does: that is optimistic.",
    "nothing": "One set of hyper-parameters, nothing was chosen.",
}


def _converged(encoder: EncoderResult) -> bool:
    return all(part.converged for part in encoder.parts)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
