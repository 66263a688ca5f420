"""The hold-out against a plain reference that follows its description literally."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from vsalt.data.holdout import split_holdout
from vsalt.data.manifest import Row
from vsalt.errors import DataError
from vsalt.randomness import keyed_int


def make_row(source, name, group=None, path=None, size=None, offset=0):
    return Row(
        path=path or f"/{source}/{name}",
        relative_path=name,
        source=source,
        group=group,
        columns={},
        offset=offset,
        size=size,
    )


def names_of(row):
    return ("group", row.group) if row.group is not None else ("file", row.relative_path)


def plain_groups(rows):
    """Merge sets of rows with a name or a file in common until none has."""
    groups = [{index} for index in range(len(rows))]
    for keys in ([names_of(row) for row in rows], [row.media for row in rows]):
        for key in set(keys):
            joined = [group for group in groups if any(keys[index] == key for index in group)]
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return groups


def plain_split(rows, share, seed):
    groups = plain_groups(rows)
    name = {id(group): min(names_of(rows[index]) for index in group) for group in groups}
    groups.sort(key=lambda group: keyed_int("holdout", seed, *name[id(group)]))
    left = Counter(row.source for row in rows)
    held = set()

    def spare(group):
        needed = Counter(rows[index].source for index in group)
        return all(left[source] > count for source, count in needed.items())

    for group in groups:
        if len(held) >= share * len(rows):
            break
        if len(held) + len(group) <= 2 * share * len(rows) and spare(group):
            held |= group
            left.subtract(rows[index].source for index in group)
    sizes = [len(group) for group in groups if spare(group)]
    return held, min(sizes, default=None)


rows_of_sources = st.lists(
    st.builds(
        make_row,
        source=st.integers(0, 2),
        name=st.sampled_from([f"{letter}.mp4" for letter in "abcdefghijkl"]),
        group=st.sampled_from([None, None, None, "g", "h"]),
        path=st.sampled_from([None, None, None, "/shared/x.mp4", "/shared/y.mp4"]),
    ),
    min_size=1,
    max_size=14,
)


@given(rows=rows_of_sources, share=st.floats(0.01, 0.6), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_as_the_description_says(rows, share, seed):
    expected, smallest = plain_split(rows, share, seed)
    try:
        train, held = split_holdout(rows, range(len(rows)), share=share, seed=seed)
    except DataError:
        assert not expected
        assert smallest is None
        return
    assert sorted([*train, *held]) == list(range(len(rows)))
    assert {rows[index].source for index in train} == {row.source for row in rows}
    if expected:
        assert set(held) == expected
    else:
        assert len(held) == smallest
        assert set(held) in plain_groups(rows)


def test_a_file_of_two_sources_is_not_torn_apart():
    # A folder, and a manifest of one of its parts: the same files by other names, one with groups.
    folder = [make_row(0, f"part/{i}.mp4", path=f"/d/part/{i}.mp4") for i in range(40)]
    part = [make_row(1, f"{i}.mp4", f"g{i // 2}", path=f"/d/part/{i}.mp4") for i in range(20)]
    rows = [*folder, *part]
    for seed in range(5):
        train, held = split_holdout(rows, range(60), share=0.3, seed=seed)
        assert not {rows[i].path for i in train} & {rows[i].path for i in held}


def test_members_of_one_shard_are_files_of_their_own():
    rows = [
        make_row(0, f"{i}.mp4", path="/d/shard-000000.tar", offset=512 * i, size=10)
        for i in range(40)
    ]
    _, held = split_holdout(rows, range(40), share=0.1, seed=0)
    assert len(held) == 4
