"""Cached targets: what they hold, the runs that learn from them, and what is refused."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.outside import write as write_outside
from support.pictures import write_png
from support.runs import TINY_STAGE, stage_fingerprint
from vsalt.cli.main import main
from vsalt.data.catalogue import Catalogue
from vsalt.data.config import DataConfig
from vsalt.data.synthetic import synthesise
from vsalt.errors import DecodeError
from vsalt.targets.cache_config import CacheConfig
from vsalt.targets.frozen import FrozenTeacher
from vsalt.training.cache_targets import CacheWriter
from vsalt.training.data import StageData
from vsalt.training.locate import load_encoder
from vsalt.training.stage_folder import read_stage
from vsalt.training.target_cache import TargetCache

VIEWS = 2
CLIPS = [*("--seed", "3"), *TINY_STAGE[TINY_STAGE.index("--clip.num-frames") :]]
FEW = ["--shard-mb", "0.005", "--encode-batch", "3"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos, one of them damaged, and a teacher of other videos."""
    folder = tmp_path_factory.mktemp("cached")
    synthesise(folder / "videos", num_clips=32, seed=1, size=32, num_frames=12)
    good = str(folder / "videos" / "labels.csv")
    words = ["--method", "pixel", *TINY_STAGE, "--steps", "2", "--data", good]
    assert main(["pretrain", *words, "--out", str(folder / "teacher")]) == 0
    return folder


@pytest.fixture(scope="module")
def damaged(made: Path) -> Path:
    """The same videos, of which one to train on and one held out are damaged."""
    shutil.copytree(made / "videos", made / "damaged")
    manifest = made / "damaged" / "labels.csv"
    data = DataConfig(sources=(str(manifest),), holdout=0.2)
    catalogue = Catalogue.load(data, seed=3)
    for row in (catalogue.train[0][4], catalogue.holdout[1]):
        Path(catalogue.rows[row].path).write_bytes(b"not a video")
    return manifest


def cache(made: Path, name: str, *words: str, data: str = "videos") -> int:
    given = ["--teacher", str(made / "teacher"), "--data", str(made / data / "labels.csv")]
    given += ["--data.views", str(VIEWS), "--out", str(made / name)]
    return main(["cache-targets", *CLIPS, *given, *words])


def student(made: Path, name: str, *words: str, data: str = "videos") -> int:
    given = ["--data", str(made / data / "labels.csv"), "--out", str(made / name)]
    return main(["pretrain", "--method", "salt", *TINY_STAGE, *given, *words])


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def live(made: Path) -> Path:
    """A student of the teacher itself, over the fixed views."""
    assert student(made, "live", "--teacher", str(made / "teacher"), "--data.views", "2") == 0
    return made / "live"


@pytest.fixture(scope="module")
def exact(made: Path) -> Path:
    """A cache in float32, in several files."""
    assert cache(made, "fp32", "--format", "fp32", "--shard-mb", "0.02", "--encode-batch", "3") == 0
    assert len(list((made / "fp32").glob("train-*.bin"))) > 2
    return made / "fp32"


def batches(made: Path, folder: Path) -> Iterator[tuple[Any, TargetCache]]:
    """The training batches of a run that reads from a cache, and the cache."""
    config = read_stage(made / "from-fp32").config
    catalogue = Catalogue.load(config.data, seed=config.seed)
    found = TargetCache(folder)
    data = StageData(config, catalogue, pin_memory=False, latents=found.latents(catalogue))
    with data.batches(0, {}) as loader:
        for _, _, batch in loader:
            yield batch, found
    for held in data.holdout().values():
        with held:
            for batch in held:
                yield batch, found


@pytest.fixture(scope="module")
def from_exact(made: Path, exact: Path) -> Path:
    assert student(made, "from-fp32", "--targets", str(exact)) == 0
    return made / "from-fp32"


@pytest.mark.parametrize("kind", ["fp32", "int8", "fp8"])
def test_targets_are_the_teachers_on_the_same_pixels(
    made: Path, exact: Path, from_exact: Path, kind: str
) -> None:
    if kind != "fp32":
        assert cache(made, kind, "--format", kind) == 0
    teacher = FrozenTeacher(load_encoder(made / "teacher").encoder, "layer_norm")
    count = 0
    for batch, found in batches(made, made / kind):
        ids = torch.arange(32).expand(len(batch.rows), -1)
        wanted = teacher.open(batch.clips)(ids)
        cached = found.teacher().open_records(batch.latents)(ids)
        error = (cached - wanted).abs()
        largest = wanted.abs().amax(dim=-1, keepdim=True)
        if kind == "fp32":
            allowed = torch.full_like(error, 1e-6)
        elif kind == "int8":
            allowed = (largest / 254 + 1e-6).expand_as(error)
        else:
            allowed = torch.maximum(wanted.abs() / 16, largest / 448 / 1024) + 1e-6
        assert (error <= allowed).all()
        count += len(batch.rows)
    assert count == 8 * 8 + 6  # all steps, and the clips held out


