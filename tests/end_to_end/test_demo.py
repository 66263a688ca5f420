"""The whole demo, tiny: every file that it promises, and numbers that agree with each other."""

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support import runs
from vsalt.cli.demo_summary import ROWS, TASKS

WORDS = ["--num-clips", "128", "--labels", "64", "--steps", "3:4", "--seed", "2"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "out"
    process = runs.vsalt("demo", "--out", out, *WORDS)
    assert process.returncode == 0, process.stderr
    return out, process.stdout


def test_everything_is_there(done: tuple[Path, str]) -> None:
    out, _ = done
    names = (".lock", "demo.json", "embeddings", "labels.csv", "probe-appearance", "probe-motion")
    names += ("report.html", "run", "summary.json", "videos")
    assert sorted(path.name for path in out.iterdir()) == [*names]
    embeddings = load_file(out / "embeddings" / "embeddings-00000.safetensors")["embeddings"]
    assert len(embeddings) == 128
    page = (out / "report.html").read_text()
    for name in ("student", "teacher", "raw pixels", "frame differences"):
        assert name in page
    for stage, steps in (("teacher", 3), ("student", 4)):
        assert (out / "run" / stage / "checkpoints" / f"step-{steps}").is_dir()


def test_the_summary_is_what_the_files_say(done: tuple[Path, str]) -> None:
    out, _ = done
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["seconds", "train_flops", "chance", "encoders"]
    assert list(summary["encoders"]) == list(ROWS)
    assert summary["chance"] == {"motion": 1 / 8, "appearance": 1 / 4}
    flops = 0
    for stage in ("teacher", "student"):
        last = (out / "run" / stage / "metrics.jsonl").read_text().splitlines()[-1]
        flops += json.loads(last)["flops_exact"]
    assert summary["train_flops"] == flops > 0
    for task in TASKS:
        probe = json.loads((out / f"probe-{task}" / "probe.json").read_text())
        (part,) = probe["parts"]
        assert part["num_fit"] + part["num_selection"] == 64
        assert part["num_test"] == 32
        assert probe["options"]["seed"] == 2
        entries = {entry["name"]: entry for entry in probe["encoders"]}
        roles = {name: entry["role"] for name, entry in entries.items()}
        assert roles == {
            "student": "trained",
            "teacher": "trained",
            "random init": "random-init",
            "raw pixels": "floor",
            "frame differences": "floor",
        }
        for key, name in ROWS.items():
            metrics = entries[name]["metrics"]
            found = summary["encoders"][key][task]
            assert found["accuracy"] == metrics["accuracy"]
            assert found["ci95"] == [metrics["interval"]["low"], metrics["interval"]["high"]]
            assert found["ci95"][0] <= found["accuracy"] <= found["ci95"][1]
        assert entries["student"]["exposure"]["kind"] == "inductive"


def test_it_says_what_it_does_and_what_is_next(done: tuple[Path, str]) -> None:
    out, said = done
    for text in (
        "this takes about",
        "the probes will see 64 labels, the encoders none",
        "teacher: step 3/3",
        "student: step 4/4",
        "frame differences",
        f"report:  {out / 'report.html'}",
        "next:    vsalt salt --data YOUR_VIDEOS",
        "vsalt demo --long",
    ):
        assert text in said


def test_a_second_demo_touches_nothing(done: tuple[Path, str]) -> None:
    out, _ = done
    before = (out / "summary.json").read_bytes()
    process = runs.vsalt("demo", "--out", out)
    assert process.returncode == 1
    assert "is not an empty folder; choose another --out, or remove it" in process.stderr
    assert (out / "summary.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_again_and_again_it_becomes_the_same_demo(
    done: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    # Kills: the videos are made but not listed; in the student; after the first probe's heads
    # are written; between the probes; at the very end.
    places = [("/videos/labels.csv", 1), ("step", 5), ("/probe-motion/probe.json", 1)]
    places += [("/probe-appearance/probe.json", 1), ("/summary.json", 1)]
    before = 0.0
    for place, count in places:
        killed = runs.vsalt(
            *("demo", "--out", out, *WORDS),
            prefix=(runs.FAULT_DRIVER, "kill", tmp_path / "marker", place, str(count)),
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        spent = json.loads((out / "demo.json").read_text())["seconds"]
        assert spent >= before
        before = spent
    assert "128 videos were made before" in killed.stdout
    assert "teacher: step" not in killed.stdout
    assert "student: all 4 steps were done before" in killed.stdout
    assert "motion was probed before" in killed.stdout
    last = runs.vsalt("demo", "--out", out, *WORDS)
    assert last.returncode == 0, last.stderr
    assert "appearance was probed before" in last.stdout

    summary, undisturbed = (
        json.loads((folder / "summary.json").read_text()) for folder in (out, done[0])
    )
    assert summary.pop("seconds") >= before > 0
    undisturbed.pop("seconds")
    assert summary == undisturbed
    assert runs.fingerprint(out / "run") == runs.fingerprint(done[0] / "run")
    names = {path.relative_to(done[0]) for path in done[0].rglob("*")}
    assert {path.relative_to(out) for path in out.rglob("*")} == names
    (vectors, others) = (
        (folder / "embeddings" / "embeddings-00000.safetensors").read_bytes()
        for folder in (out, done[0])
    )
    assert vectors == others
