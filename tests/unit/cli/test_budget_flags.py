"""Budgets as flags of `vsalt salt` and `vsalt pretrain`: what is planned, what is refused."""

import json
from pathlib import Path

import pytest

from vsalt.cli import pretrain
from vsalt.cli.budget_args import budget_of
from vsalt.data.synthetic import synthesise
from vsalt.errors import ConfigError
from vsalt.presets import salt_preset
from vsalt.training import apply_budget
from vsalt.training.budget import flops_of


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos") / "set"
    synthesise(folder, num_clips=24, num_frames=16, size=32, fps=12)
    return folder / "labels.csv"


def plan_of(
    videos: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, list[str]], str]:
    """The plan of a dry run by row, and all that is printed."""
    begin = ["--data", str(videos), "--out", str(videos.parent / "run"), "--preset", "demo"]
    pretrain.salt([*begin, "--dry-run", *words], "vsalt salt")
    printed = capsys.readouterr().out
    lines = [line.split("│")[1:-1] for line in printed.splitlines() if "│" in line]
    return {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}, printed


def test_a_budget_in_flops_gives_steps_clips_and_hours(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = flops_of(salt_preset("demo")) / 100
    words = ["--budget-flops", repr(budget), "--flops-per-second", "1e9"]
    rows, printed = plan_of(videos, words, capsys)
    assert rows["steps"] == ["12", "16", "28"]
    assert rows["clips"] == ["384", "512", "896"]
    assert float(rows["FLOPs, exact"][-1]) == pytest.approx(budget, rel=0.005)
    assert float(rows["hours, at that rate"][-1]) == pytest.approx(budget / 3.6e12, rel=0.05)
    assert "rate: 1e+09 FLOP/s, as given" in printed


def test_clips_and_the_ratio_of_given_steps(
    videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--clips", "640", "--teacher.loop.steps", "1", "--student.loop.steps", "4"]
    rows, _ = plan_of(videos, words, capsys)
    assert rows["steps"] == ["4", "16", "20"]
    assert "hours, at that rate" not in rows


def test_what_followed_the_budget_is_said(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--clips", "8960"]
    for name in ("teacher", "student"):
        words += [f"--{name}.optim.warmup-steps", "100"]
    # From the command line both are fixed; from a file they follow.
    settings = videos.parent / "settings.toml"
    settings.write_text("[student.optim]\nschedule = 'constant'\ncooldown_steps = 400\n")
    _, printed = plan_of(videos, [*words, "--config", str(settings)], capsys)
    assert "teacher: 120 steps, warm-up 100 (fixed), peak" in printed
    printed = " ".join(printed.split())
    assert "student: 160 steps, warm-up 100 (fixed), cool-down 40 (in proportion), peak" in printed


def test_hours_are_measured_when_no_rate_is_given(
    videos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply_budget, "measure_rates", lambda *_: [1e9, 2e9])
    rows, printed = plan_of(videos, ["--hours", "0.01"], capsys)
    assert "rate: 1e+09 and 2e+09 FLOP/s, measured on" in printed
    hours = [float(value) for value in rows["hours, at that rate"]]
    assert hours[-1] == pytest.approx(0.01, rel=0.05)
    assert sum(hours[:-1]) == pytest.approx(hours[-1], rel=0.05)


def test_a_run_with_a_budget_writes_its_steps_and_what_its_encoder_has_cost(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In both conventions, in every record and in meta.json; a teacher's own training apart."""
    run = tmp_path / "run"
    words = ["--data", str(videos), "--out", str(run), "--preset", "demo", "--clips", "20"]
    words += ["--batch-size", "4", "--data.workers", "0", "--student.loop.save-every", "3"]
    pretrain.salt(words, "vsalt salt")
    capsys.readouterr()
    config = json.loads((run / "config.json").read_text())["config"]
    assert [config[name]["loop"]["steps"] for name in ("teacher", "student")] == [2, 3]
    assert [config[name]["loop"]["save_every"] for name in ("teacher", "student")] == [1, 3]
    found = {}
    for name, last in (("teacher", 2), ("student", 3)):
        meta = json.loads((run / name / "checkpoints" / f"step-{last}" / "meta.json").read_text())
        lines = (run / name / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        for kind in ("exact", "six_nd"):
            key = f"flops_{kind}"
            for record in records:
                share = record["step"] / last
                assert record[key] == pytest.approx(share * meta[key])
            found[name, kind] = meta[key], meta[f"teacher_{key}"]
    for kind in ("exact", "six_nd"):
        assert found["teacher", kind][1] == 0
        assert found["student", kind][1] == found["teacher", kind][0] > 0
    # By the plan's formula for 2 and 3 of the preset's 1,200 and 1,600 steps of 32 clips.
    whole = found["teacher", "exact"][0] * 1200 / 2 + found["student", "exact"][0] * 1600 / 3
    assert whole * 8 == flops_of(salt_preset("demo"))


class Given:
    """Flags as the parser gives them."""

    def __init__(self, **given: object) -> None:
        for name in ("steps", "budget_flops", "clips", "hours", "flops_per_second"):
            setattr(self, name, given.get(name))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"steps": "5", "hours": 1.0}, "--steps and --hours exclude each other; give one of them"),
        ({"steps": 5, "budget_flops": 1.0}, "--steps and --budget-flops exclude each other"),
        ({"clips": 5, "hours": 1.0}, "--clips and --hours exclude each other; give one of them"),
        ({"clips": 5, "budget_flops": 1.0}, "--budget-flops and --clips exclude each other"),
        ({"hours": 0.0}, r"--hours is 0.0; it must be above 0, and finite"),
        ({"flops_per_second": -1.0}, r"--flops-per-second is -1.0; it must be above 0"),
    ],
)
def test_what_is_refused(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        budget_of(Given(**given), [])


def test_lengths_on_the_command_line_are_fixed() -> None:
    words = ["--save-every", "3", "--student.loop.log-every=5", "--student.optim.lr", "1"]
    budget = budget_of(Given(clips=9), words, ("teacher", "student"))
    assert set(budget.fixed) == {
        "teacher.loop.save_every",
        "student.loop.save_every",
        "student.loop.log_every",
    }
    assert budget_of(Given(clips=9), ["--optim.warmup-steps", "3"]).fixed == ("optim.warmup_steps",)
