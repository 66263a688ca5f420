"""Which of SALT's printed numbers agree, and that the list of known conflicts stays closed."""

import json

import pytest

from vsalt.cli import flops
from vsalt.compute.paper_check import KNOWN_CONFLICTS, PaperRow, paper_rows

ROWS = {row.name: row for row in paper_rows()}


def test_all_rows_agree_but_for_the_known_conflicts() -> None:
    assert len(ROWS) == len(paper_rows()) >= 25
    assert [row.name for row in ROWS.values() if not row.is_fine] == []
    assert sum(row.agrees for row in ROWS.values()) == 40


def test_the_known_conflicts_are_these_and_no_others() -> None:
    assert set(KNOWN_CONFLICTS) == {
        "V-JEPA 2 L, 240k steps (table 16)",
        "V-JEPA 2 L, 160k steps (table 16)",
        "V-JEPA 2 L, 120k steps (table 16)",
        "SALT g (table 1)",
        "SALT g (table 11)",
        "stage 1 L, A100-hours (table 11)",
        "clips seen (table 11)",
        "clips of the data, all (table 2)",
        "clips of the data, all (table 13)",
    }
    assert set(KNOWN_CONFLICTS) <= set(ROWS)
    # What merely contradicts another table, and what no computation gives.
    agree = {name for name in KNOWN_CONFLICTS if ROWS[name].agrees}
    assert agree == {"clips of the data, all (table 2)", "clips of the data, all (table 13)"}


def test_printed_parts_add_up_to_the_printed_sum() -> None:
    parts = {name: row for name, row in ROWS.items() if row.parts}
    assert len(parts) == 5
    for row in parts.values():
        assert sum(float(printed) for printed, _ in row.parts) == pytest.approx(float(row.printed))
        assert sum(number for _, number in row.parts) == pytest.approx(row.computed)
    # The one part that is neither printed so by the formula nor within 0.5 %.
    off = [
        printed
        for row in parts.values()
        for printed, number in row.parts
        if not PaperRow("", "", printed, number).agrees
    ]
    assert off == ["0.061"]


@pytest.mark.parametrize(
    ("printed", "computed", "agrees"),
    [
        ("1.9", 1.8501, True),  # rounds to what is printed
        ("1.9", 1.848, False),
        ("1.311", 1.3045, True),  # 0.496 % below
        ("1.311", 1.3044, False),  # 0.503 % below
        ("9062", 9062.4, True),
        ("0.061", 0.06046, False),
    ],
)
def test_what_it_takes_to_agree(printed: str, computed: float, agrees: bool) -> None:
    assert PaperRow("", "", printed, computed).agrees is agrees


def test_the_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert flops.paper([], "vsalt flops paper") == 0
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 80
    assert "38 of 47 agree; 9 are known conflicts of the paper with itself" in printed
    # The column has what the last line counts.
    cells = [line.split("│")[-2].split() for line in printed if line.startswith("│")]
    verdicts = [words[0] for words in cells if words]
    assert [verdicts.count(word) for word in ("yes", "no", "conflict")] == [38, 0, 9]
    assert flops.paper(["--json"], "vsalt flops paper") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"name", "printed", "computed", "agrees", "known_conflict"} <= set(rows[0])
    assert rows[0]["printed"] == 1.2
    monkeypatch.setattr(flops, "paper_rows", lambda: [PaperRow("x", "y", "1.0", 2.0)])
    assert flops.paper([], "vsalt flops paper") == 1
    assert "disagree: x" in capsys.readouterr().out
