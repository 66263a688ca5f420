import json
import os
import pickle

import pytest

from vsalt.data.manifest import ManifestColumns, Row, read_source
from vsalt.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.mp4", "sub/c.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def test_a_csv_manifest(folder):
    path = write(
        folder / "m.csv",
        "path,label,split,group,start_s,end_s,weight,view\n"
        "a.mp4,run,TEST,g1,0.5,2,3,left\n\n"
        '"sub/c.mp4",,,,,,,"up, right"\n',
        encoding="utf-8-sig",
    )
    source = read_source(path, source=4)
    assert source.weighted
    assert source.rows == (
        Row(
            path=str(folder / "a.mp4"),
            relative_path="a.mp4",
            source=4,
            label="run",
            split="test",
            group="g1",
            start_s=0.5,
            end_s=2.0,
            weight=3.0,
            columns={
                "label": "run",
                "split": "TEST",
                "group": "g1",
                "start_s": "0.5",
                "end_s": "2",
                "weight": "3",
                "view": "left",
            },
        ),
        Row(
            path=str(folder / "sub" / "c.mp4"),
            relative_path="sub/c.mp4",
            source=4,
            columns={"view": "up, right"},
        ),
    )


def test_jsonl_and_csv_say_the_same(folder):
    csv = write(folder / "m.csv", "path,label,start_s,fold\na.mp4,x,1.5,0\nb.mp4,y,,1\n")
    lines = [
        {"path": "a.mp4", "label": "x", "start_s": 1.5, "fold": 0},
        {"path": "b.mp4", "label": "y", "start_s": None, "fold": 1},
    ]
    jsonl = write(folder / "m.jsonl", "\n".join(map(json.dumps, lines)))
    assert read_source(csv).rows == read_source(jsonl).rows
    assert not read_source(csv).weighted


def test_line_ends_and_spaces_around_the_header(folder):
    expected = read_source(write(folder / "m.csv", "path,label\na.mp4,x\nb.mp4,y\n")).rows
    for text in (
        "path,label\r\na.mp4,x\r\n\r\nb.mp4,y\r\n",
        " path ,\tlabel\na.mp4,x\nb.mp4,y",
        "\ufeffpath,label\na.mp4,x\n , \nb.mp4,y\n",
    ):
        (folder / "m.csv").write_bytes(text.encode())
        assert read_source(folder / "m.csv").rows == expected
    (folder / "m.jsonl").write_bytes(
        b'\xef\xbb\xbf{"path": "a.mp4", "label": "x"}\r\n\r\n{"path": "b.mp4", "label": "y"}\r\n'
    )
    assert read_source(folder / "m.jsonl").rows == expected


def test_paths_are_relative_to_the_link_that_a_manifest_is_given_by(folder):
    (folder / "kept").mkdir()
    write(folder / "kept" / "m.csv", "path\nsub/../a.mp4\n")
    os.symlink(folder / "kept" / "m.csv", folder / "m.csv")
    (row,) = read_source(folder / "m.csv").rows
    assert (row.path, row.relative_path) == (str(folder / "a.mp4"), "sub/../a.mp4")


def test_columns_behave_as_a_dict(folder):
    path = write(folder / "m.csv", "path,label,view,fold\na.mp4,x,,0\n")
    columns = read_source(path).rows[0].columns
    expected = {"label": "x", "fold": "0"}
    assert columns == expected
    assert (dict(columns), len(columns), repr(columns)) == (expected, 2, repr(expected))
    assert pickle.loads(pickle.dumps(columns)) == expected
    for name in ("view", "path", "nothing"):
        assert name not in columns
        assert columns.get(name) is None
        with pytest.raises(KeyError):
            columns[name]


def test_lines_with_different_keys(folder):
    lines = [{"label": "x", "path": "a.mp4"}, {"path": "b.mp4", "start_s": 1}, {"path": "a.mp4"}]
    path = write(folder / "m.jsonl", "\n".join(map(json.dumps, lines)))
    assert [(row.relative_path, row.label, row.start_s) for row in read_source(path).rows] == [
        ("a.mp4", "x", None),
        ("b.mp4", None, 1.0),
        ("a.mp4", None, None),
    ]


def test_other_column_names(folder):
    path = write(folder / "m.csv", "path,who,split1,p\na.mp4,anna,test,2\nb.mp4,ben,train,1\n")
    columns = ManifestColumns(group="who", split="split1", weight="p")
    rows = read_source(path, columns=columns).rows
    assert [(row.group, row.split, row.weight) for row in rows] == [
        ("anna", "test", 2.0),
        ("ben", "train", 1.0),
    ]


