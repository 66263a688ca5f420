"""What fixed views cost: the page's numbers are those of the committed runs."""

import json
from typing import Any

import pytest

from support.pages import ROOT

PAGE = (ROOT / "docs/how-to/cache-targets.md").read_text(encoding="utf-8")
FOUND = json.loads((ROOT / "benchmarks/results/cache_quality.json").read_text(encoding="utf-8"))
COMMON = "seed 0, 640 clips, 800 steps, "
ARMS = {"teacher, views drawn anew": "live"} | {
    f"cache of {views} view{'s' if views > 1 else ''}": f"int8-{views}" for views in (1, 2, 4, 8)
}
CLIPS_SEEN = 800 * 32
CLIPS = 512


def row(title: str, student: dict[str, Any]) -> str:
    views = title.split()[2] if title.startswith("cache") else None
    seen = "once" if views is None else f"{CLIPS_SEEN / CLIPS / int(views):.3g} times"
    cells = [seen, f"{student['val_loss']:.3f}", f"{student['motion']:.1%}".replace("%", " %")]
    cells += [f"{student['cpu_s']:.0f}", f"{student['cache_cpu_s']:.0f}" if views else ""]
    return f"| {title} | {' | '.join(cells)} |".replace("|  |", "| |")


@pytest.mark.parametrize("title", ARMS)
def test_rows_of_the_table(title: str) -> None:
    expected = row(title, FOUND["students"][COMMON + ARMS[title]])
    assert expected in PAGE, f"write into docs/how-to/cache-targets.md:\n{expected}"
