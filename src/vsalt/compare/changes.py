"""Which settings differ from those that a comparison was begun with."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vsalt.compare.folder import SPEC
from vsalt.compare.spec import CompareSpec, read_spec
from vsalt.config import to_dict
from vsalt.errors import ConfigError

LISTS = frozenset(("arms", "budgets", "seeds", "students", "reference"))
"""What says which cells there are, and changes none."""
MOST_TOLD = 5


def told_changes(spec: CompareSpec, out: Path) -> str:
    """Return in words what differs from OUT/compare.toml; empty if that is not known.

    Only the names of sources are looked at, not where they lie.
    """
    try:
        text = (out / SPEC).read_text(encoding="utf-8")
        before = dict(_leaves(read_spec(tomllib.loads(text), Path())))
    except (OSError, ConfigError, tomllib.TOMLDecodeError):
        return ""
    after = dict(_leaves(spec))
    changed = [
        f"{name} was {before.get(name, 'not there')}, and is {after.get(name, 'not there')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    if not changed:
        return f"its settings are those of {out / SPEC}, so the data or the version differ"
    more = f"; and {len(changed) - MOST_TOLD} more" if len(changed) > MOST_TOLD else ""
    return f"beside {out / SPEC}: {'; '.join(changed[:MOST_TOLD])}{more}"


def _leaves(spec: CompareSpec) -> Iterator[tuple[str, str]]:
    values: dict[str, Any] = json.loads(json.dumps(to_dict(spec), default=vars))
    data = {one["name"]: one for one in values.pop("data")}
    for one in data.values():
        one["sources"] = [Path(source).name for source in one["sources"]]
    kept = {name: value for name, value in values.items() if name not in LISTS}
    yield from _walk({**kept, "data": data}, "")


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, f"{path}.{name}" if path else name)
    else:
        yield path, json.dumps(value)
