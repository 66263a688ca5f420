"""Data sets with roles: what is torn apart is told."""

from pathlib import Path

import pytest

from vsalt.compare.data_sets import prepare
from vsalt.compare.spec import CompareSpec, DataSpec

ROWS = [
    *(("a", "s", "train"), ("b", "s", "test"), ("c", "t", "test"), ("d", "u", "train")),
    *((f"train-{index}", f"own-{index}", "train") for index in range(4)),
    *((f"test-{index}", f"other-{index}", "test") for index in range(2)),
]


@pytest.mark.parametrize(
    ("options", "num_shared"),
    [
        ({}, 1),
        # Each fold tests a clip of s, and has the other one for training.
        ({"folds": "split"}, 2),
        ({"group_column": "none"}, 0),
        ({"group_column": "alone"}, 0),
    ],
)
def test_groups_that_the_source_tears_are_counted(
    options: dict[str, str], num_shared: int, tmp_path: Path
) -> None:
    lines = ["path,label,group,alone,split"]
    for index, (name, group, split) in enumerate(ROWS):
        (tmp_path / f"{name}.mp4").touch()
        lines.append(f"{name}.mp4,{'xy'[index % 2]},{group},{name},{split}")
    manifest = tmp_path / "rows.csv"
    manifest.write_text("\n".join(lines) + "\n")
    data = DataSpec(name="d", sources=(str(manifest),), **options)  # type: ignore[arg-type]
    spec = CompareSpec(arms=("salt",), budgets=(1e9,), data=(data,))
    said: list[str] = []
    assert prepare(spec, tmp_path / "out", said.append)["d"].num_shared == num_shared
    assert ["test row" in line for line in said] == [True] * (num_shared > 0)
