"""The tables of docs/results/speed.md beside the runs that they were written from."""

import json

import pytest

from support.pages import ROOT

PAGE = (ROOT / "docs" / "results" / "speed.md").read_text(encoding="utf-8")
NAMES = {
    "theirs, best": "V-JEPA 2's modules",
    "theirs, checkpointed": "… activations recomputed, as its files for large models say",
    "theirs, compiled": "… compiled",
    "vjepa": "vsalt, the same objective (`vjepa`)",
    "vjepa, compiled": "… compiled (`--device.compile`)",
    "salt": "vsalt, `salt`, teacher of the student's size",
    "salt, small teacher": "vsalt, `salt`, ViT-Ti teacher",
    "salt, small teacher, half the targets": "vsalt, `salt`, ViT-Ti teacher, half of the targets",
    "salt, cached latents": "vsalt, `salt`, latents from a cache",
    "salt, cached latents, half the targets": (
        "vsalt, `salt`, latents from a cache, half of the targets"
    ),
}


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_row_is_that_of_the_committed_run(precision: str) -> None:
    path = ROOT / "benchmarks" / "results" / f"vjepa2_step_cpu_{precision}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["settings"]["precision"] == precision
    assert [row["row"] for row in found["rows"]] == list(NAMES)
    title = {"bf16": "## In bf16", "fp32": "## In fp32"}[precision]
    section = PAGE[PAGE.index(title) :].partition("\n## ")[0]
    for row in found["rows"]:
        low, high = row["speed_up_range"]
        spread = "" if row["row"] == "theirs, best" else f"{low:.2f}, {high:.2f}"
        expected = f"| {NAMES[row['row']]} | {row['clips_per_s']:.2f} | {row['speed_up']:.2f} |"
        expected += f" {spread} |" if spread else " |"
        assert expected in section, f"write into docs/results/speed.md:\n{expected}"
