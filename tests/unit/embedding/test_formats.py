"""Embeddings as Parquet and maps of tokens, read by others' readers."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars
import pyarrow.parquet
import pytest
import torch
from safetensors.numpy import load_file

import vsalt
from support.encoders import TINY, write_checkpoint, write_video
from vsalt.embedding import embed as embed_module
from vsalt.embedding.embed import EmbedOptions, embed
from vsalt.errors import DataError, VsaltError
from vsalt.training.extract import ExtractConfig, WindowConfig
from vsalt.training.locate import load_encoder

LENGTHS = (20, 33, 6)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, one without a label, and a file that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for index, length in enumerate(LENGTHS):
        write_video(folder / f"{index}.mp4", (60 * index, 90, 150), num_frames=length, seed=index)
    (folder / "bad.mp4").write_bytes(b"not a video")
    manifest = folder / "videos.csv"
    manifest.write_text("path,label\n0.mp4,a\nbad.mp4,a\n1.mp4,\n2.mp4,é\n")
    return manifest


def write(encoder: Path, source: Path, out: Path, *, stride_s=None, **settings) -> Path:
    extract = ExtractConfig(windows=WindowConfig(stride_s=stride_s), batch_size=3, device="cpu")
    options = EmbedOptions(extract=extract, shard_size=2, **settings)
    embed(load_encoder(encoder), source, out, options)
    return out


@pytest.fixture(scope="module")
def folders(
    encoder: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same sliding windows in both formats."""
    out = tmp_path_factory.mktemp("out")
    return {
        kind: write(encoder, source, out / kind, stride_s=0.5, format=kind)
        for kind in ("safetensors", "parquet")
    }


