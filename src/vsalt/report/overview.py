"""What the runs are: method, sizes, data, steps, and the few numbers that matter first."""

import shlex
from collections.abc import Sequence

from vsalt.models.config import ENCODERS, Architecture
from vsalt.report.charts import sign
from vsalt.report.html import Child, Element, tag
from vsalt.report.numbers import count, duration, flops, number, plural, short
from vsalt.report.records import RunRecord, StageRecord, lookup
from vsalt.report.section import Section, stage_title, state_of
from vsalt.report.series import finite
from vsalt.report.spent import total
from vsalt.report.tables import Cell, facts, note, table


def overview(runs: Sequence[RunRecord]) -> Section:
    """Return the first section."""
    content: list[Child] = [_one(runs[0]) if len(runs) == 1 else _several(runs)]
    for run in runs:
        content += [note(_prefix(run, runs), text) for text in _open_ends(run)]
    return Section(anchor="overview", title="Overview", content=tuple(content))


def _prefix(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    return "" if len(runs) == 1 else f"{run.label}: "


def _one(run: RunRecord) -> list[Element]:
    return [tag("dl", _tiles(run), class_="tiles"), facts(_facts(run)), *_stages([run])]


def _tiles(run: RunRecord) -> list[Element]:
    tiles = []
    for stage in run.stages:
        last, lowest = val_losses(stage)
        detail = "nothing was held out or measured yet"
        if lowest is not None:
            detail = f"lowest {number(lowest[1])}, at step {count(lowest[0])}"
        tiles.append(_tile(f"val_loss, {stage.name}", number(last), detail))
    cost = total(run)
    warned = sum(len(stage.warnings) for stage in run.stages)
    bad = len({str(entry["path"]) for stage in run.stages for entry in stage.quarantine})
    return [
        *tiles,
        _tile("training FLOPs", flops(cost.flops_exact), f"{flops(cost.flops_six_nd)} by 6ND"),
        _tile("time", duration(cost.elapsed_s), f"{count(cost.clips)} clips"),
        _tile("warnings", count(warned), f"{plural(bad, 'unreadable file')}"),
    ]


def _tile(name: str, value: str, detail: str) -> Element:
    return tag("div", tag("dt", name), tag("dd", tag("strong", value), tag("span", detail)))


def val_losses(stage: StageRecord) -> tuple[float | None, tuple[int, float] | None]:
    """Return a stage's last `val_loss`, and the lowest one with its step."""
    values = [
        (entry["step"], value)
        for entry in stage.val
        if (value := finite(entry.get("val_loss"))) is not None
    ]
    last = finite(stage.val[-1].get("val_loss")) if stage.val else None
    return last, min(values, key=lambda pair: pair[1], default=None)


def _facts(run: RunRecord) -> list[tuple[str, Child]]:
    return [
        ("state", state_of(run)),
        ("clips", _clips(run)),
        ("data", _data(run)),
        ("seed", str(lookup(run.config, "seed"))),
    ]


def _stages(runs: Sequence[RunRecord]) -> list[Element]:
    """Return the table of all stages, if there are any."""
    heads = ("stage", "predicts", "encoder", "predictor", "tubelet", "masks", "steps",
             "clips per step", "learning rate", "val_loss", "lowest")  # fmt: skip
    rows = [_stage(stage, runs) for run in runs for stage in run.stages]
    return [table("The stages", heads, rows, numeric=range(6, 11))] if rows else []


def _stage(stage: StageRecord, runs: Sequence[RunRecord]) -> list[Cell]:
    meaning = {
        "pixel": "hidden pixels",
        "salt": "latents of the frozen teacher",
        "vjepa": "latents of its own moving average",
    }
    predicts: list[Child] = [
        meaning.get(stage.method, "a target"),
        tag("small", f"method {stage.method}"),
    ]
    if stage.teacher_outside:
        model, source, layer = map(stage.teacher_outside.get, ("model", "source", "layer"))
        known = f"{model} of {source}, block {layer}; what it has cost is not known"
        predicts.append(tag("small", known))
    last, lowest = val_losses(stage)
    steps = f"{count(stage.steps_done)} of {count(stage.num_steps)}"
    return [
        stage_title(stage, runs),
        tag("span", *predicts),
        _network(stage, "encoder"),
        _network(stage, "predictor"),
        tag("span", _times(stage.setting("encoder", "tubelet")), class_="whole"),
        str(stage.setting("masks", "name")),
        count(stage.num_steps) if stage.is_finished else steps,
        str(stage.setting("loop", "batch_size")),
        _rate(stage),
        number(last),
        f"{number(lowest[1])} at {count(lowest[0])}" if lowest else "–",
    ]


def _rate(stage: StageRecord) -> str:
    rate = finite(stage.setting("optim", "lr"))
    return "–" if rate is None else short(rate)


def _network(stage: StageRecord, part: str) -> Cell:
    size = stage.setting(part, "size")
    shape = f"{stage.setting(part, 'width')} wide, {stage.setting(part, 'depth')} deep"
    numbers = tuple(stage.setting(part, name) for name in Architecture._fields)
    # A size with numbers of its own is no longer what its name means.
    is_named = isinstance(size, str) and ENCODERS.get(size) == numbers
    return tag("span", f"ViT-{size}" if is_named else "ViT", tag("small", shape))


def _clips(run: RunRecord) -> str:
    frames, size = lookup(run.config, "clip", "num_frames"), lookup(run.config, "clip", "size")
    rate, step = lookup(run.config, "clip", "fps"), lookup(run.config, "clip", "frame_step")
    pace = f"{rate} frames per second" if rate is not None else f"frame step {step}"
    return f"{frames} frames of {_times(size)} pixels, {pace}"


def _times(sizes: object) -> str:
    return " × ".join(map(str, sizes)) if isinstance(sizes, list) else str(sizes)


def _data(run: RunRecord) -> str:
    sources = lookup(run.config, "data", "sources")
    text = ", ".join(map(str, sources)) if isinstance(sources, list) and sources else "no source"
    if not run.stages:
        return text
    data = run.stages[0].data
    train, held = finite(data.get("num_train")), finite(data.get("num_holdout"))
    return f"{text}: {count(train)} clips to train on, {count(held)} held out"


def _several(runs: Sequence[RunRecord]) -> list[Element]:
    rows: list[list[Cell]] = []
    for index, run in enumerate(runs):
        cost = total(run)
        rows.append(
            [
                sign(index, run.label),
                state_of(run),
                flops(cost.flops_exact),
                duration(cost.elapsed_s),
                _clips(run),
                _data(run),
                str(lookup(run.config, "seed")),
            ]
        )
    heads = ("run", "state", "FLOPs", "time", "clips", "data", "seed")
    runs_table = table("The runs", heads, rows, numeric=(2, 3, 6), classes="wordy runs")
    return [runs_table, *_stages(runs)]


def _open_ends(run: RunRecord) -> list[str]:
    """Say what is missing."""
    notes = [f"{stage.name}: {text}" for stage in run.stages for text in stage.notes]
    if not run.is_finished:
        command = f"vsalt resume {shlex.quote(str(run.folder))}"
        notes.insert(0, f"This run is not finished, or is still running. {command} goes on.")
    return notes
