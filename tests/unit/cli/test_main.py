"""What the command prints of an error."""

import json
from pathlib import Path

import pytest

from vsalt.cli.main import main, with_hyphens


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


def test_flags_may_be_spelt_with_underscores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those too that are read before the rest is parsed: they had no effect, without a word."""
    videos = tmp_path / "videos"
    assert main(["data", "synth", str(videos), "--num_clips", "8", "--size=32"]) == 0
    words = ["pretrain", "--data", str(videos), "--preset", "demo", "--method", "pixel"]
    words += ["--out", str(tmp_path / "run"), "--data.workers", "0", "--clips", "8"]
    assert main([*words, "--batch_size", "4", "--loop.save_every=3"]) == 0
    loop = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["stage"]["loop"]
    assert (loop["steps"], loop["batch_size"], loop["save_every"]) == (2, 4, 3)


def test_only_flags_are_spelt_anew() -> None:
    words = ["data", "a_b", "--x_y.z_w=v_1", "--n", "-o_p", "c_d=e", "--", "--f_g"]
    assert with_hyphens(words) == [*words[:2], "--x-y.z-w=v_1", *words[3:]]
