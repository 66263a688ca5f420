"""The findings of `vsalt data check` as tables for people and as JSON."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vsalt.data.check import NOTES, CheckOptions, SourceCheck
from vsalt.errors import printable

MOST_COMMON = 5
NAMED_FILES = 3
"""Names that the tables show of each kind; the JSON file has all."""


def check_tables(checks: Sequence[SourceCheck], options: CheckOptions) -> RenderableType:
    """Return for each source a table of its counts, of its bad files and of what else to know."""
    tables: list[RenderableType] = []
    for check in checks:
        tables.append(_overview(check, options))
        if check.bad:
            tables.append(_bad_files(check))
        if any(check.notes.values()) or (check.folder and check.folder.linked_folders):
            tables.append(_notes(check))
    return Group(*tables)


def _table(title: str, *names: str) -> Table:
    table = Table(
        title=Text(printable(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_header=bool(names),
        pad_edge=False,
    )
    for name in names or ("", ""):
        table.add_column(name, overflow="fold")
    return table


def _overview(check: SourceCheck, options: CheckOptions) -> Table:
    table = _table(check.source.name)
    table.columns[0].no_wrap = True
    for name, text in _counts(check, options):
        if text:
            table.add_row(name, Text(printable(text)))
    return table


def _counts(check: SourceCheck, options: CheckOptions) -> Iterator[tuple[str, str]]:
    files, rows, bad = check.files, check.source.rows, check.bad
    num_videos = files.num_files - files.num_images
    stretches = sum(row.start_s is not None or row.end_s is not None for row in rows)
    yield "clips", f"{len(rows)}" + (f", {stretches} of them parts of videos" if stretches else "")
    yield "can be read", f"{len(rows) - len(bad)}" + _cannot(len(bad), len(check.timed_out))
    kinds = {"videos": num_videos, "images": files.num_images}
    named = [f"{count} {kind}" for kind, count in kinds.items() if count]
    yield "files", ", ".join([*named, _bytes(files.size_bytes)])
    if num_videos:
        frames, seconds = np.array(files.num_frames), np.array(files.duration_s)
        yield "frames", f"{frames.sum()}; per video {_spread(frames, '{:.0f}')}"
        yield "duration", f"{_time(seconds.sum())}; per video {_spread(seconds, '{:.2f} s')}"
        yield "frames per second", _common(files.rates)
    yield "width × height", _common(files.sizes)
    yield "codecs", _common(files.codecs)
    # The library names a family of formats; its first two names tell enough.
    families = {"/".join(name.split(",")[:2]): n for name, n in files.containers.items()}
    yield "containers", _common(Counter(families))
    yield "labels", _names([row.label for row in rows])
    yield "splits", _names([row.split for row in rows])
    groups = {row.group for row in rows} - {None}
    yield "groups", f"{len(groups)}" if groups else ""
    if check.windows and check.windows.num_clips:
        yield "too short", _too_short(check, options)
    if check.folder and check.folder.unread:
        yield "not read", _common(Counter(_suffix_names(check.folder.unread)))
    if check.folder and check.folder.num_hidden:
        yield "hidden", f"{check.folder.num_hidden} names that begin with a dot are left out"


def _cannot(num_bad: int, num_timed_out: int) -> str:
    if not num_bad:
        return ""
    slow = f", {num_timed_out} of them for the time it took" if num_timed_out else ""
    return f"; {num_bad} cannot{slow}"


def _too_short(check: SourceCheck, options: CheckOptions) -> str:
    windows, clip = check.windows, options.clip
    assert windows is not None
    by = f"{clip.fps:g} per second" if clip.fps is not None else f"step {clip.frame_step}"
    text = f"{windows.num_short} of {windows.num_clips} clips ({windows.short_share:.1%})"
    text += f" for {clip.num_frames} frames by {by}"
    return f"{text}; {windows.fitting}" if windows.warns else text


def _suffix_names(unread: Mapping[str, int]) -> dict[str, int]:
    return {suffix or "(no suffix)": count for suffix, count in unread.items()}


def _names(values: Sequence[str | None]) -> str:
    counts = Counter(value for value in values if value is not None)
    head = f"{len(counts)}: " if len(counts) > 1 else ""
    return head + _common(counts) if counts else ""


def _common(counts: Counter[str]) -> str:
    shown = [f"{name} ({count})" for name, count in counts.most_common(MOST_COMMON)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _spread(values: np.ndarray, form: str) -> str:
    numbers = (values.min(), np.median(values), values.max())
    low, middle, high = (form.format(number) for number in numbers)
    return low if low == high else f"{low} to {high}, median {middle}"


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _bad_files(check: SourceCheck) -> Table:
    table = _table(
        f"{len(check.bad)} bad of {len(check.source.rows)} clips", "clips", "reason", "files"
    )
    table.columns[0].justify = "right"
    for numbers in sorted(_by_reason(check.bad).values(), key=len, reverse=True):
        reason = Text(printable(check.bad[numbers[0]]))
        table.add_row(str(len(numbers)), reason, _name_some(check, numbers))
    return table


def _by_reason(bad: Mapping[int, str]) -> dict[str, list[int]]:
    """Group rows whose reasons differ in their numbers only."""
    groups: dict[str, list[int]] = {}
    for number, reason in bad.items():
        groups.setdefault(re.sub(r"\d+(\.\d+)?", "0", reason), []).append(number)
    return groups


def _name_some(check: SourceCheck, numbers: Sequence[int]) -> Text:
    names = [check.source.rows[number].relative_path for number in numbers[:NAMED_FILES]]
    return _listing(names, len(numbers))


def _listing(names: Sequence[str], count: int) -> Text:
    more = count - len(names)
    return Text("\n".join([*map(printable, names), *([f"and {more} more"] if more else [])]))


def _notes(check: SourceCheck) -> Table:
    table = _table("worth knowing", "clips", "what", "files")
    table.columns[0].justify = "right"
    for kind, numbers in check.notes.items():
        if numbers:
            table.add_row(str(len(numbers)), NOTES[kind], _name_some(check, numbers))
    if check.folder:
        for what, names in (
            ("folders reached by a symbolic link", check.folder.linked_folders),
            ("folders that were read before by another name", check.folder.seen_twice),
        ):
            if names:
                table.add_row("", what, _listing(names[:NAMED_FILES], len(names)))
    return table


def check_json(checks: Sequence[SourceCheck], options: CheckOptions) -> dict[str, Any]:
    """Return all findings as plain values; names are exact, and not fit for a terminal."""
    return {
        "read": options.depth,
        "clip": {
            "num_frames": options.clip.num_frames,
            "frame_step": options.clip.frame_step if options.clip.fps is None else None,
            "fps": options.clip.fps,
        },
        "sources": [_source_json(check) for check in checks],
    }


def _source_json(check: SourceCheck) -> dict[str, Any]:
    files, rows, windows, folder = check.files, check.source.rows, check.windows, check.folder
    assert windows is not None
    return {
        "source": check.source.name,
        "clips": len(rows),
        "bad_clips": len(check.bad),
        "videos": files.num_files - files.num_images,
        "images": files.num_images,
        "bytes": files.size_bytes,
        "frames": _spread_json(np.array(files.num_frames)),
        "duration_s": _spread_json(np.array(files.duration_s)),
        "fps": dict(files.rates.most_common()),
        "sizes": dict(files.sizes.most_common()),
        "codecs": dict(files.codecs.most_common()),
        "containers": dict(files.containers.most_common()),
        "labels": dict(Counter(row.label for row in rows if row.label is not None)),
        "splits": dict(Counter(row.split for row in rows)),
        "groups": len({row.group for row in rows} - {None}),
        "short_clips": windows.num_short,
        "short_share": windows.short_share,
        "fitting": windows.fitting,
        "bad": [
            {
                "row": number,
                "path": rows[number].relative_path,
                "reason": reason,
                "timed_out": number in check.timed_out,
            }
            for number, reason in check.bad.items()
        ],
        "notes": {
            kind: [rows[number].relative_path for number in numbers]
            for kind, numbers in check.notes.items()
        },
        "unread_files": dict(folder.unread) if folder else {},
        "hidden": folder.num_hidden if folder else 0,
        "linked_folders": folder.linked_folders if folder else [],
        "folders_seen_twice": folder.seen_twice if folder else [],
    }


def _spread_json(values: np.ndarray) -> dict[str, int | float]:
    if not values.size:
        return {}
    measures = {"total": values.sum(), "min": values.min(), "max": values.max()}
    return {name: value.item() for name, value in measures.items()} | {
        "median": float(np.median(values))
    }
