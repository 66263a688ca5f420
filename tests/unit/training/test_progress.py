"""Progress: every promised field, with a clock that the test moves."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from support.clock import Clock, stopped_clock
from vsalt.training.alarms import Alarm, Alarms
from vsalt.training.config import OptimConfig
from vsalt.training.progress import Progress
from vsalt.training.run_folder import JsonLines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return stopped_clock(monkeypatch)


def make_progress(
    out: io.StringIO, *, first_step: int = 0, terminal: bool = False, width: int = 200
) -> Progress:
    return Progress(
        Console(file=out, width=width, force_terminal=terminal),
        title="teacher",
        first_step=first_step,
        num_steps=100,
        batch_size=8,
    )


VALUES = {"loss": 0.123456, "lr": 5e-4, "flops_exact": 120_000_000_000}


def test_a_plain_line_has_every_field(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out)
    with progress.shown():
        clock.now += 20
        timing = progress.update(10, VALUES, wait_s=5.0)
    # 10 steps of 8 clips in 20 s, 5 of them waiting; 90 steps are left at 2 s each.
    assert timing == {"clips_per_s": 4.0, "data_wait_share": 0.25, "elapsed_s": 20.0}
    assert out.getvalue() == (
        "teacher: step 10/100  loss 0.1235  lr 5.0e-04  4.0 clips/s  data wait 25%  "
        "1.20e+11 FLOPs  3:00 left\n"
    )


def test_rates_are_those_since_the_last_update(clock: Clock) -> None:
    progress = make_progress(io.StringIO(), first_step=40)
    clock.now += 4
    assert progress.update(42, VALUES, wait_s=4.0) == {
        "clips_per_s": 4.0,
        "data_wait_share": 1.0,
        "elapsed_s": 4.0,
    }
    clock.now += 10
    with progress.paused():
        clock.now += 100  # validation counts for the time that has passed, not for clips/s
    assert progress.update(52, VALUES, wait_s=5.0) == {
        "clips_per_s": 8.0,
        "data_wait_share": 0.1,
        "elapsed_s": 114.0,
    }
    clock.now += 5
    assert progress.update(53, VALUES, wait_s=5.0)["clips_per_s"] == 1.6


def test_flops_are_cumulative_over_a_resumed_run(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out, first_step=90)
    clock.now += 1
    progress.update(91, VALUES | {"flops_exact": 1_092_000_000_000}, wait_s=0.0)
    assert "1.09e+12 FLOPs" in out.getvalue()
    assert "0:09 left" in out.getvalue()


def test_the_time_left_forgets_a_slow_start(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out)
    clock.now += 1000
    progress.update(1, VALUES, wait_s=0.0)
    for step in range(2, 41):
        clock.now += 6
        progress.update(step, VALUES, wait_s=0.0)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("  1650:00 left")  # 99 steps at 1000 s
    assert lines[1].endswith("  821:34 left")  # 98 steps at 1006 s for two
    assert lines[19].endswith("  74:16 left")  # 80 steps at 1114 s for twenty
    assert lines[20].endswith("  7:54 left")  # 79 steps at 6 s: the start is out of sight
    assert lines[-1].endswith("  6:00 left")


def test_plain_lines_come_seldom_and_at_the_end(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out)
    for step in range(1, 101):
        clock.now += 1.0
        progress.update(step, VALUES, wait_s=0.0)
    steps = [int(line.split()[2].split("/")[0]) for line in out.getvalue().splitlines()]
    assert steps == [*range(1, 100, 5), 100]


def test_a_terminal_shows_the_same_fields(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out, terminal=True)
    with progress.shown():
        clock.now += 20
        progress.update(10, VALUES, wait_s=5.0)
        progress.note("val_loss 0.5000")
    shown = out.getvalue()
    for field in ("teacher", "10/100", "loss 0.1235", "lr 5.0e-04", "4.0 clips/s"):
        assert field in shown
    for field in ("data wait 25%", "1.20e+11 FLOPs", "teacher: val_loss 0.5000"):
        assert field in shown


def test_a_narrow_terminal_keeps_every_field_on_one_line(clock: Clock) -> None:
    out = io.StringIO()
    progress = make_progress(out, terminal=True, width=80)
    with progress.shown():
        clock.now += 20
        progress.update(10, VALUES, wait_s=5.0)
    shown = out.getvalue()
    for field in ("10/100", "loss 0.1235", "lr 5.0e-04", "4.0/s", "wait 25%", "1.2e+11 FLOPs"):
        assert field in shown
    assert "…" not in shown


def test_notes_are_lines_of_their_own() -> None:
    out = io.StringIO()
    make_progress(out).note("step 10: val_loss 0.5000")
    assert out.getvalue() == "teacher: step 10: val_loss 0.5000\n"


def test_a_warning_is_shown_on_lines_of_its_own_and_names_stay_in_theirs(tmp_path: Path) -> None:
    out = io.StringIO()
    log = JsonLines(tmp_path / "warnings.jsonl", keep_to_step=0)
    alarms = Alarms(
        log, lambda rows: [f"a\nb\x1b{row}.mp4" for row in rows], OptimConfig(warmup_steps=1)
    )
    alarms.show = make_progress(out).note
    alarms._report(3, "loss_jump", Alarm("loss_jump", "too high", "unknown", ()), rows=[7])
    log.close()
    assert out.getvalue().splitlines() == [
        "teacher: warning at step 3 (loss_jump): too high",
        "  unknown",
        "  a\\nb\\x1b7.mp4",
        "  (in warnings.jsonl)",
    ]
