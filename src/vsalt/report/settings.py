"""What the runs ran on, in which settings they differ, and all settings."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from vsalt.report.html import Child, Element, tag
from vsalt.report.records import RunRecord
from vsalt.report.section import Section, letter
from vsalt.report.tables import Cell, facts, note, scrolling, table

SHOWN = (
    "vsalt", "commit", "python", "torch", "numpy", "av", "safetensors", "device", "device_name",
    "precision", "threads", "platform",
)  # fmt: skip

COMMIT_LETTERS = 12
"""Letters of a commit that tell it from all others; environment.json has all."""


def environment_section(runs: Sequence[RunRecord]) -> Section:
    """Return versions, device, threads and commands of every start."""
    content: list[Child] = []
    for run in runs:
        if len(runs) > 1:
            content.append(tag("h3", run.label))
        starts = [(stage.name, entry) for stage in run.stages for entry in stage.starts]
        if not starts:
            content.append(note("No start has been recorded."))
            continue
        *versions, commands = _same_and_different(starts)
        content += [facts(versions, classes="dense"), facts([commands])]
        content.append(tag("details", tag("summary", "Starts"), _starts(starts)))
    return Section(anchor="environment", title="Environment", content=tuple(content))


def _same_and_different(starts: Sequence[tuple[str, dict[str, Any]]]) -> list[tuple[str, Child]]:
    """Return each entry once, or from start to start where it is not the same in all."""
    pairs: list[tuple[str, Child]] = []
    for key in SHOWN:
        values = [str(entry.get(key, "not recorded")) for _, entry in starts]
        if key == "commit":
            values = [value[:COMMIT_LETTERS] for value in values]
        name = key.replace("_", " ")
        if len({*values}) == 1:
            pairs.append((name, values[0]))
        else:
            named = [f"{stage}: {value}" for (stage, _), value in zip(starts, values, strict=True)]
            pairs.append((name, "; ".join(dict.fromkeys(named))))
    commands = dict.fromkeys(_command(entry) for _, entry in starts)
    pairs.append(("command", [_words(command) for command in commands]))
    return pairs


def _words(command: str) -> Element:
    """Return a command whose lines end between words only, not after hyphens."""
    parts: list[Cell] = []
    for word in command.split(" "):
        parts += [tag("span", word), " "]
    return tag("code", parts, class_="words")


def _command(entry: dict[str, Any]) -> str:
    words = entry.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) else str(words)


def _starts(starts: Sequence[tuple[str, dict[str, Any]]]) -> Element:
    rows = [
        [name, str(entry.get("started")), str(entry.get("device")), str(entry.get("threads"))]
        for name, entry in starts
    ]
    return table("Starts", ("stage", "started (UTC)", "device", "threads"), rows)


def settings_section(runs: Sequence[RunRecord]) -> Section:
    """Return the settings that differ, and the whole configuration of each run."""
    content: list[Child] = []
    if len(runs) > 1:
        content += _differences(runs)
    for run in runs:
        text = json.dumps(run.config, indent=2, ensure_ascii=False)
        title = f"Configuration of {run.label}, begun by vsalt {run.vsalt}"
        content.append(
            tag(
                "details",
                tag("summary", title),
                scrolling(title, tag("pre", tag("code", text))),
            )
        )
    return Section(anchor="settings", title="Settings", content=tuple(content))


def _differences(runs: Sequence[RunRecord]) -> list[Child]:
    trees = [settings_of(run) for run in runs]
    keys = dict.fromkeys(key for tree in trees for key in tree)
    rows: list[list[Cell]] = []
    for key in keys:
        values = [tree.get(key, "no such setting") for tree in trees]
        if len({*values}) > 1:
            rows.append([tag("code", key), *values])
    if not rows:
        return [note("The runs do not differ in any setting.")]
    heads = ("setting", *(f"{letter(index)} {run.label}" for index, run in enumerate(runs)))
    return [
        tag("h3", "What differs"),
        table("Settings that differ", heads, rows),
        tag("h3", "All settings"),
    ]


def settings_of(run: RunRecord) -> dict[str, str]:
    """Return a run's settings by their dotted names, as JSON.

    The section `stage` of a run of one stage has the name of the stage that it is shown as, so
    that it can be compared with that stage of a `vsalt salt` run.
    """
    config = dict(run.config)
    if run.kind == "stage" and "stage" in config:
        config[run.stages[0].name] = config.pop("stage")
    return dict(_flat(config, ""))


def _flat(value: object, name: str) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(inner, f"{name}.{key}" if name else str(key))
        ]
    return [(name, json.dumps(value, ensure_ascii=False))]
