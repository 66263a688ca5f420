"""Signals, seeds, workers and accumulation change nothing that they should not."""

import hashlib
import json
from pathlib import Path

import pytest

from support import runs


@pytest.mark.parametrize(("fault", "code"), [("term", 143), ("int", 130), ("hup", 129)])
def test_signal_finishes_the_step_and_saves(
    fault: str, code: int, videos: Path, tmp_path: Path
) -> None:
    words = [*runs.TINY_STAGE, "--data", videos, "--method", "pixel"]
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    assert runs.vsalt("pretrain", "--out", undisturbed, *words).returncode == 0
    # In the third step, where no checkpoint is due.
    stopped = runs.vsalt(
        *("pretrain", "--out", run, *words),
        prefix=(runs.FAULT_DRIVER, fault, tmp_path / "marker", "step", "3"),
    )
    assert stopped.returncode == code, stopped.stderr
    told = f"stopped after step 3 of {runs.STUDENT_STEPS}; saved. `vsalt resume {run}` goes on"
    assert told in stopped.stderr
    assert (run / "checkpoints" / "latest").read_text() == "step-3\n"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4  # 3 steps, 1 val_loss
    assert runs.vsalt("resume", run).returncode == 0
    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(undisturbed)


def test_two_runs_of_one_seed_are_identical_and_two_seeds_are_not(
    videos: Path, tmp_path: Path
) -> None:
    words = [*runs.TINY_STAGE, "--data", videos, "--method", "pixel"]
    found = {}
    for name, extra in {
        "first": (),
        "again, with workers": ("--data.workers", "2"),
        "other seed": ("--seed", "4"),
    }.items():
        run = tmp_path / name
        done = runs.vsalt("pretrain", "--out", run, *words, *extra)
        assert done.returncode == 0, done.stderr
        found[name] = runs.stage_fingerprint(run)
    assert found["first"] == found["again, with workers"]
    differing = {
        name for name in found["first"] if found["first"][name] != found["other seed"][name]
    }
    assert {"metrics", "encoder.blocks.0.attn.qkv.weight"} <= differing


def test_images_between_videos_change_nothing_of_that(
    videos: Path, pictures: Path, tmp_path: Path
) -> None:
    # Three steps of eight are of images.
    sources = ["--data", f"{videos}@5", "--data", f"{pictures}@3"]
    words = [*runs.TINY_STAGE, *sources, "--method", "pixel"]
    first, second = tmp_path / "undisturbed", tmp_path / "stopped, with workers"
    done = runs.vsalt("pretrain", "--out", first, *words)
    assert done.returncode == 0, done.stderr
    assert "37.5% of the steps are of images" in done.stdout
    stopped = runs.vsalt(
        *("pretrain", "--out", second, *words, "--data.workers", "2", "--data.cache", "ram"),
        prefix=(runs.FAULT_DRIVER, "term", tmp_path / "marker", "step", "3"),
    )
    assert stopped.returncode == 143, stopped.stderr
    assert runs.vsalt("resume", second).returncode == 0
    assert runs.stage_fingerprint(second) == runs.stage_fingerprint(first)
    records = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    shapes = [record["shape"] for record in records if record["kind"] == "train"]
    assert shapes == [*("video", "video", "image", "video", "video", "image", "video", "image")]
    validated = [record for record in records if record["kind"] == "val"]
    assert all({"val_loss_video", "val_loss_image"} <= set(record) for record in validated)
    masks = json.loads((first / "config.json").read_text())["config"]["stage"]["image_masks"]
    assert all(isinstance(masks[kind]["num_context"], int) for kind in ("short", "long"))


def test_a_run_of_images_alone_is_one_too(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = runs.vsalt(
        "pretrain", "--out", run, *runs.TINY_STAGE, "--data", pictures, "--method", "pixel"
    )
    assert done.returncode == 0, done.stderr
    assert "19 images to train on, 5 held out" in done.stdout
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {record["shape"] for record in records if record["kind"] == "train"} == {"image"}
    assert not any("val_loss_image" in record for record in records)
    assert "rankme" in records[-2]


def test_metrics_follow_the_documented_schema(videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*runs.TINY_STAGE, "--data", videos, "--method", "pixel"]
    assert runs.vsalt("pretrain", "--out", run, *words).returncode == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    counts = {"kind", "step", "clips", "flops_exact", "flops_six_nd", "bad_reads"}
    for record in records:
        if record["kind"] == "val":
            assert set(record) == counts | {"val_loss", "val_rankme", "val_lidar"}
        else:
            health = {
                *("rankme", "rankme_clips", "feature_deviation", "dead_dimensions"),
                *("cosine", "target_variance", "target_deviation"),
            }
            assert set(record) == counts | (health if record["step"] == 8 else set()) | {
                *("lr", "weight_decay", "loss", "loss_short", "loss_long"),
                *("grad_norm_encoder", "grad_norm_predictor"),
            }
        assert record["clips"] == 8 * record["step"]
    environment = json.loads((run / "environment.json").read_text())["starts"]
    assert len(environment) == 1
    assert environment[0]["threads"] == 1
    timings = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    assert [timing["step"] for timing in timings] == list(range(1, 9))
    assert all(0 <= timing["data_wait_share"] <= 1 for timing in timings)


def test_command_line_overrides_file_overrides_preset(videos: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 7\n[teacher.optim]\nlr = 0.25\nclip_norm = 3.0\n")
    run = tmp_path / "run"
    done = runs.vsalt(
        *("salt", "--data", videos, "--out", run, *runs.TINY, "--config", file),
        *("--teacher.optim.clip-norm", "2.0"),
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["seed"] == 3  # the flag of TINY
    assert config["teacher"]["optim"]["clip_norm"] == 2.0
    assert config["teacher"]["optim"]["lr"] == pytest.approx(0.25 * (8 / 16) ** 0.5)
    assert config["student"]["optim"]["clip_norm"] == 1.0  # the preset's
    # The student holds its teacher: the last checkpoint of stage 1, whole and named by its hash.
    recorded = json.loads((run / "student" / "config.json").read_text())["teacher_sha256"]
    assert len(recorded) == len(hashlib.sha256().hexdigest())
