"""`vsalt data synth` from its arguments to its files."""

import subprocess
import sys

import tyro

from vsalt.cli.data import SynthArgs, make_set, synth
from vsalt.data.manifest import read_source


def test_arguments_to_files(tmp_path, capsys):
    out = tmp_path / "set"
    args = tyro.cli(SynthArgs, args=[str(out), "--num-clips", "12", "--num-frames", "4"])
    assert make_set(args).is_file()
    assert len(read_source(out / "labels.csv").rows) == 12
    assert "labels.csv" in capsys.readouterr().err.replace("\n", "")


def test_no_torch_is_loaded():
    code = (
        "import sys, vsalt.cli.data; assert 'torch' not in sys.modules and 'av' not in sys.modules;"
        "import vsalt.data.synthetic, vsalt.data.catalogue; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