def test_a_run_from_exact_targets_is_the_run_of_the_teacher(live: Path, from_exact: Path) -> None:
    ours, theirs = records(from_exact), records(live)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one["step"] == other["step"]
        for name in ("loss", "val_loss", "loss_short", "grad_norm_encoder", "target_variance"):
            if name in other:
                assert one[name] == pytest.approx(other[name], abs=1e-6)
    # Of another run the losses would differ by more: the first is told apart from all others.
    losses = [record["loss"] for record in theirs if "loss" in record]
    assert min(abs(losses[0] - loss) for loss in losses[1:]) > 1e-5


def test_the_teachers_operations_move_to_the_cache(
    made: Path, live: Path, exact: Path, from_exact: Path
) -> None:
    cached, usual = (
        json.loads((run / "checkpoints" / "step-8" / "meta.json").read_text())
        for run in (from_exact, live)
    )
    clips = 8 * 8
    forward = usual["flops_exact"] - cached["flops_exact"]
    assert forward > 0
    assert forward % clips == 0
    about = json.loads((exact / "targets.json").read_text())
    layout = about["layout"]
    num_views = layout["train"]["num_rows"] * VIEWS + layout["holdout"]["num_rows"]
    assert about["flops"]["flops_exact"] == forward // clips * num_views
    extra = cached["teacher_flops_exact"] - usual["teacher_flops_exact"]
    assert extra == about["flops"]["flops_exact"]
    assert cached["teacher_flops_six_nd"] > usual["teacher_flops_six_nd"]
    # What is kept beside the student is the teacher itself.
    kept = (from_exact / "teacher" / "model.safetensors").read_bytes()
    assert kept == (live / "teacher" / "model.safetensors").read_bytes()
    assert load_encoder(from_exact).seen != ()


def test_bytes_of_a_view(made: Path, exact: Path) -> None:
    assert TargetCache(exact).record()["bytes_per_view"] == 4 * 32 * 12
    rows = TargetCache(exact)._manifest["layout"]["train"]["num_rows"]
    size = sum(path.stat().st_size for path in exact.glob("train-*.bin"))
    assert size == rows * VIEWS * 4 * 32 * 12


def test_a_cached_run_goes_on_bit_for_bit(made: Path, from_exact: Path, tmp_path: Path) -> None:
    assert student(made, "two", "--targets", str(made / "fp32"), "--loop.keep-last", "3") == 0
    shutil.copytree(made / "two", tmp_path / "cut")
    run = tmp_path / "cut"
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    shutil.rmtree(last)
    for pointer in ("latest", "best"):
        (run / "checkpoints" / pointer).write_text("step-6")
    assert main(["resume", str(run)]) == 0
    assert stage_fingerprint(run) == stage_fingerprint(made / "two")


def test_a_cache_that_is_gone_or_another_one_stops_a_resumed_run(
    made: Path, exact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(exact, made / "moved")
    assert student(made, "of-moved", "--targets", str(made / "moved")) == 0
    manifest = made / "moved" / "targets.json"
    about = json.loads(manifest.read_text())
    about["shards"][0]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(about))
    assert main(["resume", str(made / "of-moved")]) == 1
    assert "are not those that this run began with" in capsys.readouterr().err
    shutil.rmtree(made / "moved")
    assert main(["resume", str(made / "of-moved")]) == 1
    assert "holds no cached targets" in capsys.readouterr().err


