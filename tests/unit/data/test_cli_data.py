"""`vsalt data synth` from its arguments to its files."""

import subprocess
import sys

from vsalt.cli.data import synth
from vsalt.data.manifest import read_source


def test_arguments_to_files(tmp_path, capsys):
    out = tmp_path / "set"
    words = [str(out), "--num-clips", "12", "--num-frames", "4"]
    assert synth(words, "vsalt data synth") == 0
    assert len(read_source(out / "labels.csv").rows) == 12
    assert capsys.readouterr().out == f"12 clips: {out / 'labels.csv'}\n"


def test_no_torch_is_loaded():
    code = (
        "import sys, vsalt.cli.data; assert 'torch' not in sys.modules and 'av' not in sys.modules;"
        "import vsalt.data.synthetic, vsalt.data.catalogue; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
