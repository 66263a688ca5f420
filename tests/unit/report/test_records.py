"""Run folders as they are: finished, being written, damaged, or none at all."""

import json
from pathlib import Path

import pytest

from support.report_runs import (
    train_records,
    val_records,
    write_lines,
    write_probe,
    write_salt,
    write_stage,
)
from vsalt.errors import RunFolderError
from vsalt.report.probes import read_probe
from vsalt.report.records import read_runs
from vsalt.report.spent import cost_of, total


def test_a_finished_run(tmp_path: Path) -> None:
    (run,) = read_runs([write_salt(tmp_path / "run")])
    assert (run.label, run.kind, run.is_finished, run.waiting) == ("run", "salt", True, ())
    teacher, student = run.stages
    assert (teacher.name, teacher.method, student.name, student.method) == (
        *("teacher", "pixel"),
        *("student", "salt"),
    )
    assert (len(teacher.train), len(teacher.val), teacher.steps_done) == (40, 2, 40)
    assert teacher.notes == ()


def test_a_run_in_progress(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    student = run / "student"
    write_lines(student / "metrics.jsonl", train_records(range(1, 13)))
    with open(student / "metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": 13, "lo')
    (student / "timings.jsonl").unlink()
    (record,) = read_runs([run])
    assert not record.is_finished
    assert record.stages[1].steps_done == 12
    # The line that is being written is no damage.
    assert record.stages[1].notes == ()
    assert record.stages[1].timings == ()


def test_a_run_whose_student_has_not_begun(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    (run / "student" / "config.json").unlink()
    (record,) = read_runs([run])
    assert ([stage.name for stage in record.stages], record.waiting) == (["teacher"], ("student",))
    assert not record.is_finished


def test_damaged_lines_are_left_out_and_named(tmp_path: Path) -> None:
    run = write_stage(tmp_path / "run", metrics=train_records([1, 2]))
    good = (run / "metrics.jsonl").read_bytes()
    bad = b'nonsense\n\xff\xfe\n[1]\n{"kind": "train"}\n{"kind": "train", "step": "3"}\n'
    (run / "metrics.jsonl").write_bytes(good + bad + b"[" * 100_000 + b"\n")
    (record,) = read_runs([run])
    assert [entry["step"] for entry in record.stages[0].train] == [1, 2]
    (note,) = record.stages[0].notes
    assert note.startswith("metrics.jsonl is damaged: 6 of its lines, the first of them line 3")


def test_numbers_too_long_for_a_float_are_none(tmp_path: Path) -> None:
    long = "1" + "0" * 400
    run = write_stage(tmp_path / "run")
    lines = f'{{"kind": "train", "step": 1, "clips": {long}}}\n{{"kind": "val", "step": {long}}}\n'
    (run / "metrics.jsonl").write_text(lines)
    (record,) = read_runs([run])
    assert cost_of(record.stages[0]).clips is None
    assert record.stages[0].steps_done == 1
    assert "1 of its lines, the first of them line 2" in record.stages[0].notes[0]


def test_nan_in_a_log_is_a_gap(tmp_path: Path) -> None:
    run = write_stage(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": NaN, "clips": NaN}\n')
    (record,) = read_runs([run])
    assert cost_of(record.stages[0]).clips is None


def test_runs_of_one_stage_are_shown_beside_those_of_salt(tmp_path: Path) -> None:
    folders = [
        write_stage(tmp_path / "a", method="pixel"),
        write_stage(tmp_path / "b", method="salt"),
        write_stage(tmp_path / "c", method="</script>"),
        write_stage(tmp_path / "run" / "assistant", method="salt"),
    ]
    names = [run.stages[0].name for run in read_runs(folders)]
    assert names == ["teacher", "student", "stage", "assistant"]


def test_a_damaged_environment_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    (run / "teacher" / "environment.json").write_text("")
    (record,) = read_runs([run])
    assert record.stages[0].starts == ()
    assert "environment.json cannot be read" in record.stages[0].notes[0]
    assert len(record.stages[0].train) == 40


def test_labels_tell_runs_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    runs = read_runs([write_salt(path) for path in paths])
    assert [run.label for run in runs] == ["x/run", "y/run"]
    runs = read_runs([paths[0] / "teacher", paths[0]])
    assert [run.label for run in runs] == ["run/teacher", "run"]
    (run,) = read_runs([paths[0] / "teacher" / ".."])
    assert run.label == "run"
    for again in (paths[0], paths[1] / ".." / ".." / "x" / "run"):
        with pytest.raises(RunFolderError, match="given twice"):
            read_runs([paths[0], again])


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("nothing", "does not exist"),
        ("empty", "it has no config.json"),
        ("demo", "it looks like that of a demo; its run is"),
        ("probe", "give it by --probe"),
    ],
)
def test_folders_that_hold_no_run(tmp_path: Path, made: str, reason: str) -> None:
    folder = tmp_path / "here"
    if made != "nothing":
        folder.mkdir()
    if made == "demo":
        write_salt(folder / "run")
    if made == "probe":
        (folder / "probe.json").write_text("{}")
    with pytest.raises(RunFolderError, match=reason):
        read_runs([folder])


@pytest.mark.parametrize("text", ['{"kind": "other", "config": {}}', '{"kind": "salt"}', "[]", "{"])
def test_configs_of_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunFolderError, match=r"config\.json"):
        read_runs([tmp_path])


def test_cost_adds_up_processes_and_weights_rates_by_time(tmp_path: Path) -> None:
    run = write_stage(tmp_path / "run", metrics=train_records([10, 20, 30, 40]))
    # 8 clips a step. A process of 20 s did steps 1 to 20, another one of 5 s did 21 to 40.
    timings = [
        {"step": 10, "clips_per_s": 8.0, "data_wait_share": 0.5, "elapsed_s": 10.0},
        {"step": 20, "clips_per_s": 8.0, "data_wait_share": 0.5, "elapsed_s": 20.0},
        {"step": 30, "clips_per_s": 32.0, "data_wait_share": 0.0, "elapsed_s": 2.5},
        {"step": 40, "clips_per_s": 32.0, "data_wait_share": 0.0, "elapsed_s": 5.0},
    ]
    write_lines(run / "timings.jsonl", timings)
    (record,) = read_runs([run])
    cost = cost_of(record.stages[0])
    assert (cost.elapsed_s, cost.num_starts) == (25.0, 2)
    assert (cost.clips, cost.flops_exact, cost.flops_six_nd) == (320, 40_000, 36_020)
    assert cost.clips_per_s == pytest.approx(320 / 25)
    assert cost.data_wait_share == pytest.approx(0.5 * 20 / 25)


def test_a_process_that_begins_slowly_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    run = write_stage(tmp_path / "run", metrics=train_records([10, 20, 30]))
    # A process of 4 s; then one whose first ten steps took 10 s, and whose next ten took 2 s after
    # 3 s of val_loss, which is in no rate.
    timings = [
        {"step": 10, "clips_per_s": 20.0, "data_wait_share": 0.0, "elapsed_s": 4.0},
        {"step": 20, "clips_per_s": 8.0, "data_wait_share": 0.0, "elapsed_s": 10.0},
        {"step": 30, "clips_per_s": 40.0, "data_wait_share": 0.0, "elapsed_s": 15.0},
    ]
    write_lines(run / "timings.jsonl", timings)
    (record,) = read_runs([run])
    cost = cost_of(record.stages[0])
    assert (cost.elapsed_s, cost.num_starts) == (19.0, 2)


def test_cost_of_a_run_is_that_of_its_stages(tmp_path: Path) -> None:
    (run,) = read_runs([write_salt(tmp_path / "run")])
    cost = total(run)
    assert (cost.clips, cost.flops_exact, cost.elapsed_s) == (640, 80_000, 160.0)
    (empty,) = read_runs([write_stage(tmp_path / "empty")])
    assert total(empty).elapsed_s is None


def test_the_newest_record_counts(tmp_path: Path) -> None:
    metrics = [*train_records([10]), *val_records({20: 0.5})]
    (run,) = read_runs([write_stage(tmp_path / "run", metrics=metrics)])
    assert run.stages[0].steps_done == 20


def test_probes_are_read_and_others_refused(tmp_path: Path) -> None:
    probe = read_probe(write_probe(tmp_path / "probe"))
    assert [(score.name, score.role) for score in probe.scores] == [
        ("student", "trained"),
        ("random init", "random-init"),
    ]
    assert (probe.scores[0].accuracy, probe.scores[0].interval) == (0.7, (0.61, 0.79))
    # As it was written before there was such an entry.
    assert [score.stage for score in probe.scores] == [None, None]
    assert (probe.target, probe.uniform) == ("motion", 0.5)
    with pytest.raises(RunFolderError, match="--probe takes the --out of"):
        read_probe(tmp_path)
    (tmp_path / "probe.json").write_text(json.dumps({"kind": "linear", "options": {}}))
    with pytest.raises(RunFolderError, match="KeyError 'task'"):
        read_probe(tmp_path)
