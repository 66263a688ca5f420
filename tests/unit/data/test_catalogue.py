import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from vsalt.data.catalogue import Catalogue, parse_source
from vsalt.data.config import DataConfig
from vsalt.errors import DataError


def make_source(folder, lines, header="path,label,split,group"):
    folder.mkdir(parents=True)
    for line in lines:
        (folder / line.split(",")[0]).write_bytes(b"x" * (len(line) + 1))
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(folder / "labels.csv")


@pytest.fixture
def sources(tmp_path):
    first = [f"a{i}.mp4,x,{'test' if i % 4 == 0 else 'train'},g{i // 5}" for i in range(40)]
    second = [f"b{i}.mp4,y,{'val' if i == 0 else ''},h{i}" for i in range(20)]
    return [make_source(tmp_path / "one", first), make_source(tmp_path / "two", second)]


def load(sources, seed=0, **options):
    return Catalogue.load(DataConfig(sources=tuple(sources), **options), seed)


def test_only_training_rows_are_used_and_all_are_counted(sources):
    catalogue = load(sources)
    used = [index for part in catalogue.train for index in part] + list(catalogue.holdout)
    assert Counter(catalogue.rows[index].split for index in used) == {"train": 49}
    assert catalogue.rows_per_split == {"train": 49, "test": 10, "val": 1}
    assert catalogue.used_per_split == {"train": 49}
    everything = load(sources, use_test=True)
    assert everything.used_per_split == everything.rows_per_split
    assert everything.num_train + len(everything.holdout) == 60


def test_groups_are_held_out_whole(sources):
    catalogue = load(sources, holdout=0.2)
    train = {catalogue.rows[i].group for part in catalogue.train for i in part}
    held = {catalogue.rows[i].group for i in catalogue.holdout}
    assert held
    assert not train & held
    assert 0.2 * 49 <= len(catalogue.holdout) <= 0.4 * 49
    assert set(catalogue.train[0]) <= set(range(40))
    assert set(catalogue.train[1]) <= set(range(40, 60))


def test_the_choice_depends_on_the_seed_and_not_on_the_manifest_order(sources, tmp_path):
    def names(catalogue):
        return {catalogue.rows[i].relative_path for i in catalogue.holdout}

    first = load(sources, holdout=0.2)
    assert names(first) == names(load(sources, holdout=0.2))
    assert any(names(load(sources, holdout=0.2, seed=seed)) != names(first) for seed in range(1, 4))
    path = Path(sources[0])
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]) + "\n")
    assert names(load(sources, holdout=0.2)) == names(first)


def test_rows_of_one_file_stay_together(tmp_path):
    source = make_source(tmp_path / "s", [f"v{i}.mp4,{i}" for i in range(10)], "path,start_s")
    lines = [f"v{i}.mp4,{start}" for i in range(10) for start in range(4)]
    Path(source).write_text("\n".join(["path,start_s", *lines]) + "\n")
    catalogue = load([source], holdout=0.1)
    held = Counter(catalogue.rows[i].path for i in catalogue.holdout)
    assert set(held.values()) == {4}


def test_at_most_holdout_clips(sources):
    few = load(sources, holdout=0.5, holdout_clips=3)
    many = load(sources, holdout=0.5)
    assert len(few.holdout) == 3
    assert set(few.holdout) < set(many.holdout)
    # The held-out rows that are not measured are not trained on either.
    assert few.train == many.train


def test_what_cannot_be_held_out(tmp_path):
    one = make_source(tmp_path / "s", ["a.mp4,x,,g", "b.mp4,x,,g"])
    with pytest.raises(DataError, match=r"--data.holdout 0"):
        load([one])
    assert load([one], holdout=0.0).train == ((0, 1),)
    # Two sources of one group each cannot spare any.
    other = make_source(tmp_path / "t", ["c.mp4,x,,h"])
    with pytest.raises(DataError, match=r"--data.holdout 0"):
        load([one, other])


def test_a_large_group_is_not_taken_for_a_small_share(tmp_path):
    lines = [f"a{i}.mp4,x,,big" for i in range(50)] + [f"b{i}.mp4,x,,g{i}" for i in range(50)]
    source = make_source(tmp_path / "s", lines)
    for seed in range(10):
        catalogue = load([source], seed=seed, holdout=0.05)
        assert len(catalogue.holdout) == 5


def test_shares(sources):
    plain = load(sources, holdout=0.0)
    assert plain.shares == (Fraction(30), Fraction(19))
    weighted = load([f"{sources[0]}@0.3", f"{sources[1]}@2"], holdout=0.0)
    assert weighted.shares == (Fraction(3, 10), Fraction(2))
    with pytest.raises(DataError, match="for all --data or for none"):
        load([f"{sources[0]}@0.3", sources[1]])


def test_path_and_weight(tmp_path):
    (tmp_path / "odd@2").mkdir()
    assert parse_source(f"{tmp_path}/odd@2") == (tmp_path / "odd@2", None)
    assert parse_source(f"{tmp_path}/odd@2@0.25") == (tmp_path / "odd@2", Fraction(1, 4))
    assert parse_source("some/me@home.csv") == (Path("some/me@home.csv"), None)
    assert parse_source(f"{tmp_path}/odd@2/in@side@1/3") == (
        tmp_path / "odd@2" / "in@side",
        Fraction(1, 3),
    )
    # No path at all is not the current folder.
    assert parse_source("@2") == (Path("@2"), None)
    for weight in ("0", "-1"):
        with pytest.raises(DataError, match="above 0"):
            parse_source(f"x.csv@{weight}")


