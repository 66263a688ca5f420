"""Loss, val_loss and the health of the features, stage by stage."""

from collections.abc import Sequence
from typing import TypeAlias

from vsalt.report.charts import Quantity, chart_of, longest, over_runs
from vsalt.report.html import Child, Element, tag
from vsalt.report.line_chart import LineChart, line_chart
from vsalt.report.records import RunRecord, StageRecord, lookup
from vsalt.report.section import Section, by_stage
from vsalt.report.series import Series, series_of
from vsalt.report.tables import note
from vsalt.training.alarms import MIN_DEVIATION, MIN_RANKME

Stages: TypeAlias = Sequence[tuple[int, StageRecord]]


HEALTH = (
    Quantity("rankme", "RankMe of tokens", "In how many directions do tokens vary?",
             "directions", low=0.0, limit=MIN_RANKME),
    Quantity("rankme_clips", "RankMe of clips", "In how many directions do clips vary?",
             "directions", low=0.0),
    Quantity("feature_deviation", "Deviation of features",
             "Against their size: 0 if all are the same.", "share", 0.0, 1.0, limit=MIN_DEVIATION),
    Quantity("dead_dimensions", "Dead dimensions", "Channels that carry nothing.",
             "channels", low=0.0),
    Quantity("cosine", "Cosine of prediction and target", "Do predictions point where they should?",
             low=0.0),
    Quantity("target_deviation", "Deviation of targets", "Is there anything to predict?",
             "share", 0.0, 1.0, limit=MIN_DEVIATION),
    Quantity("target_variance", "Variance of targets", "In the targets' own scale.",
             low=0.0, log=None),
)  # fmt: skip
HELD_OUT = (
    Quantity("val_rankme", "RankMe of held-out clips", "In how many directions do they vary?",
             "directions", low=0.0),
    Quantity("val_lidar", "LiDAR of held-out clips",
             "In how many do clips differ more than two masks of one clip?", "directions", low=0.0),
)  # fmt: skip
DATA = ("sources", "use_test", "holdout", "holdout_clips", "crop_scale", "crop_ratio", "flip",
        "antialias")  # fmt: skip
"""Settings of the data that decide on what clips a loss is measured."""
DECIDES_LOSS: dict[str, tuple[tuple[str, ...], ...]] = {
    "masks": (("stage", "masks"),),
    "target": (("stage", "method"), ("stage", "encoder", "tubelet")),
    "clips": (("clip",),),
    "data": tuple(("data", name) for name in DATA),
}
"""What must be the same where losses are compared, and which settings it is."""
LR = Quantity("lr", "Learning rate", "What the step used.")


def curves_section(runs: Sequence[RunRecord]) -> Section:
    """Return all curves."""
    content: list[Child] = []
    for name, stages in by_stage(runs).items():
        methods = ", ".join(dict.fromkeys(stage.method for _, stage in stages))
        content.append(tag("h3", f"{name.capitalize()} ({methods})"))
        content += _stage(name, stages, runs)
    if not content:
        content.append(note("No stage has begun, so there is nothing to draw."))
    return Section(anchor="curves", title="Curves", content=tuple(content))


def _stage(name: str, stages: Stages, runs: Sequence[RunRecord]) -> list[Element]:
    losses = [_loss(name, stages, runs), *_other_losses(name, stages, runs)]
    health = [_quantity(item, name, stages, runs, val=False) for item in HEALTH]
    health += [_quantity(item, name, stages, runs, val=True) for item in HELD_OUT]
    norms = sorted(
        {key for _, stage in stages for record in stage.train for key in record}
        & {f"grad_norm_{part}" for part in ("encoder", "predictor", "target")}
    )
    optim = [_quantity(item, name, stages, runs, val=False) for item in (LR, *map(_norm, norms))]
    return [
        *_group("Loss", losses, "No step has been logged."),
        *[note(text) for text in _missing_losses(stages, runs)],
        *_group("Health of the features", health, _no_health(stages)),
        *_group("Optimiser", optim, "No step has been logged."),
    ]


def _group(title: str, charts: Sequence[LineChart | None], otherwise: str) -> list[Element]:
    drawn = [line_chart(chart) for chart in charts if chart is not None]
    below = tag("div", drawn, class_="charts") if drawn else note(otherwise)
    return [tag("h4", title), below]


