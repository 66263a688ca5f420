"""Searching an index: the order against a plain loop, times, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import vsalt
from support.encoders import TINY, write_checkpoint, write_video
from vsalt.cli import search as command
from vsalt.data.config import ClipConfig
from vsalt.data.manifest import Row
from vsalt.embedding import search as module
from vsalt.embedding.embed import EmbedOptions, embed
from vsalt.embedding.index import EmbeddingIndex, Entry, read_index
from vsalt.embedding.search import Query, embed_query, nearest
from vsalt.errors import ConfigError, DecodeError, RunFolderError, VsaltError, WeightsError
from vsalt.training.extract import ExtractConfig, WindowConfig
from vsalt.training.locate import load_encoder

LENGTHS = (40, 33, 6, 20)
COLOURS = ((200, 30, 30), (30, 200, 30), (30, 30, 200), (180, 180, 30))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for index, (length, colour) in enumerate(zip(LENGTHS, COLOURS, strict=True)):
        write_video(folder / f"{index}.mp4", colour, num_frames=length, seed=index)
    manifest = folder / "videos.csv"
    manifest.write_text("path,label\n0.mp4,red\n1.mp4,green\n2.mp4,blue\n3.mp4,yellow\n")
    return manifest


def write(encoder: Path, source: Path, out: Path, *, stride_s=0.5, format="safetensors") -> Path:
    extract = ExtractConfig(windows=WindowConfig(stride_s=stride_s), batch_size=3, device="cpu")
    options = EmbedOptions(extract=extract, shard_size=4, format=format)
    embed(load_encoder(encoder), source, out, options)
    return out


@pytest.fixture(scope="module")
def windows(encoder: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(encoder, source, tmp_path_factory.mktemp("index") / "windows")


def row(path: Path, **stretch: float) -> Row:
    return Row(path=str(path), relative_path=path.name, source=0, columns={}, **stretch)


def made_up(vectors: np.ndarray, entries: list[Entry]) -> EmbeddingIndex:
    return EmbeddingIndex(
        folder=Path("made-up"), settings={}, checkpoint=Path("none"), source="none",
        num_rows=len(entries), embeddings=vectors, entries=tuple(entries),
    )  # fmt: skip


def test_the_order_is_that_of_a_plain_loop() -> None:
    draws = np.random.default_rng(0)
    vectors = draws.normal(size=(50, 6)).astype(np.float32)
    entries = [Entry(index, f"{index}.mp4", None, 0.0, 1.0) for index in range(50)]
    queries = draws.normal(size=(3, 6)).astype(np.float32)
    spans = ((0.0, 1.0), (0.5, 1.5), (1.0, 2.0))
    hits = nearest(made_up(vectors, entries), Query(torch.from_numpy(queries), spans), count=50)
    best = {}
    for entry, vector in zip(entries, vectors, strict=True):
        cosines = [
            float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
            for query in queries
        ]
        best[entry] = (max(cosines), spans[int(np.argmax(cosines))])
    ordered = sorted(entries, key=lambda entry: -best[entry][0])
    assert [hit.entry for hit in hits] == ordered
    for hit in hits:
        similarity, span = best[hit.entry]
        assert hit.similarity == pytest.approx(similarity, abs=1e-5)
        assert (hit.query_start_s, hit.query_end_s) == span


def test_overlapping_windows_stand_for_one() -> None:
    spans = [(0, 0.0, 1.0), (0, 0.5, 1.5), (0, 1.0, 2.0), (1, 0.0, 1.0), (0, 1.5, 2.5)]
    entries = [Entry(number, f"{number}.mp4", None, start, end) for number, start, end in spans]
    angles = np.array([0.3, 0.1, 0.4, 0.2, 0.5])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    index = made_up(vectors, entries)
    query = Query(torch.tensor([[2.0, 0.0]]), ((0.0, 1.0),))
    kept = [hit.entry for hit in nearest(index, query, count=9)]
    assert kept == [entries[1], entries[3], entries[4]]
    everything = [hit.entry for hit in nearest(index, query, count=9, overlapping=True)]
    assert everything == [entries[place] for place in np.argsort(angles)]
    assert nearest(index, query, count=1)[0].entry == entries[1]
    nothing = made_up(np.empty((0, 2), np.float32), [])
    assert nearest(nothing, query, count=3) == []


def test_among_equals_the_earlier_comes_first_across_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 7)
    vectors = np.ones((60, 3), np.float32)
    vectors[31] = [1.0, 1.0, 0.0]
    entries = [Entry(index, f"{index}.mp4", None, 0.0, 1.0) for index in range(60)]
    query = Query(torch.tensor([[2.0, 2.0, 0.0]]), ((0.0, 1.0),))
    found = [hit.entry.source_row for hit in nearest(made_up(vectors, entries), query, count=60)]
    assert found == [31, *(index for index in range(60) if index != 31)]


def test_stretches_of_one_video_that_overlap_stand_for_one() -> None:
    spans = [("a.mp4", 0.0, 2.0), ("a.mp4", 1.0, 3.0), ("b.mp4", 1.0, 3.0), ("a.mp4", 3.0, 4.0)]
    entries = [Entry(row, path, None, *span) for row, (path, *span) in enumerate(spans)]
    angles = np.array([0.1, 0.2, 0.3, 0.4])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    query = Query(torch.tensor([[1.0, 0.0]]), ((0.0, 1.0),))
    kept = [hit.entry.source_row for hit in nearest(made_up(vectors, entries), query, count=9)]
    assert kept == [0, 2, 3]


def test_a_clip_finds_itself_at_its_time(encoder: Path, source: Path, windows: Path) -> None:
    index = read_index(windows)
    loaded = load_encoder(encoder)
    config = ExtractConfig(device="cpu")
    part = row(source.parent / "0.mp4", start_s=1.5, end_s=2.3)
    query = embed_query(loaded, index, part, config)
    assert query.spans_s == ((1.5, 2.3),)
    (first, *_) = nearest(index, query, count=5)
    assert first.similarity == pytest.approx(1.0, abs=1e-5)
    assert first.entry == Entry(0, "0.mp4", "red", 1.5, 2.3)
    # A whole video has a window for each stride, as in the index.
    whole = embed_query(loaded, index, row(source.parent / "1.mp4"), config)
    own = [entry for entry in index.entries if entry.path == "1.mp4"]
    assert whole.spans_s == tuple((entry.start_s, entry.end_s) for entry in own)


def test_an_index_without_windows_has_rows(encoder: Path, source: Path, tmp_path: Path) -> None:
    index = read_index(write(encoder, source, tmp_path / "rows", stride_s=None, format="parquet"))
    assert [entry.path for entry in index.entries] == [f"{number}.mp4" for number in range(4)]
    paths = [source.parent / f"{number}.mp4" for number in range(4)]
    expected = vsalt.load(encoder, device="cpu").embed(paths)
    np.testing.assert_allclose(index.embeddings, expected, atol=1e-5, rtol=0)
    query = embed_query(load_encoder(encoder), index, row(paths[2]), ExtractConfig(device="cpu"))
    np.testing.assert_allclose(query.embeddings, expected[2:3], atol=1e-5, rtol=0)
    assert nearest(index, query, count=1)[0].entry.path == "2.mp4"


def test_the_query_is_embedded_by_the_settings_of_the_index(source: Path, tmp_path: Path) -> None:
    deep = write_checkpoint(tmp_path / "deep", encoder=replace(TINY, depth=2), antialias=False)
    settings = {"pooling": "mean_space", "layers": (1, 0)}
    loaded = load_encoder(deep)
    embed(loaded, source, tmp_path / "out", EmbedOptions(extract=ExtractConfig(**settings)))
    index = read_index(tmp_path / "out")
    path = source.parent / "1.mp4"
    query = embed_query(loaded, index, row(path), ExtractConfig())
    np.testing.assert_allclose(query.embeddings[0], index.embeddings[1], atol=1e-5, rtol=0)
    expected = vsalt.load(deep, **settings).embed(path)
    np.testing.assert_allclose(query.embeddings, expected, atol=1e-5, rtol=0)


def test_formats_are_one_index(encoder: Path, source: Path, windows: Path, tmp_path: Path) -> None:
    one = read_index(windows)
    other = read_index(write(encoder, source, tmp_path / "table", format="parquet"))
    assert one.entries == other.entries
    np.testing.assert_array_equal(one.embeddings, other.embeddings)


def test_an_unfinished_index_is_read_as_far_as_it_is(
    windows: Path, encoder: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = write(encoder, source, tmp_path / "out")
    manifest = json.loads((out / "embedding.json").read_text())
    manifest["shards"], manifest["complete"] = manifest["shards"][:1], False
    (out / "embedding.json").write_text(json.dumps(manifest))
    index = read_index(out)
    assert index.num_rows == 1
    assert index.entries == read_index(windows).entries[: len(index.entries)]
    words = [str(out), str(source.parent / "0.mp4"), "--device", "cpu"]
    assert command.search(words, "vsalt search") == 0
    assert "is not complete: 1 of 4 rows were searched" in " ".join(capsys.readouterr().out.split())


def test_the_command_prints_the_nearest_with_times(
    windows: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(windows), str(source.parent / "1.mp4"), "-n", "3", "--device", "cpu"]
    assert command.search([*words, "--start-s", "0.5", "--end-s", "1.3"], "vsalt search") == 0
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["similarity", "seconds", "label", "video"]
    assert first.split() == ["1.0000", "0.50", "–", "1.30", "green", "1.mp4"]
    assert len(rest) == 2
    assert command.search([*words, "--json"], "vsalt search") == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [hit["path"] for hit in hits] == ["1.mp4"] * 3
    assert set(hits[0]) == {*Entry._fields, "similarity", "query_start_s", "query_end_s"}
    starts = [hit["start_s"] for hit in hits]
    assert min(abs(a - b) for a in starts for b in starts if a != b) >= 0.8
    assert command.search([*words], "vsalt search") == 0
    assert "of the query" in capsys.readouterr().out


def test_what_cannot_be_searched_is_refused(
    encoder: Path, source: Path, windows: Path, tmp_path: Path
) -> None:
    query = str(source.parent / "1.mp4")

    def search(*words: str) -> None:
        command.search([*words, "--device", "cpu"], "vsalt search")

    with pytest.raises(RunFolderError, match=r"has no embedding\.json; name a folder"):
        search(str(tmp_path), query)
    with pytest.raises(DecodeError, match=r"none\.mp4"):
        search(str(windows), "none.mp4")
    other = write_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(WeightsError, match="was written with other weights"):
        search(str(windows), query, "--encoder", str(other))
    longer = ClipConfig(num_frames=8, frame_step=2, size=(32, 32))
    same_weights = write_checkpoint(tmp_path / "longer", clip=longer)
    with pytest.raises(WeightsError, match=r"from other clips .* \(clip differ\)"):
        search(str(windows), query, "--encoder", str(same_weights))
    with pytest.raises(ConfigError, match="count is 0") as error:
        search(str(windows), query, "-n", "0", "--start-s", "2", "--end-s", "1")
    assert "end-s is 1.0; it must be above start-s, 2" in str(error.value)


def test_a_moved_encoder_must_be_named(encoder: Path, source: Path, tmp_path: Path) -> None:
    moved = write_checkpoint(tmp_path / "before")
    out = write(moved, source, tmp_path / "out")
    moved.rename(tmp_path / "after")
    query = str(source.parent / "1.mp4")
    with pytest.raises(WeightsError, match=r"was .*before, which is not there .* by --encoder"):
        command.search([str(out), query, "--device", "cpu"], "vsalt search")
    words = [str(out), query, "--device", "cpu", "--encoder", str(tmp_path / "after")]
    assert command.search(words, "vsalt search") == 0


def test_a_damaged_index_is_named(encoder: Path, source: Path, tmp_path: Path) -> None:
    for kind in ("safetensors", "parquet"):
        out = write(encoder, source, tmp_path / kind, format=kind)
        (out / f"embeddings-00001.{kind}").write_bytes(b"PAR1 is not enough")
        with pytest.raises(VsaltError, match="cannot be read"):
            read_index(out)
