"""`vsalt data synth` from its arguments to its files."""

import subprocess
import sys

import pytest

from vsalt.cli.data import synth
from vsalt.data.manifest import read_source
from vsalt.errors import ConfigError


def test_arguments_to_files(tmp_path, capsys):
    out = tmp_path / "set"
    words = [str(out), "--num-clips", "12", "--num-frames", "4"]
    assert synth(words, "vsalt data synth") == 0
    assert len(read_source(out / "labels.csv").rows) == 12
    assert capsys.readouterr().out == f"12 clips: {out / 'labels.csv'}\n"


def test_what_the_clips_show_is_chosen_by_flags(tmp_path):
    out = tmp_path / "set"
    words = [str(out), "-n", "24", "--num-frames", "2", "--motions", "zigzag", "spin_clockwise"]
    words += ["--shapes", "square", "--textures", "plain", "checks", "--distractors", "1"]
    words += ["--noise", "5", "--background-contrast", "0.5", "--qp", "10"]
    words += ["--colours", "grey", "--test-every", "2"]
    assert synth(words, "vsalt data synth") == 0
    columns = [row.columns for row in read_source(out / "labels.csv").rows]
    assert {row["motion"] for row in columns} == {"zigzag", "spin_clockwise"}
    assert {row["appearance"] for row in columns} == {"square_plain", "square_checks"}
    assert [row["split"] for row in columns].count("test") == 12


def test_mistakes_are_told_together_and_nothing_is_written(tmp_path):
    out = tmp_path / "set"
    words = [str(out), "--noise", "-1", "--distractors", "99", "--motions", "spin_clockwise"]
    with pytest.raises(ConfigError, match="3 settings are wrong") as told:
        synth(words, "vsalt data synth")
    assert "noise is -1.0; it must be in [0, 255]" in str(told.value)
    assert not out.exists()


def test_unknown_motions_are_refused_with_the_known_ones(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        synth([str(tmp_path / "set"), "--motions", "sideways"], "vsalt data synth")
    assert left.value.code == 2
    assert "counter_clockwise" in capsys.readouterr().err


def test_no_torch_is_loaded():
    code = (
        "import sys, vsalt.cli.data; assert 'torch' not in sys.modules and 'av' not in sys.modules;"
        "import vsalt.data.synthetic, vsalt.data.catalogue; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
