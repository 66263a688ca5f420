"""What fixed views cost: the page's numbers are those of the committed runs."""

import json
import statistics

import pytest
from scipy import stats

from support.pages import ROOT

PAGE = (ROOT / "docs/how-to/cache-targets.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks/results"
FOUND = json.loads((RESULTS / "cache_quality.json").read_text(encoding="utf-8"))
STEPS = json.loads((RESULTS / "latent_cache.json").read_text(encoding="utf-8"))["steps"]
PAIRS = (*((0, f" init {init}") for init in range(4)), (1, ""), (1, " init 2"), (1, " init 3"))
ARMS = {"teacher, views drawn anew": "live"} | {
    f"cache of {views} view{'s' if views > 1 else ''}": f"int8-{views}" for views in (1, 2, 4, 8)
}
CLIPS_SEEN = 800 * 32
CLIPS = 512


def values(arm: str, name: str) -> list[float]:
    common = "640 clips, 800 steps, "
    students = FOUND["students"]
    found = (students[f"seed {seed}, {common}{arm}{init}"].get(name) for seed, init in PAIRS)
    return [value for value in found if value is not None]


def difference(arm: str, name: str) -> tuple[float, float]:
    """Mean and half the 95 % interval of the paired differences to the run of the teacher."""
    pairs = zip(values(arm, name), values("live", name), strict=True)
    gaps = [one - other for one, other in pairs]
    half = float(stats.t.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / len(gaps) ** 0.5
    return statistics.fmean(gaps), half


def row(title: str) -> str:
    arm = ARMS[title]
    motion = f"{100 * statistics.fmean(values(arm, 'motion')):.1f} %"
    cpu = f"{statistics.fmean(values(arm, 'cpu_s')):.0f}"
    if arm == "live":
        loss = f"({statistics.fmean(values(arm, 'val_loss')):.3f})"
        return f"| {title} | once | {loss} | {motion} | | {cpu} | |"
    seen = f"{CLIPS_SEEN / CLIPS / int(arm.split('-')[1]):.3g} times"
    (loss, loss_half), (gap, gap_half) = difference(arm, "val_loss"), difference(arm, "motion")
    return (
        f"| {title} | {seen} | {loss:+.4f} ± {loss_half:.4f} | {motion} | "
        f"{100 * gap:+.1f} ± {100 * gap_half:.1f} | {cpu} | "
        f"{statistics.fmean(values(arm, 'cache_cpu_s')):.0f} |"
    )


@pytest.mark.parametrize("title", ARMS)
def test_rows_of_the_table(title: str) -> None:
    assert row(title) in PAGE, f"write into docs/how-to/cache-targets.md:\n{row(title)}"


@pytest.mark.parametrize("preset", STEPS)
def test_steps(preset: str) -> None:
    step = STEPS[preset]
    expected = f"| {step['ratio']:.2f} × | {step['ratio_of_flops']:.2f} × |"
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{preset}` | ")]
    assert line.endswith(expected)