def test_a_folder_of_videos(folder):
    for name in ("notes.txt", ".hidden.mp4", "sub/UPPER.MKV", "sub/deep/d.avi"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.symlink(folder, folder / "sub" / "loop")
    rows = read_source(folder).rows
    assert [(row.relative_path, row.label) for row in rows] == [
        ("a.mp4", None),
        ("b.mp4", None),
        ("sub/UPPER.MKV", "sub"),
        ("sub/c.mp4", "sub"),
        ("sub/deep/d.avi", "deep"),
    ]
    assert all(os.path.isabs(row.path) and os.path.exists(row.path) for row in rows)


def test_top_folders_named_like_splits_are_splits(tmp_path):
    for name in ("Train/run/a.mp4", "test/run/b.mp4", "val/c.mp4", "jump/train/d.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = read_source(tmp_path).rows
    found = {row.relative_path: (row.split, row.label, row.columns) for row in rows}
    assert found == {
        "Train/run/a.mp4": ("train", "run", {"split": "train", "label": "run"}),
        "test/run/b.mp4": ("test", "run", {"split": "test", "label": "run"}),
        "val/c.mp4": ("val", None, {"split": "val"}),
        "jump/train/d.mp4": ("train", "train", {"label": "train"}),
    }


def test_all_mistakes_of_a_manifest_are_reported_together(folder):
    path = write(
        folder / "m.csv",
        "path,start_s,end_s,weight\n"
        "a.mp4,one,2,1\n"
        "b.mp4,3,2,1\n"
        ",,,1\n"
        "gone.mp4,,,-1\n"
        "a.mp4,,,nan\n"
        "a.mp4,0,0,1\n",
    )
    with pytest.raises(DataError) as caught:
        read_source(path)
    message = str(caught.value)
    for part in (
        "line 2: start_s is 'one'",
        "line 3: end_s is 2, but it must be above start_s (3)",
        "line 4: the path is empty",
        "line 5: weight is '-1'",
        f"line 5: {folder / 'gone.mp4'}",
        "line 6: weight is 'nan'",
        "line 7: end_s is 0",
        "6 mistakes",
        "1 missing files",
    ):
        assert part in message, part


LINES = "x\nvsalt: all is well\x1b[31m"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("m.jsonl", {"path": f"{LINES}.mp4"}),
        ("m.jsonl", {"paths": "a.mp4", LINES: 1}),
        ("m.jsonl", {"path": "a.mp4", "shard": f"{LINES}.tar", "offset": 0, "size": 1}),
        ("m.jsonl", {"path": "a.mp4", "shard": LINES, "offset": "no", "size": 1}),
        ("m.jsonl", {"path": "a.mp4", "weight": LINES}),
        ("m.csv", f'path,"{LINES}","{LINES}"'),
    ],
)
def test_no_name_makes_a_line_of_a_message(folder, name, record):
    text = record if isinstance(record, str) else json.dumps(record)
    with pytest.raises(DataError) as caught:
        read_source(write(folder / name, text + "\n"))
    # The message's own line ends may stay; those of the manifest's texts may not.
    assert not any(line.startswith("vsalt") for line in str(caught.value).splitlines())
    assert "\x1b" not in str(caught.value)


def test_many_missing_files_are_counted(folder):
    lines = [f"gone{i}.mp4" for i in range(50)]
    path = write(folder / "m.csv", "\n".join(["path", *lines]))
    with pytest.raises(DataError, match="50 missing files") as caught:
        read_source(path)
    assert "gone9.mp4" in str(caught.value)
    assert "gone10.mp4" not in str(caught.value)
    assert "and 40 more" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("m.csv", "", "is empty"),
        ("m.csv", "path\n", "no rows"),
        ("m.csv", "paths,label\na.mp4,x\n", "did you mean 'paths'"),
        ("m.csv", "path,label,label\na.mp4,x,y\n", "a column twice: label"),
        ("m.csv", "path,,x\na.mp4,1,2\n", "column 2 of the header has no name"),
        ("m.csv", "path,label\na.mp4\n", "line 2 has 1 cells"),
        ("m.csv", "path,label\na.mp4,x,y\n", "line 2 has 3 cells"),
        ("m.csv", 'path\n"a.mp4\n', "not a CSV file"),
        ("m.jsonl", "", "is empty"),
        ("m.jsonl", '{"path": "a.mp4"}\nnonsense\n', "line 2"),
        ("m.jsonl", '["a.mp4"]\n', "not a JSON object"),
        ("m.jsonl", '{"path": "a.mp4", "path": "b.mp4"}\n', "a key twice: path"),
        ("m.jsonl", '{"path": "a.mp4\\u0000.mp4"}\n', "line 1: the path .* holds a NUL"),
        ("m.jsonl", '{"path": "\\ud800.mp4"}\n', "line 1: the path .* holds half"),
        ("m.txt", "a.mp4 0\n", "no manifest"),
    ],
)
def test_unusable_manifests(folder, name, text, reason):
    with pytest.raises(DataError, match=reason):
        read_source(write(folder / name, text))


def test_a_named_column_must_exist_but_a_default_need_not(folder):
    path = write(folder / "m.csv", "path,subject\na.mp4,s1\n")
    assert read_source(path).rows[0].group is None
    with pytest.raises(DataError, match=r"'subjekt', named by --data.group-column; did you mean"):
        read_source(path, columns=ManifestColumns(group="subjekt"))


def test_missing_and_empty_sources(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        read_source(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no videos"):
        read_source(tmp_path)


def test_text_that_is_not_utf8(folder):
    (folder / "m.csv").write_bytes(b"path,label\na.mp4,\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_source(folder / "m.csv")


def test_real_manifests(test_data):
    rows = read_source(test_data / "jhmdb" / "labels.csv").rows
    # Numbers of the set's README.
    assert len(rows) == 928
    assert len({row.label for row in rows}) == 21
    assert sum(row.split == "train" for row in rows) == 660
    columns = ManifestColumns(group="subject")
    rows = read_source(test_data / "egogestar" / "labels.csv", columns=columns).rows
    assert (len(rows), len({row.group for row in rows})) == (237, 30)