def _quantity(
    item: Quantity, name: str, stages: Stages, runs: Sequence[RunRecord], *, val: bool
) -> LineChart | None:
    logs = [(index, stage, stage.val if val else stage.train) for index, stage in stages]
    return over_runs(logs, item, stage_name=name, num_runs=len(runs))


def _norm(key: str) -> Quantity:
    part = key.removeprefix("grad_norm_")
    return Quantity(key, f"Gradient norm, {part}", "L2, before clipping.", low=0.0, log=None)


def _loss(name: str, stages: Stages, runs: Sequence[RunRecord]) -> LineChart | None:
    """Return the training loss; of a single run with `val_loss` in the same chart."""
    if len(runs) > 1:
        return _quantity(
            Quantity("loss", "Training loss", "Mean over the step's clips.", log=None),
            name, stages, runs, val=False,
        )  # fmt: skip
    stage = stages[0][1]
    shapes = [shape for shape in ("video", "image") if _of_shape(stage, shape)]
    parts = [(f"training, {shape}s", _of_shape(stage, shape)) for shape in shapes]
    parts = parts or [("training", stage.train)]
    curves = [
        series_of(records, "loss", name=title, label=title.rpartition(" ")[2], look=2 * index)
        for index, (title, records) in enumerate(parts)
    ]
    held = series_of(stage.val, "val_loss", name="held out", label="held out", look=1)
    explanation = "Of the step's clips; of held-out clips with fixed masks (val_loss)."
    return _losses_of_one(stage, [*curves, held], f"{name}-loss", "Loss", explanation)


def _losses_of_one(
    stage: StageRecord, curves: Sequence[Series | None], name: str, title: str, explanation: str
) -> LineChart | None:
    """Return several losses of one stage in one chart."""
    return chart_of(
        curves,
        name=name,
        title=title,
        explanation=explanation,
        unit="",
        log=None,
        num_steps=longest([stage]),
    )


def _of_shape(stage: StageRecord, shape: str) -> tuple[dict[str, object], ...]:
    return tuple(record for record in stage.train if record.get("shape") == shape)


def _other_losses(name: str, stages: Stages, runs: Sequence[RunRecord]) -> list[LineChart | None]:
    """Return of several runs `val_loss`, of a single one the loss of each kind of masks."""
    if len(runs) > 1:
        val = Quantity("val_loss", "val_loss", "Held-out clips, fixed masks.", log=None)
        return [_quantity(val, name, stages, runs, val=True)]
    stage = stages[0][1]
    keys = dict.fromkeys(key for record in stage.train for key in record if key.startswith("loss_"))
    if len(keys) < 2:
        return []
    curves = []
    for index, key in enumerate(keys):
        kind = key.removeprefix("loss_")
        curves.append(series_of(stage.train, key, name=kind, label=kind, look=index))
    explanation = "Their mean is the training loss."
    return [_losses_of_one(stage, curves, f"{name}-masks", "Loss by masks", explanation)]


def _missing_losses(stages: Stages, runs: Sequence[RunRecord]) -> list[str]:
    """Say which runs have no val_loss, and whether losses may be compared."""
    notes = []
    for _, stage in stages:
        whose = "" if len(runs) == 1 else f"{stage.run}: "
        if not any("val_loss" in record for record in stage.val):
            held = stage.data.get("num_holdout")
            why = "no rows are held out" if held == 0 else "none has been measured yet"
            notes.append(f"{whose}there is no val_loss: {why}.")
    teachers = {stage.teacher_sha256 for _, stage in stages}
    if len(teachers) > 1:
        notes.append(
            "These runs learn from different teachers: their losses cannot be compared, only "
            "their probes can."
        )
    elif differing := _differing(stages, runs):
        notes.append(
            f"These runs differ in {_listed(differing)}: their losses cannot be compared, only "
            "their probes can."
        )
    return notes


def _differing(stages: Stages, runs: Sequence[RunRecord]) -> list[str]:
    """Return in what of `DECIDES_LOSS` the runs differ."""
    trees = [{**runs[index].config, "stage": stage.settings} for index, stage in stages]
    return [
        what
        for what, settings in DECIDES_LOSS.items()
        if any(
            lookup(tree, *name) != lookup(trees[0], *name) for tree in trees for name in settings
        )
    ]


def _listed(words: Sequence[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def _no_health(stages: Stages) -> str:
    every = [stage.setting("loop", "health_every") for _, stage in stages]
    return f"Nothing has been measured yet; it is every {every[0]} steps."
