"""How rows become training, selection and test rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsalt.data.manifest import Row
from vsalt.errors import ConfigError, DataError
from vsalt.evaluation.protocol import TaskOptions, choose_selection, make_task


def row(index: int, **columns: str) -> Row:
    path = f"{index}.mp4"
    return Row(path=f"/videos/{path}", relative_path=path, source=0, columns=columns)


def grid(num_rows: int = 60, **more: list[str]) -> list[Row]:
    """Rows of three classes; every third row of each class is a test row."""
    return [
        row(
            index,
            label="abc"[index % 3],
            split="test" if index // 3 % 3 == 0 else "train",
            fold=str(index // 3 % 4),
            **{name: values[index] for name, values in more.items()},
        )
        for index in range(num_rows)
    ]


def test_a_split_gives_one_part() -> None:
    rows = grid()
    task = make_task(rows, TaskOptions())
    (part,) = task.parts
    assert part.name == "test"
    assert task.classes == ("a", "b", "c")
    assert [task.classes[label] for label in task.labels] == [row.columns["label"] for row in rows]
    assert {rows[index].columns["split"] for index in part.test} == {"test"}
    assert {rows[index].columns["split"] for index in part.train} == {"train"}
    assert len(part.test) + len(part.train) == 60 == len(part.fit) + len(part.selection) + 21
    # 13 training rows per class, a fifth of them is 2.6.
    assert np.bincount(task.labels[part.selection]).tolist() == [3, 3, 3]
    assert task.groups is None
    assert task.num_shared_test_rows == 0
    assert task.left_out == {}


def test_every_fold_is_tested_once() -> None:
    rows = grid()
    task = make_task(rows, TaskOptions(folds="fold"))
    assert [part.name for part in task.parts] == ["0", "1", "2", "3"]
    tested = np.concatenate([part.test for part in task.parts])
    assert sorted(tested) == list(range(60))
    assert task.num_test_rows == 60
    for part in task.parts:
        assert {rows[index].columns["fold"] for index in part.test} == {part.name}
        assert sorted([*part.train, *part.test]) == list(range(60))
        assert not set(part.fit) & set(part.selection)


def test_a_share_is_drawn_for_testing_by_class_and_seed() -> None:
    rows = [row(index, label="abc"[index % 3]) for index in range(60)]
    (part,) = make_task(rows, TaskOptions(test_share=0.25)).parts
    assert [sum(index % 3 == label for index in part.test) for label in range(3)] == [5, 5, 5]
    assert sorted([*part.train, *part.test]) == list(range(60))
    (again,) = make_task(rows, TaskOptions(test_share=0.25)).parts
    (other,) = make_task(rows, TaskOptions(test_share=0.25, seed=1)).parts
    assert again.test.tolist() == part.test.tolist() != other.test.tolist()


def test_a_drawn_share_keeps_groups_whole() -> None:
    rows = [row(index, label="abc"[index % 3], group=str(index // 6)) for index in range(60)]
    task = make_task(rows, TaskOptions(test_share=0.2))
    assert task.num_shared_test_rows == 0
    assert len(task.parts[0].test) == 12


@pytest.mark.parametrize("options", [{"test_share": 1.0}, {"test_share": 0.2, "folds": "fold"}])
def test_impossible_shares_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="test-share"):
        TaskOptions(**options)


def test_numbers_are_ordered_as_numbers() -> None:
    rows = [row(index, label=str(index % 11), fold=str(index % 12)) for index in range(264)]
    task = make_task(rows, TaskOptions(folds="fold"))
    assert task.classes == tuple(str(number) for number in range(11))
    assert [part.name for part in task.parts] == [str(number) for number in range(12)]


def test_rows_without_a_place_are_counted() -> None:
    rows = [
        *grid(),
        row(90, split="train"),
        row(91, label="a"),
        row(92, label="z", split="val"),
        row(93, label="a", split=" TRAIN "),
    ]
    task = make_task(rows, TaskOptions())
    assert task.left_out == {"no label": 1, "no split": 1, "split val": 1}
    assert len(task.rows) == 61


def test_groups_are_not_torn() -> None:
    people = [f"p{index // 3 % 10}" for index in range(60)]
    task = make_task(grid(person=people), TaskOptions(group_column="person", folds="fold"))
    assert task.groups is not None
    for part in task.parts:
        selected = set(task.groups[part.selection])
        assert selected
        assert not selected & set(task.groups[part.fit])
    # Persons are spread over folds here, and that is said.
    assert task.num_shared_test_rows == 60


def test_the_group_column_is_taken_where_it_is_there() -> None:
    groups = [f"g{index // 3}" for index in range(60)]
    rows = grid(group=groups)
    assert make_task(rows, TaskOptions()).groups is not None
    assert make_task(rows, TaskOptions()).num_shared_test_rows == 0
    assert make_task(rows, TaskOptions(group_column="none")).groups is None
    with pytest.raises(DataError, match=r"'groop' \(--group-column\); did you mean 'group'\?"):
        make_task(rows, TaskOptions(group_column="groop"))


def test_rows_without_a_group_stand_alone() -> None:
    rows = [*grid(group=["g1"] * 30 + ["g2"] * 30), row(98, label="a", split="train")]
    rows.append(row(99, label="b", split="train"))
    task = make_task(rows, TaskOptions())
    assert task.groups is not None
    assert len(set(task.groups)) == 4


def test_the_selection_follows_the_seed() -> None:
    rows = grid(300)
    first, again, other = (
        make_task(rows, TaskOptions(seed=seed)).parts[0].selection.tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


@given(
    labels=st.lists(st.integers(0, 3), min_size=8, max_size=60),
    num_units=st.integers(2, 60),
    key=st.text(max_size=3),
)
def test_selection_keeps_units_whole_and_classes_alive(
    labels: list[int], num_units: int, key: str
) -> None:
    y = np.array(labels)
    units = np.arange(len(y)) % num_units
    try:
        chosen = choose_selection(y, units, key=key)
    except DataError:
        # Only where each unit is the last home of some class.
        for unit in set(units):
            assert set(y[units != unit]) != set(y)
        return
    assert chosen.any()
    assert set(y[~chosen]) == set(y)
    for unit in set(units):
        assert len(set(chosen[units == unit])) == 1
    assert chosen.mean() <= 0.6


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=5), key=st.text(max_size=3))
def test_single_rows_are_stratified(counts: list[int], key: str) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    expected = [int(np.ceil(0.2 * count - 0.5 - 1e-9)) for count in counts]
    if sum(expected) == 0:
        return
    chosen = choose_selection(y, np.arange(len(y)), key=key)
    assert np.bincount(y[chosen], minlength=len(counts)).tolist() == expected


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (grid(), TaskOptions(label_column="lable"), r"--label-column\); did you mean 'label'"),
        (grid(), TaskOptions(label_column="xyz"), "columns: fold, label, split"),
        (grid(), TaskOptions(split_column="spilt"), r"--split-column\); did you mean 'split'"),
        (grid(), TaskOptions(folds="folds"), r"--folds\); did you mean 'fold'"),
        (grid(3), TaskOptions(), "no labelled row has the split 'train'.*values: test"),
        (grid(9)[3:], TaskOptions(), "no labelled row has the split 'test'"),
        (grid(), TaskOptions(split_column="fold"), "values of fold: 0, 1, 2, 3"),
        (grid(3), TaskOptions(folds="fold"), "has the one value '0'"),
        (grid()[::3], TaskOptions(), "all rows have the label 'a'"),
        (
            [*grid(), row(99, label="new", split="test")],
            TaskOptions(),
            "classes without training rows: new",
        ),
        (
            [*grid(), row(99, label="new", split="train", fold="2")],
            TaskOptions(folds="fold"),
            "fold 2 has classes without training rows: new",
        ),
        (
            [row(i, label="ab"[i % 2], split="test" if i < 4 else "train") for i in range(6)],
            TaskOptions(),
            r"no part of the 2 training rows \(2 groups\)",
        ),
        (grid(group=["one"] * 60), TaskOptions(), "--group-column none"),
    ],
)
def test_mistakes_are_named(rows: list[Row], options: TaskOptions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_task(rows, options)