def tensors(folder: Path, name: str = "embeddings") -> np.ndarray:
    return np.concatenate([load_file(path)[name] for path in sorted(folder.glob("*.safetensors"))])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_formats_say_the_same(folders: dict[str, Path]) -> None:
    tables = [pyarrow.parquet.read_table(path) for path in sorted(folders["parquet"].glob("*.pa*"))]
    assert len(tables) == len(list(folders["safetensors"].glob("*.safetensors"))) == 3
    rows = [row for table in tables for row in table.to_pylist()]
    found = np.array([row.pop("embedding") for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(found, tensors(folders["safetensors"]))
    index = lines(folders["safetensors"] / "index.jsonl")
    assert rows == [
        {key: value for key, value in entry.items() if key not in ("shard", "row")}
        for entry in index
    ]
    assert [rows[index]["label"] for index in (0, 4, 10)] == ["a", None, "é"]
    assert not (folders["parquet"] / "index.jsonl").exists()
    bad = [lines(folder / "bad.jsonl") for folder in folders.values()]
    assert bad[0] == bad[1]
    assert [entry["path"] for entry in bad[0]] == ["bad.mp4"]
    settings = json.loads((folders["parquet"] / "embedding.json").read_text())["settings"]
    assert json.loads(tables[0].schema.metadata[b"vsalt"]) == settings


def test_polars_and_duckdb_open_it(folders: dict[str, Path]) -> None:
    expected = tensors(folders["safetensors"])
    files = str(folders["parquet"] / "*.parquet")
    table = polars.read_parquet(files)
    assert table.columns == ["path", "label", "start_s", "end_s", "source_row", "embedding"]
    np.testing.assert_array_equal(table["embedding"].to_numpy(), expected)
    assert (
        table.filter(polars.col("start_s") >= 1.0)["path"].to_list()
        == ["0.mp4"] * 2 + ["1.mp4"] * 4
    )
    found = duckdb.execute(
        "select path, start_s, array_cosine_similarity(embedding::float[24], ?::float[24]) as near "
        "from read_parquet(?) order by near desc",
        [expected[5].tolist(), files],
    ).fetchall()
    assert found[0][0] == "1.mp4"
    assert found[0][2] == pytest.approx(1.0, abs=1e-5)
    assert len(found) == len(expected)


@pytest.mark.parametrize("kind", ["safetensors", "parquet"])
@pytest.mark.parametrize("dense", ["float16", "float32"])
def test_maps_of_tokens_are_those_of_the_encoder(
    encoder: Path, source: Path, tmp_path: Path, kind: str, dense: str
) -> None:
    folder = write(encoder, source, tmp_path / "out", format=kind, dense=dense)
    settings = json.loads((folder / "embedding.json").read_text())["settings"]
    assert settings["map_shape"] == [2, 4, 4, 24]
    expected = vsalt.load(encoder, device="cpu")
    paths = [source.parent / f"{index}.mp4" for index in range(3)]
    if kind == "safetensors":
        maps, pooled = tensors(folder, "tokens"), tensors(folder)
    else:
        table = polars.read_parquet(str(folder / "*.parquet"))
        maps, pooled = (np.stack(table[name].to_numpy()) for name in ("tokens", "embedding"))
        maps = maps.reshape(-1, *settings["map_shape"])
    assert maps.dtype == np.dtype(dense)
    tolerance = 1e-5 if dense == "float32" else 2e-3
    np.testing.assert_allclose(maps, expected.tokens(paths), atol=tolerance, rtol=1e-3)
    np.testing.assert_allclose(pooled, expected.embed(paths), atol=1e-5, rtol=0)


def test_layers_lie_side_by_side_in_the_order_asked_for(source: Path, tmp_path: Path) -> None:
    deep = write_checkpoint(tmp_path / "deep", encoder=replace(TINY, depth=2))
    settings = {"pooling": "mean_space", "layers": (1, 0)}
    extract = ExtractConfig(device="cpu", **settings)
    embed(
        load_encoder(deep), source, tmp_path / "out", EmbedOptions(extract=extract, dense="float32")
    )
    maps, pooled = tensors(tmp_path / "out", "tokens"), tensors(tmp_path / "out")
    assert (maps.shape, pooled.shape) == ((3, 2, 4, 4, 48), (3, 96))
    paths = [source.parent / f"{index}.mp4" for index in range(3)]
    both = [vsalt.load(deep, device="cpu", layers=(layer,)).tokens(paths) for layer in (1, 0)]
    np.testing.assert_allclose(maps, np.concatenate(both, axis=-1), atol=1e-5, rtol=0)
    together = vsalt.load(deep, device="cpu", **settings)
    np.testing.assert_allclose(together.tokens(paths), maps, atol=1e-5, rtol=0)
    by_time = [tokens.mean(axis=(2, 3)).reshape(3, -1) for tokens in both]
    np.testing.assert_allclose(pooled, np.concatenate(by_time, axis=-1), atol=1e-5, rtol=0)
    np.testing.assert_allclose(together.embed(paths), pooled, atol=1e-5, rtol=0)


def test_maps_change_no_embedding(encoder: Path, source: Path, tmp_path: Path) -> None:
    plain = write(encoder, source, tmp_path / "plain", stride_s=0.5)
    dense = write(encoder, source, tmp_path / "dense", stride_s=0.5, dense="float16")
    np.testing.assert_array_equal(tensors(plain), tensors(dense))


def test_duckdb_reads_maps(encoder: Path, source: Path, tmp_path: Path) -> None:
    folder = write(encoder, source, tmp_path / "out", format="parquet", dense="float32")
    files = str(folder / "*.parquet")
    found = duckdb.execute("select tokens from read_parquet(?)", [files]).fetchall()
    table = polars.read_parquet(files)
    np.testing.assert_array_equal(np.array(found)[:, 0], table["tokens"].to_numpy())


def test_shards_of_maps_are_small_by_default() -> None:
    options = EmbedOptions(dense="float16")
    # ViT-L at 16 x 224²: 1568 tokens of 1024 channels, 3.2 MB.
    assert options.rows_per_shard((8, 14, 14, 1024)) == 83
    assert EmbedOptions(dense="float32").rows_per_shard((8, 14, 14, 1024)) == 41
    assert options.rows_per_shard((2, 4, 4, 24)) == EmbedOptions().rows_per_shard((8, 14, 14, 1024))
    assert EmbedOptions(shard_size=5, dense="float16").rows_per_shard((8, 14, 14, 1024)) == 5


def test_maps_that_cannot_fit_are_refused_before_work(
    encoder: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_module, "free_memory_bytes", lambda: 10_000)
    with pytest.raises(DataError, match=r"the 6 windows of .*1\.mp4 take .* raise --window-stride"):
        write(encoder, source, tmp_path / "out", stride_s=0.5, dense="float16")


def test_without_pyarrow_nothing_is_begun(
    encoder: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(VsaltError, match=r"pip install 'vsalt\[parquet\]'"):
        write(encoder, source, tmp_path / "out", format="parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["path", "label"])
def test_names_that_are_not_utf_8_are_refused_before_work_or_kept(
    encoder: Path, source: Path, tmp_path: Path, where: str
) -> None:
    odd = "odd" + os.fsdecode(b"\xff")
    folder = tmp_path / "videos" / (odd if where == "label" else "plain")
    folder.mkdir(parents=True)
    shutil.copy(source.with_name("0.mp4"), folder / f"{odd if where == 'path' else 'plain'}.mp4")
    with pytest.raises(DataError, match=r"odd\\udcff.* not UTF-8, as text in Parquet must be"):
        write(encoder, folder.parent, tmp_path / "table", format="parquet")
    assert not (tmp_path / "table").exists()
    kept = write(encoder, folder.parent, tmp_path / "kept")
    (entry,) = lines(kept / "index.jsonl")
    assert odd in entry["path"]


def test_an_empty_shard_can_be_read(encoder: Path, source: Path, tmp_path: Path) -> None:
    manifest = source.with_name("bad.csv")
    manifest.write_text("path\nbad.mp4\n")
    folder = write(encoder, manifest, tmp_path / "out", format="parquet", dense="float32")
    table = polars.read_parquet(str(folder / "*.parquet"))
    assert table.height == 0
    assert torch.Size(table["embedding"].dtype.shape) == (24,)
