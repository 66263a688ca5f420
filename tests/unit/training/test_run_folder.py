"""Run folders: logs cut at a step, and no run where there is one."""

from pathlib import Path

import pytest

from vsalt.errors import RunFolderError
from vsalt.training.run_folder import JsonLines, check_new_run


def write_log(path: Path, *lines: str) -> None:
    path.write_text("".join(lines))


def test_a_log_is_cut_to_a_step_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [f'{{"kind": "train", "step": {step}, "loss": 0.1}}\n' for step in (1, 2, 3, 4)]
    validation = '{"kind": "val", "step": 2, "val_loss": 1}\n'
    write_log(path, lines[0], lines[1], validation, lines[2], lines[3], '{"kind": "train", "st')
    log = JsonLines(path, keep_to_step=2)
    assert path.read_text() == "".join([lines[0], lines[1], validation])
    log.write({"step": 3, "loss": 0.25})
    log.sync()
    assert path.read_text().endswith(validation + '{"step": 3, "loss": 0.25}\n')
    log.close()


@pytest.mark.parametrize("half", ['{"step": 3', '{"step": 3, "loss": 0.25}', '{"step": 9}'])
def test_a_last_line_without_its_end_is_dropped(tmp_path: Path, half: str) -> None:
    path = tmp_path / "metrics.jsonl"
    write_log(path, '{"step": 1}\n', '{"step": 2}\n', half)
    JsonLines(path, keep_to_step=5).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_log_of_a_run_that_saved_nothing_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_log(path, '{"step": 1}\n', '{"step": 2}\n')
    JsonLines(path, keep_to_step=0).close()
    assert path.read_text() == ""
    JsonLines(tmp_path / "new.jsonl", keep_to_step=0).close()
    assert (tmp_path / "new.jsonl").read_text() == ""


def test_a_run_is_not_begun_twice(tmp_path: Path) -> None:
    check_new_run(tmp_path)
    check_new_run(tmp_path / "not" / "yet")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunFolderError, match=f"`vsalt resume {tmp_path}` goes on with it"):
        check_new_run(tmp_path)