def test_a_source_without_training_rows_and_no_source(tmp_path):
    source = make_source(tmp_path / "s", ["a.mp4,x,test,g", "b.mp4,x,val,g"])
    with pytest.raises(DataError, match=r"it has: test 1, val 1.*--data.use-test"):
        load([source])
    with pytest.raises(DataError, match="no data"):
        load([])


def test_weight_columns_and_zero_weights(tmp_path):
    source = make_source(tmp_path / "s", ["a.mp4,1", "b.mp4,0"], "path,weight")
    catalogue = load([source], holdout=0.0)
    order = catalogue.order(seed=0)
    assert {order.row(step=step, position=0, batch_size=1) for step in range(50)} == {0}
    bad = make_source(tmp_path / "t", ["a.mp4,0", "b.mp4,0"], "path,weight")
    with pytest.raises(DataError, match="weights of all rows"):
        load([bad], holdout=0.0).order(seed=0)


def test_rows_of_weight_zero_are_neither_drawn_nor_held_out(tmp_path):
    lines = [f"v{i}.mp4,{i % 2}" for i in range(40)]
    source = make_source(tmp_path / "s", lines, "path,weight")
    for seed in range(5):
        catalogue = load([source], holdout=0.2, seed=seed)
        used = {*catalogue.train[0], *catalogue.holdout}
        assert used == set(range(1, 40, 2))
        assert catalogue.used_per_split == {"train": 20}
    # Its one row with a weight cannot be spared, though there are others.
    few = make_source(tmp_path / "t", ["a.mp4,1", "b.mp4,0", "c.mp4,0"], "path,weight")
    with pytest.raises(DataError, match=r"--data.holdout 0"):
        load([few], holdout=0.4)


def test_weights_too_large_to_add(tmp_path):
    source = make_source(tmp_path / "s", ["a.mp4,1e308", "b.mp4,1e308"], "path,weight")
    with pytest.raises(DataError, match=r"too large to add, up to 1e\+308"):
        load([source], holdout=0.0).order(seed=0)


def test_a_source_given_twice(sources, tmp_path):
    with pytest.raises(DataError, match=r"one/labels.csv is given twice.*PATH@WEIGHT"):
        load([sources[0], sources[1], sources[0]])
    (tmp_path / "link.csv").symlink_to(sources[0])
    with pytest.raises(DataError, match=r"link.csv, which is .*one/labels.csv, is given twice"):
        load([f"{sources[0]}@2", f"{tmp_path / 'link.csv'}@1"])


def test_weights_of_many_digits_are_exact(sources):
    weighted = load([f"{sources[0]}@0.333333333333333333333", f"{sources[1]}@1/3"], holdout=0.0)
    assert weighted.shares == (Fraction(10**21 // 3, 10**21), Fraction(1, 3))
    order = weighted.order(seed=0)
    counts = Counter(
        order.locate(step=step, position=0, batch_size=1)[0]
        for step in range(10**12, 10**12 + 1000)
    )
    assert abs(counts[0] - 500) <= 1


def test_the_hash_is_of_the_content(sources, tmp_path):
    original = load(sources).manifest_hash
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    assert load([str(tmp_path / "moved" / "labels.csv"), sources[1]]).manifest_hash == original
    text = Path(sources[0]).read_text()
    for old, new in (
        ("a1.mp4,x", "a1.mp4,z"),
        ("train,g0", "train,g9"),
        ("a0.mp4,x,test", "a0.mp4,x,"),
    ):
        assert old in text
        Path(sources[0]).write_text(text.replace(old, new, 1))
        assert load(sources).manifest_hash != original


def test_seen_rows_name_what_was_used(sources):
    catalogue = load(sources, holdout=0.1)
    seen = catalogue.seen_rows()
    assert len(seen) == 49
    assert all(row.split == "train" for row in seen)
    by_name = {row.file_name: row for row in seen}
    assert by_name["a1.mp4"].size_bytes == len("a1.mp4,x,train,g0") + 1
    assert by_name["a1.mp4"][2:4] == (None, None)


def test_real_split(test_data):
    config = DataConfig(sources=(str(test_data / "jhmdb" / "labels.csv"),), group_column="subject")
    catalogue = Catalogue.load(config, seed=0)
    assert catalogue.rows_per_split == {"train": 660, "test": 268}
    groups = [
        {catalogue.rows[i].group for i in part} for part in (*catalogue.train, catalogue.holdout)
    ]
    assert not groups[0] & groups[1]
    assert 33 <= len(catalogue.holdout) <= 66
    table = catalogue.table()
    assert [table[i].media for i in range(928)] == [row.media for row in catalogue.rows]


def test_a_link_to_nothing_is_a_row_that_nobody_sees(tmp_path, write_video):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name)
    (folder / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    catalogue = load([str(folder)], holdout=0.0)
    assert len(catalogue.rows) == 3
    assert [row.file_name for row in catalogue.seen_rows()] == ["a.mp4", "b.mp4"]
