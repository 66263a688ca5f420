"""Print the tables of docs/results/compute-frontier.md from the results.json of comparisons.

python benchmarks/frontier/tables.py benchmarks/results/frontier-main.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

RUN = ("arm", "stage", "variant", "accuracy", "loss", "val_loss", "rankme")
CORRELATION = (
    "arm", "stage", "measure", "same_task", "num_runs", "r2", "r2_low", "r2_high", "spearman",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    for path in parser.parse_args().results:
        results = json.loads(path.read_text(encoding="utf-8"))
        print(f"\n# {path.stem}\n")
        for data in results["data"]:
            print(f"## {data}: accuracy\n")
            print_accuracies([one for one in results["accuracies"] if one["data"] == data])
            print(f"\n## {data}: differences\n")
            print_differences([one for one in results["differences"] if one["data"] == data])
        print("\n## sweep\n")
        print_rows(results["sweep"], ("arm", "lr", "momentum", "accuracy", "chosen"))
        print("\n## selection\n")
        print_rows(
            results["selection"],
            ("arm", "stage", "variant", "accuracy", "loss", "val_loss", "rankme"),
        )
        print("\n## correlations\n")
        print_rows(
            results["correlations"],
            (
                "arm",
                "stage",
                "measure",
                "same_task",
                "num_runs",
                "r2",
                "r2_low",
                "r2_high",
                "spearman",
            ),
        )


def print_accuracies(rows: list[dict[str, Any]]) -> None:
    """One row per arm, one column per budget."""
    budgets = sorted({one["budget"] or 0 for one in rows})
    print_line(["arm", *(f"{budget:.2g}" if budget else "untrained" for budget in budgets)])
    print_line(["---"] * (len(budgets) + 1))
    for arm in dict.fromkeys(one["arm"] for one in rows):
        own = {one["budget"] or 0: one for one in rows if one["arm"] == arm}
        print_line([arm, *(interval(own[b]) if b in own else "" for b in budgets)])


def print_differences(rows: list[dict[str, Any]]) -> None:
    """One row per pair of arms, one column per budget; with the smallest told difference."""
    budgets = sorted({one["budget"] for one in rows})
    print_line(["difference", *(f"{budget:.2g}" for budget in budgets)])
    print_line(["---"] * (len(budgets) + 1))
    for pair in dict.fromkeys((one["arm"], one["against"]) for one in rows):
        own = {one["budget"]: one for one in rows if (one["arm"], one["against"]) == pair}
        cells = [
            f"{interval(own[b], sign='+')}; {100 * own[b]['detectable']:.1f}" if b in own else ""
            for b in budgets
        ]
        print_line([" − ".join(pair), *cells])


def interval(one: dict[str, Any], sign: str = "") -> str:
    """Per cent with its interval."""
    value, low, high = (f"{100 * one[part]:{sign}.1f}" for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """A table of some columns."""
    print_line(columns)
    print_line(["---"] * len(columns))
    for row in rows:
        print_line([f"{v:.4g}" if isinstance(v, float) else str(v) for v in map(row.get, columns)])


def print_line(cells: Any) -> None:
    """A line of a Markdown table."""
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
