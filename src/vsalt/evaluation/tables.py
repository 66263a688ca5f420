"""A probe's result as tables for the terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vsalt.evaluation.result import EncoderResult, ProbeResult

FEW_GROUPS = 20


def probe_tables(result: ProbeResult) -> RenderableType:
    """Return the table of encoders, the table of parts if there are several, and that of classes.

    Shares are percentages.
    """
    tables: list[RenderableType] = [_encoders(result)]
    if len(result.parts) > 1:
        tables.append(_parts(result))
    tables.append(_classes(result, result.encoders[0]))
    return Group(*tables, *map(Text, _notes(result)))


def _encoders(result: ProbeResult) -> Table:
    num_test = sum(part.num_test for part in result.parts)
    title = f"{result.kind} probe of {result.source}: {num_test} test rows"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("encoder", overflow="fold")
    table.add_column(Text("accuracy [95 %]"), justify="right", no_wrap=True)
    table.add_column("balanced", justify="right", no_wrap=True)
    table.add_column(result.parameter, justify="right", no_wrap=True)
    table.add_column("pretraining", no_wrap=True)
    for encoder in result.encoders:
        interval = encoder.metrics.interval
        table.add_row(
            Text(encoder.name),
            Text(
                f"{_percent(encoder.metrics.accuracy)} "
                f"[{_percent(interval.low)}, {_percent(interval.high)}]"
            ),
            _percent(encoder.metrics.balanced_accuracy),
            _values(encoder),
            _exposure(encoder),
        )
    chance = result.chance
    table.add_row("even guess", _percent(chance.uniform), "", "", "")
    table.add_row("majority", _percent(chance.majority), "", "", "")
    return table


def _exposure(encoder: EncoderResult) -> str:
    exposure = encoder.exposure
    if exposure.kind == "none":
        return "none"
    return f"transductive ({exposure.num_seen})" if exposure.num_seen else exposure.kind


def _values(encoder: EncoderResult) -> str:
    values = sorted({part.value for part in encoder.parts})
    if len(values) > 1:
        return f"{values[0]:.3g} … {values[-1]:.3g}"
    return f"{values[0]:.3g}"


def _parts(result: ProbeResult) -> Table:
    table = Table(title="accuracy by fold", title_justify="left")
    table.add_column("fold")
    table.add_column("test rows", justify="right")
    for encoder in result.encoders:
        table.add_column(Text(encoder.name), justify="right", overflow="fold")
    for index, part in enumerate(result.parts):
        cells = [_percent(encoder.parts[index].accuracy) for encoder in result.encoders]
        table.add_row(Text(part.name), str(part.num_test), *cells)
    return table


def _classes(result: ProbeResult, encoder: EncoderResult) -> Table:
    table = Table(title=Text(f"classes under {encoder.name}"), title_justify="left")
    table.add_column("class", overflow="fold")
    table.add_column("test rows", justify="right")
    table.add_column("recall", justify="right")
    table.add_column("most often taken for", overflow="fold")
    for index, entry in enumerate(encoder.metrics.classes):
        recall = "" if entry.recall is None else _percent(entry.recall)
        confused = Text(_confused(result, encoder, index))
        table.add_row(Text(entry.name), str(entry.num_rows), recall, confused)
    return table


def _confused(result: ProbeResult, encoder: EncoderResult, index: int) -> str:
    counts = list(encoder.metrics.confusion[index])
    counts[index] = 0
    most = max(counts)
    return f"{result.classes[counts.index(most)]} ({most})" if most else ""


def _notes(result: ProbeResult) -> Iterator[str]:
    """Yield what a reader of the numbers has to know."""
    method = result.encoders[0].metrics.interval.method
    bootstrap = method == "group bootstrap"
    how = "bootstrap over the groups of the test rows" if bootstrap else "Wilson, rows independent"
    yield f"95 % intervals: {how}. {result.parameter} was chosen on a part of the training rows."
    if bootstrap and result.num_groups is not None and result.num_groups < FEW_GROUPS:
        yield f"There are {result.num_groups} groups only; the intervals are rough."
    for encoder in result.encoders:
        if encoder.exposure.kind in ("transductive", "unknown"):
            yield f"{encoder.name}: {encoder.exposure}."
    if result.num_shared_test_rows:
        yield f"{result.num_shared_test_rows} test rows have training rows of their own group."
    if result.left_out:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in result.left_out.items())
        yield f"Rows left out: {reasons}."
    stuck = [encoder.name for encoder in result.encoders if not _converged(encoder)]
    if stuck:
        yield f"The final fit did not converge for: {', '.join(stuck)}."


def _converged(encoder: EncoderResult) -> bool:
    return all(part.converged for part in encoder.parts)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
