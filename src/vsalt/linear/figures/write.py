"""Writes figures, their numbers and a list of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vsalt.errors import VsaltError, report_problems
from vsalt.linear.figures import style
from vsalt.linear.figures.catalogue import FIGURES
from vsalt.linear.figures.figure import CLOCK, FigureSpec, Numbers, plain

FORMATS = ("png", "svg")
INDEX_NAME = "index.json"


def write_figures(
    out: Path,
    *,
    only: Sequence[str] = (),
    format: str = "png",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    on_written: Callable[[FigureSpec, Path], None] | None = None,
) -> Path:
    """Write figures as pictures, each with a JSON file of its numbers, and a list of them.

    A picture needs nothing but itself: title, units and parameters stand on it.

    Args:
        out: folder, made if it is not there. Files of the same names are written over; the list
            holds the figures of this call.
        only: names such as F4; empty: all.
        format: png (150 dpi) or svg.
        settings: for each name, keyword arguments of the figure's `compute`.
        on_written: called after each figure with its picture.

    Returns:
        The list, `index.json`.

    Raises:
        ConfigError: if a name or the format is not known.
        VsaltError: if matplotlib is missing.
    """
    check_request(only, format)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, spec in FIGURES.items():
        if not only or name in only:
            numbers = spec.compute(**(settings or {}).get(name, {}))
            rows.append(_write_one(out, spec, numbers, format))
            if on_written is not None:
                on_written(spec, out / rows[-1]["picture"])
    _write_json(out / INDEX_NAME, {"clock": CLOCK, "figures": rows})
    return out / INDEX_NAME


def check_request(only: Sequence[str], format: str) -> None:
    """Say early that figures cannot be drawn.

    Raises:
        ConfigError: if a name or the format is not known.
        VsaltError: if matplotlib is missing.
    """
    problems = [
        f"--only has {name!r}; it must be of {', '.join(FIGURES)}"
        for name in only
        if name not in FIGURES
    ]
    if format not in FORMATS:
        problems.append(f"format is {format!r}; it must be {' or '.join(FORMATS)}")
    report_problems(problems)
    if find_spec("matplotlib") is None:
        raise VsaltError("figures need matplotlib: pip install 'vsalt[linear]'")


def _write_one(out: Path, spec: FigureSpec, numbers: Numbers, format: str) -> dict[str, str]:
    row = {
        "name": spec.name,
        "title": spec.title,
        "caption": spec.caption,
        "picture": f"{spec.stem}.{format}",
        "numbers": f"{spec.stem}.json",
    }
    head = {key: row[key] for key in ("name", "title", "caption")}
    _write_json(out / row["numbers"], {**head, "clock": CLOCK, **numbers})
    save(spec, numbers, out / row["picture"])
    return row


def save(spec: FigureSpec, numbers: Numbers, path: Path) -> Any:
    """Draw one figure into a file, whose suffix is the format, and return matplotlib's figure."""
    with style.house_style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=spec.size, dpi=style.DPI)
        FigureCanvasAgg(figure)
        spec.draw(numbers, figure)
        style.frame(figure, spec.title, numbers["note"])
        # No date, so that the same numbers give the same file.
        metadata = {"Date": None} if path.suffix == ".svg" else {"Software": "vsalt"}
        figure.savefig(path, metadata=metadata)
    return figure


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
