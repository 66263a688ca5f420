"""What the command prints of an error."""

from pathlib import Path

import pytest

from vsalt.cli.main import main


def test_names_in_errors_are_escaped_and_our_own_line_ends_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text("path\nred\x1b[31m.mp4\n")
    words = ["pretrain", "--preset", "tiny-cpu", "--method", "pixel"]
    assert main([*words, "--out", str(tmp_path / "run"), "--data", str(manifest)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"vsalt pretrain: {manifest} cannot be used:"
    assert lines[-1] == f"    line 2: {tmp_path}/red\\x1b[31m.mp4"