class TestWriting:
    def test_a_command_that_was_interrupted_ends_with_the_same_bytes(
        self, made: Path, from_exact: Path
    ) -> None:
        assert cache(made, "whole", *FEW) == 0
        expected = content(made / "whole")
        assert len(expected) > 6
        out = made / "interrupted"
        half = out / ".train-00001.bin.tmp"
        for stop_after in (1, 4, 11, 2):
            calls = itertools.count(1)

            def show(*_: int, limit: int = stop_after, calls: Iterator[int] = calls) -> None:
                if next(calls) == limit:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                writer(made).write(out, show)
            half.write_bytes(b"left by a kill")
        done = json.loads((out / "targets.json").read_text())
        assert 0 < len(done["shards"]) < len(expected) - 4
        assert cache(made, "interrupted", *FEW) == 0
        half.unlink(missing_ok=True)
        assert content(out) == expected

    @pytest.mark.slow
    def test_kills_at_any_moment(self, made: Path) -> None:
        assert cache(made, "undisturbed", *FEW) == 0
        out = made / "killed"
        given = ["--teacher", str(made / "teacher"), "--data.views", str(VIEWS)]
        given += ["--data", str(made / "videos" / "labels.csv"), "--out", str(out)]
        command = [sys.executable, "-m", "vsalt", "cache-targets", *CLIPS, *given, *FEW]
        for wait_s in (2.2, 2.4, 2.6, 2.8, 3.0, 3.2):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        assert content(out) == content(made / "undisturbed")

    @pytest.mark.slow
    def test_workers_change_nothing(self, made: Path) -> None:
        assert cache(made, "none", "--encode-batch", "3") == 0
        assert cache(made, "one", "--encode-batch", "3", "--data.workers", "1") == 0
        assert content(made / "none") == content(made / "one")

    def test_nothing_is_written_by_a_dry_run(
        self, made: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cache(made, "dry", "--dry-run") == 0
        assert "512 bytes a view" in capsys.readouterr().out
        assert not (made / "dry").exists()


def writer(made: Path) -> CacheWriter:
    """The writer of the caches with options `FEW`."""
    options = CacheConfig(shard_mb=0.005, encode_batch=3)
    return CacheWriter(read_stage(made / "from-fp32").config, made / "teacher", options)


FAIR = ["--data.max-bad-share", "1"]


@pytest.fixture(scope="module")
def holes(made: Path, damaged: Path) -> Path:
    """A cache of which two clips are missing."""
    assert cache(made, "holes", "--format", "fp32", *FAIR, data="damaged") == 0
    return made / "holes"


def test_a_cache_says_what_it_has_left_out(
    made: Path, holes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache(made, "holes", "--format", "fp32", *FAIR, data="damaged") == 0
    assert "2 clips could not be read and have no targets" in capsys.readouterr().out


def test_clips_that_cannot_be_read_are_replaced_as_ever(made: Path, holes: Path) -> None:
    live = ["--teacher", str(made / "teacher"), "--data.views", str(VIEWS)]
    assert student(made, "live-holes", *live, *FAIR, data="damaged") == 0
    assert (
        student(made, "cached-holes", "--targets", str(made / "holes"), *FAIR, data="damaged") == 0
    )
    ours, theirs = records(made / "cached-holes"), records(made / "live-holes")
    assert theirs[-1]["bad_reads"] > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one["bad_reads"] == other["bad_reads"]
        name = "loss" if "loss" in other else "val_loss"
        assert one[name] == pytest.approx(other[name], abs=1e-6)


def test_a_clip_that_was_mended_has_no_targets_still(holes: Path, damaged: Path) -> None:
    """What the cache left out stays left out, or pixels and targets would not belong together."""
    found = TargetCache(holes)
    data = DataConfig(sources=(str(damaged),), holdout=0.2)
    catalogue = Catalogue.load(data, seed=3)
    train, holdout = found.latents(catalogue)
    with pytest.raises(DecodeError, match="it has no cached targets"):
        train.read(catalogue.train[0][4], 0, "x")
    with pytest.raises(DecodeError, match="it has no cached targets"):
        holdout.read(catalogue.holdout[1], 0, "x")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "4"], "seed: 3 in the cache, 4 here"),
        (["--clip.frame-step", "1"], "clip.frame_step: 2 in the cache, 1 here"),
        (["--data.flip", "0"], "data.flip: 0.5 in the cache, 0.0 here"),
        (["--data.crop-scale", "0.5", "1"], r"data.crop_scale: [0.3, 1.0] in the cache"),
        (["--data.views", "3"], "data.views: 2 in the cache, 3 here"),
        (["--method.target-norm", "none"], "method.target_norm: layer_norm in the cache"),
        (["--method.teacher-layer", "0"], "method.teacher_layer: -1 in the cache, 0 here"),
        (["--data.holdout", "0.3"], "data.holdout: 0.2 in the cache, 0.3 here"),
        (["--data.use-test"], "data.use_test: False in the cache, True here"),
        (["--still-frames"], "still_frames: False in the cache, True here"),
    ],
)
def test_other_views_are_refused(
    made: Path, exact: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert student(made, "refused", "--targets", str(exact), *words) == 1
    error = capsys.readouterr().err
    assert "do not belong to this run" in error
    assert message in error
    assert not (made / "refused").exists()


def test_other_rows_and_files_are_refused(
    made: Path, exact: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert student(made, "refused", "--targets", str(exact), data="damaged") == 1
    error = capsys.readouterr().err
    assert "--data: other files (names or sizes) in the cache" in error
    assert "other rows" not in error
    shutil.copytree(made / "videos", made / "fewer")
    manifest = made / "fewer" / "labels.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    assert student(made, "refused", "--targets", str(exact), data="fewer") == 1
    assert "--data: other rows" in capsys.readouterr().err


def test_another_teacher_is_refused(
    made: Path, exact: Path, live: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--targets", str(exact), "--teacher"]
    assert student(made, "refused", *both, str(live)) == 1
    assert "are of another teacher than --teacher" in capsys.readouterr().err
    assert student(made, "with-both", *both, str(made / "teacher"), "--steps", "1") == 0
    assert cache(made, "fp32", "--format", "fp32", "--teacher", str(live)) == 1
    error = capsys.readouterr().err
    assert "begun with other settings" in error
    assert "--teacher: other weights or preprocessing" in error


def test_what_cannot_be_used_is_refused(
    made: Path, exact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(code: int, message: str) -> None:
        assert code == 1
        assert message in capsys.readouterr().err

    fails(student(made, "refused", "--targets", str(tmp_path)), "holds no cached targets")
    shutil.copytree(exact, tmp_path / "half")
    manifest = tmp_path / "half" / "targets.json"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    fails(student(made, "refused", "--targets", str(tmp_path / "half")), "are not finished")
    manifest.write_text(manifest.read_text().replace('"complete": false', '"complete": true'))
    file = tmp_path / "half" / "train-00001.bin"
    file.write_bytes(file.read_bytes()[1:])
    fails(student(made, "refused", "--targets", str(tmp_path / "half")), "write the cache anew")
    pixel = ["pretrain", "--method", "pixel", *TINY_STAGE, "--out", str(made / "refused")]
    pixel += ["--data", str(made / "videos" / "labels.csv"), "--targets", str(exact)]
    fails(main(pixel), "--targets means nothing to method pixel")
    fails(student(made, "refused"), "or --targets FOLDER")
    fails(cache(made, "new", "--encoder.tubelet", "1", "8", "8"), "the teacher's tubelets are")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    fails(cache(made, "x", "--out", str(tmp_path / "full")), "is not empty")


def test_a_finished_cache_is_verified_when_it_is_asked_for_again(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache(made, "again") == 0
    before = content(made / "again")
    assert cache(made, "again") == 0
    assert content(made / "again") == before
    assert "2 files had been written before" in capsys.readouterr().out
    file = made / "again" / "train-00000.bin"
    data = bytearray(file.read_bytes())
    data[77] ^= 1
    file.write_bytes(data)
    assert cache(made, "again") == 1
    assert "train-00000.bin has changed since it was written" in capsys.readouterr().err


def test_images_are_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "pictures").mkdir()
    noise = np.random.default_rng(0)
    for index in range(4):
        pixels = noise.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        write_png(made / "pictures" / f"{index}.png", pixels)
    assert cache(made, "new", "--data", str(made / "pictures")) == 1
    assert "--data has images; targets are cached for videos only" in capsys.readouterr().err


@pytest.mark.slow
def test_a_teacher_from_elsewhere(made: Path) -> None:
    write_outside(made / "theirs", "videomae")
    words = ["--teacher", f"hf:{made / 'theirs'}"]
    assert cache(made, "hf", *words, "--format", "fp32") == 0
    assert student(made, "live-hf", *words, "--data.views", str(VIEWS), "--steps", "3") == 0
    assert student(made, "from-hf", "--targets", str(made / "hf"), "--steps", "3") == 0
    for one, other in zip(records(made / "from-hf"), records(made / "live-hf"), strict=True):
        name = "loss" if "loss" in other else "val_loss"
        assert one[name] == pytest.approx(other[name], abs=1e-6)
    config = json.loads((made / "from-hf" / "config.json").read_text())
    assert (
        config["teacher_sha256"]
        == json.loads((made / "live-hf" / "config.json").read_text())["teacher_sha256"]
    )
    live = json.loads((made / "live-hf" / "config.json").read_text())
    assert config["teacher_outside"] == live["teacher_outside"]
    assert config["teacher_outside"]["source"] == "theirs"
    assert (made / "from-hf" / "teacher" / "transformers" / "config.json").is_file()
