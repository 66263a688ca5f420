"""Embeddings on disk: what they hold, and that killing the process changes nothing."""

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from support.encoders import CLIP, write_checkpoint, write_video
from vsalt import durable
from vsalt.cli import embed as command
from vsalt.data.config import ReadLimits
from vsalt.data.manifest import read_source
from vsalt.embedding.embed import EmbedOptions, EmbedResult, embed
from vsalt.errors import ConfigError, RunFolderError
from vsalt.training.extract import (
    ExtractConfig,
    WindowConfig,
    encoder_features,
    extract_features,
    plan_windows,
)
from vsalt.training.locate import load_encoder

LENGTHS = (20, 33, 6, 12, 40, 9, 15)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("encoder") / "step-7")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of seven readable videos and one that is not, after the third and at the end."""
    folder = tmp_path_factory.mktemp("videos")
    lines = []
    for index, length in enumerate(LENGTHS):
        write_video(folder / f"{index}.mp4", (30 * index, 100, 150), num_frames=length, seed=index)
        lines.append(json.dumps({"path": f"{index}.mp4", "label": "ab"[index % 2]}))
    (folder / "bad.mp4").write_bytes(b"not a video")
    bad = json.dumps({"path": "bad.mp4"})
    manifest = folder / "videos.jsonl"
    manifest.write_text("\n".join([*lines[:3], bad, *lines[3:], bad]) + "\n")
    return manifest


def options(
    *, shard_size: int | None = 2, batch_size: int = 3, workers: int = 0, format="safetensors",
    dense="none", **windows,
):  # fmt: skip
    extract = ExtractConfig(
        windows=WindowConfig(**windows), batch_size=batch_size, workers=workers, device="cpu"
    )
    return EmbedOptions(extract=extract, shard_size=shard_size, format=format, dense=dense)


def run(encoder: Path, source: Path, out: Path, **settings) -> EmbedResult:
    return embed(load_encoder(encoder), source, out, options(**settings))


def read(out: Path) -> tuple[torch.Tensor, list[dict], list[dict], dict]:
    shards = sorted(out.glob("embeddings-*.safetensors"))
    embeddings = torch.cat([load_file(shard)["embeddings"] for shard in shards])
    index, bad = (
        [json.loads(line) for line in (out / name).read_text().splitlines()]
        for name in ("index.jsonl", "bad.jsonl")
    )
    return embeddings, index, bad, json.loads((out / "embedding.json").read_text())


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != ".lock"}


def test_a_clip_has_one_embedding(encoder: Path, source: Path, tmp_path: Path) -> None:
    result = run(encoder, source, tmp_path / "out")
    assert result == EmbedResult(num_rows=9, num_resumed=0, num_embeddings=7, num_unreadable=2)
    embeddings, index, bad, manifest = read(tmp_path / "out")

    loaded = load_encoder(encoder)
    rows = [row for row in read_source(source).rows if row.relative_path != "bad.mp4"]
    plan = plan_windows(rows, CLIP, WindowConfig())
    config = ExtractConfig(batch_size=1, device="cpu")
    single = extract_features(
        [encoder_features(loaded.encoder, config)], rows, plan, clip=CLIP, config=config
    )
    expected = torch.cat([row.features[0] for row in single])
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)

    assert [entry["path"] for entry in index] == [f"{number}.mp4" for number in range(7)]
    assert [entry["source_row"] for entry in index] == [0, 1, 2, 4, 5, 6, 7]
    assert [entry["label"] for entry in index] == list("abababa")
    assert [(entry["start_s"], entry["end_s"]) for entry in index] == [
        pytest.approx(windows.spans_s[0]) for windows in plan
    ]
    # Shards of two rows; the fourth and the last row are unreadable.
    sizes = [2, 1, 2, 2, 0]
    assert [shard["num_embeddings"] for shard in manifest["shards"]] == sizes
    assert [(entry["shard"], entry["row"]) for entry in index] == [
        (f"embeddings-{shard:05d}.safetensors", row)
        for shard, size in enumerate(sizes)
        for row in range(size)
    ]
    assert [(entry["source_row"], entry["path"]) for entry in bad] == [
        (3, "bad.mp4"),
        (8, "bad.mp4"),
    ]
    assert "Invalid data" in bad[0]["error"]
    assert manifest["complete"] is True
    settings = manifest["settings"]
    assert settings["encoder_sha256"] == loaded.sha256
    assert settings["pooling"] == "mean"
    assert settings["num_features"] == 24
    assert settings["preprocessing"]["clip"]["frame_step"] == 2
    assert (manifest["checkpoint"], manifest["step"]) == (str(encoder), 7)


def test_a_window_has_one_embedding_with_its_times(
    encoder: Path, source: Path, tmp_path: Path
) -> None:
    run(encoder, source, tmp_path / "out", stride_s=0.5, shard_size=4)
    embeddings, index, _, manifest = read(tmp_path / "out")
    assert len(embeddings) == len(index) == sum(s["num_embeddings"] for s in manifest["shards"])
    own = [entry for entry in index if entry["path"] == "1.mp4"]
    assert [entry["start_s"] for entry in own] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert [entry["end_s"] for entry in own] == pytest.approx([0.8, 1.3, 1.8, 2.3, 2.8, 3.3])
    # 0.mp4 has 4 windows, 1.mp4 has 6, and rows are not torn.
    assert [shard["num_embeddings"] for shard in manifest["shards"][:2]] == [4, 6]

    row = next(row for row in read_source(source).rows if row.relative_path == "1.mp4")
    part = replace(row, start_s=1.0, end_s=1.8)
    plan = plan_windows([part], CLIP, WindowConfig())
    config = ExtractConfig(batch_size=1, device="cpu")
    loaded = load_encoder(encoder)
    (single,) = extract_features(
        [encoder_features(loaded.encoder, config)], [part], plan, clip=CLIP, config=config
    )
    torch.testing.assert_close(embeddings[4 + 2], single.features[0][0], atol=1e-5, rtol=0)


def test_segments_are_averaged(encoder: Path, source: Path, tmp_path: Path) -> None:
    run(encoder, source, tmp_path / "one", per_row=3)
    averaged, index, _, _ = read(tmp_path / "one")
    rows = read_source(source).rows[:1]
    plan = plan_windows(rows, CLIP, WindowConfig(per_row=3))
    config = ExtractConfig(windows=WindowConfig(per_row=3), batch_size=1, device="cpu")
    loaded = load_encoder(encoder)
    (row,) = extract_features(
        [encoder_features(loaded.encoder, config)], rows, plan, clip=CLIP, config=config
    )
    assert row.features[0].shape == (3, 24)
    torch.testing.assert_close(averaged[0], row.features[0].mean(dim=0), atol=1e-5, rtol=0)
    assert (index[0]["start_s"], index[0]["end_s"]) == (
        plan[0].spans_s[0][0],
        plan[0].spans_s[2][1],
    )


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from vsalt.cli.main import main
    from vsalt.embedding import writer

    place, count, marker = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])

    def die():
        marker.write_text(place)
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(owner, name, is_due, before=None):
        original, seen = getattr(owner, name), [0]
        def wrapped(*args, **kwargs):
            if is_due(*args):
                seen[0] += 1
                if seen[0] == count:
                    (before or (lambda *_: None))(*args)
                    die()
            return original(*args, **kwargs)
        setattr(owner, name, wrapped)

    def half_a_line(path, records):
        with open(path, "a") as file:
            file.write('{"shard": "embeddings-0')

    ends = lambda end: lambda *args: str(args[-1]).endswith(end)
    if place.startswith("before the rename of the "):
        counted(os, "replace", ends((".safetensors", ".parquet")))
    elif place.startswith("amid the lines of "):
        name = place.rpartition(" ")[2]
        counted(writer, "_append", lambda path, _: path.name == name, half_a_line)
    elif place == "before the shard is listed":
        counted(os, "replace", ends("embedding.json"))
    elif place == "between shards":
        counted(writer.EmbeddingWriter, "write_shard", lambda *_: True)
    sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.parametrize(
    ("place", "count", "format", "dense"),
    [
        ("before the rename of the tensors", 1, "safetensors", "none"),
        ("amid the lines of index.jsonl", 2, "safetensors", "none"),
        ("before the shard is listed", 3, "safetensors", "float16"),
        ("between shards", 3, "safetensors", "none"),
        ("before the rename of the table", 2, "parquet", "none"),
        ("amid the lines of bad.jsonl", 2, "parquet", "float32"),
    ],
)
def test_a_killed_process_goes_on_to_the_same_bytes(
    encoder: Path, source: Path, tmp_path: Path, place: str, count: int, format: str, dense: str
) -> None:
    words = ["--encoder", str(encoder), "--data", str(source), "--shard-size", "2"]
    words += ["--format", format, "--dense", dense]
    words += ["--batch-size", "3", "--workers", "0", "--device", "cpu", "--out"]
    run(encoder, source, tmp_path / "whole", format=format, dense=dense)
    marker, out = tmp_path / "marker", tmp_path / "killed"
    program = [sys.executable, "-c", textwrap.dedent(KILLED), place, str(count), str(marker)]
    killed = subprocess.run([*program, "embed", *words, str(out)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert marker.read_text() == place
    assert contents(out) != contents(tmp_path / "whole")

    assert command.embed([*words, str(out)], "vsalt embed") == 1
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_folder_stays_as_it_is(encoder: Path, source: Path, tmp_path: Path) -> None:
    first = run(encoder, source, tmp_path / "out")
    before = contents(tmp_path / "out")
    again = run(encoder, source, tmp_path / "out")
    assert again == replace(first, num_resumed=9)
    assert contents(tmp_path / "out") == before


def test_other_settings_are_refused(encoder: Path, source: Path, tmp_path: Path) -> None:
    run(encoder, source, tmp_path / "out")
    with pytest.raises(RunFolderError, match=r"batch_size: 3 there, 4 now\Z"):
        run(encoder, source, tmp_path / "out", batch_size=4)
    with pytest.raises(RunFolderError, match=r"windows\.stride_s: None there, 0\.5 now"):
        run(encoder, source, tmp_path / "out", stride_s=0.5)
    strict = options()
    strict = replace(strict, extract=replace(strict.extract, limits=ReadLimits(max_fps=50.0)))
    with pytest.raises(RunFolderError, match=r"limits\.max_fps: 1000\.0 there, 50\.0 now\Z"):
        embed(load_encoder(encoder), source, tmp_path / "out", strict)
    patient = replace(strict, extract=replace(strict.extract, limits=ReadLimits(timeout_s=99.0)))
    embed(load_encoder(encoder), source, tmp_path / "out", patient)
    other = write_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(RunFolderError, match="encoder_sha256: "):
        run(other, source, tmp_path / "out")
    fewer = source.with_name("fewer.jsonl")
    fewer.write_text("\n".join(source.read_text().splitlines()[:4]) + "\n")
    with pytest.raises(RunFolderError, match="num_rows: 9 there, 4 now\n  rows_sha256"):
        run(encoder, fewer, tmp_path / "out")
    moved = tmp_path / "moved"
    encoder.rename(moved)
    run(moved, source, tmp_path / "out")
    moved.rename(encoder)


def test_a_folder_from_before_there_were_formats_goes_on(
    encoder: Path, source: Path, tmp_path: Path
) -> None:
    run(encoder, source, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "embedding.json").read_text())
    del manifest["settings"]["format"], manifest["settings"]["dense"]
    manifest["shards"], manifest["complete"] = manifest["shards"][:2], False
    (tmp_path / "out" / "embedding.json").write_text(json.dumps(manifest))
    result = run(encoder, source, tmp_path / "out")
    assert (result.num_resumed, result.num_embeddings) == (4, 7)
    with pytest.raises(RunFolderError, match="format: safetensors there, parquet now"):
        run(encoder, source, tmp_path / "out", format="parquet")
    with pytest.raises(RunFolderError, match="dense: none there, float16 now"):
        run(encoder, source, tmp_path / "out", dense="float16")


def test_folders_that_cannot_be_used(encoder: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"is not empty and has no embedding\.json"):
        run(encoder, source, tmp_path / "full")
    (tmp_path / "held").mkdir()
    with (
        durable.hold(tmp_path / "held"),
        pytest.raises(RunFolderError, match="in use by process"),
    ):
        run(encoder, source, tmp_path / "held")
    run(encoder, source, tmp_path / "out")
    (tmp_path / "out" / "embeddings-00001.safetensors").unlink()
    with pytest.raises(RunFolderError, match=r"not there: embeddings-00001\.safetensors"):
        run(encoder, source, tmp_path / "out")
    run(encoder, source, tmp_path / "short")
    (tmp_path / "short" / "index.jsonl").write_text("")
    with pytest.raises(RunFolderError, match=r"index\.jsonl has fewer lines"):
        run(encoder, source, tmp_path / "short")
    with pytest.raises(ConfigError, match="shard-size is 0"):
        options(shard_size=0)
    with pytest.raises(ConfigError, match="a map of tokens is of one window"):
        options(dense="float16", per_row=2)


def test_the_command_says_what_it_did(
    encoder: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--encoder", str(encoder), "--data", str(source), "--out", str(tmp_path / "out")]
    words += ["--workers", "0", "--device", "cpu"]
    assert command.embed(words, "vsalt embed") == 1
    out = capsys.readouterr().out
    assert f"7 embeddings of 9 rows in {tmp_path / 'out'}" in out
    assert f"2 rows could not be read: see {tmp_path / 'out' / 'bad.jsonl'}" in out
    assert command.embed([*words, "--skip-bad"], "vsalt embed") == 0
    assert "9 rows had been done before" in capsys.readouterr().out
    strict = [*words, "--out", str(tmp_path / "strict"), "--limits.max-pixels", "100"]
    assert command.embed(strict, "vsalt embed") == 1
    assert "0 embeddings of 9 rows" in capsys.readouterr().out
