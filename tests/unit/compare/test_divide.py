"""Mistakes in data are told before anything is trained, in words of the specification."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vsalt.compare.data_sets import examine
from vsalt.compare.divide import DataSet, divide
from vsalt.compare.spec import CompareSpec, DataSpec, SweepSpec, SynthSet
from vsalt.errors import DataError

HEAD = "path,label,group,split,fold"
GOOD = [
    f"{place}-{label}-{index}.mp4,{label},{place}-{index},{place},{index % 2}"
    for place in ("train", "test")
    for label in ("x", "y")
    for index in range(4)
]


def write(folder: Path, lines: Sequence[str], head: str = HEAD) -> str:
    for line in lines:
        (folder / line.partition(",")[0]).touch()
    manifest = folder / "rows.csv"
    manifest.write_text("\n".join([head, *lines]) + "\n")
    return str(manifest)


def of(source: str, **options: Any) -> DataSet:
    data = DataSpec(name="mine", sources=(source,), **options)
    return divide(data, [Path(source)], SweepSpec()).data_set


def test_what_there_is_is_counted(tmp_path: Path) -> None:
    found = of(write(tmp_path, GOOD))
    assert (found.num_train, found.num_test, found.num_classes) == (8, 8, 2)
    # Each group has a row of each class.
    assert (found.num_groups, found.num_shared) == (4, 0)
    assert found.notices == []


def test_folds_test_every_row_once(tmp_path: Path) -> None:
    found = of(write(tmp_path, GOOD), folds="fold")
    assert (found.folds, found.num_train, found.num_test) == (("0", "1"), 8, 16)
    assert found.num_groups == 8


def test_rows_that_take_no_part_are_counted_by_what_they_say(tmp_path: Path) -> None:
    more = ["a.mp4,x,g,val,", "b.mp4,x,g,val,0", "c.mp4,y,g,,1", "d.mp4,,g,test,1"]
    source = write(tmp_path, [*GOOD, *more])
    told = "4 rows left out: 1 without a split, 2 of split val, 1 tested, without a label"
    assert of(source).left_out == told
    assert told in of(source).notices
    assert of(source, folds="fold").unused == {"without a fold": 1, "tested, without a label": 1}


def test_without_groups_rows_count_as_independent_and_it_is_told(tmp_path: Path) -> None:
    lines = [",".join((*line.split(",")[:2], "", *line.split(",")[3:])) for line in GOOD]
    source = write(tmp_path, lines)
    found = of(source)
    assert found.num_groups is None
    assert ["group_column" in notice for notice in found.notices] == [True]
    # Who says so knows it.
    assert of(source, group_column="none").notices == []


@pytest.mark.parametrize(
    ("lines", "head", "options", "told"),
    [
        ([line.replace(",x,", ",y,") for line in GOOD], HEAD, {}, "at least two classes"),
        ([*GOOD, "z.mp4,z,g,test,0"], HEAD, {}, "classes without training rows: z"),
        ([*GOOD, "z.mp4,z,g,test,1"], HEAD, {"folds": "fold"}, "mine, fold 1: .* rows: z"),
        (GOOD, HEAD.replace("label", "class"), {}, r"no row has a label: .* by label_column"),
        (GOOD, HEAD, {"label_column": "clas"}, "label_column"),
        (GOOD, HEAD, {"group_column": "person"}, "group_column"),
        (GOOD, HEAD, {"folds": "part"}, r"no column 'part' \(folds\); columns: .*fold"),
        (GOOD, HEAD.replace("split", "part"), {}, r"no column 'split'; .*columns: .*part"),
        (
            [line.replace(",train,", ",training,") for line in GOOD],
            HEAD,
            {},
            r"no row has the split 'train'; its values are training \(8\), test \(8\)",
        ),
    ],
)
def test_labels_and_columns_are_checked(
    lines: list[str], head: str, options: dict[str, str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told) as caught:
        of(write(tmp_path, lines, head), **options)
    assert str(caught.value).startswith("data mine")
    # There are no flags for it.
    assert "--" not in str(caught.value)


def test_the_training_rows_of_the_sweep_are_checked_too(tmp_path: Path) -> None:
    """Two training rows of two classes: nothing can be set aside."""
    lines = ["a.mp4,x,a,train,", "b.mp4,y,b,train,", "c.mp4,x,c,test,", "d.mp4,y,d,test,"]
    with pytest.raises(DataError, match="set aside"):
        of(write(tmp_path, lines))


def test_a_folder_without_parts_says_how_to_make_them(tmp_path: Path) -> None:
    for label in ("x", "y"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
    with pytest.raises(DataError, match=r"put them into folders train/ and test/"):
        of(str(tmp_path))


def test_nothing_is_written_and_what_is_to_be_made_is_not_read(tmp_path: Path) -> None:
    source = write(tmp_path, GOOD)
    data = (DataSpec(name="made", synth=SynthSet()), DataSpec(name="mine", sources=(source,)))
    spec = CompareSpec(arms=("salt",), budgets=(1e9,), data=data)
    found = examine(spec, tmp_path / "out")
    assert found["made"] is None
    assert found["mine"] == of(source)
    assert not (tmp_path / "out").exists()
