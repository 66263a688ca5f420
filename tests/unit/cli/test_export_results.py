"""What a model card says of probes that were fitted before."""

import json
from pathlib import Path

import pytest

from support.report_runs import write_probe
from vsalt.cli.export_results import _line


@pytest.mark.parametrize(
    "source", ["https://user:word@host/set/labels.csv?sig=key#a", "a/labels.csv"]
)
def test_sources_are_named_without_what_else_a_url_holds(source: str, tmp_path: Path) -> None:
    folder = write_probe(tmp_path / "probe", source=source)
    record = json.loads((folder / "probe.json").read_text())
    record["encoders"][0]["sha256"] = "0123"
    (folder / "probe.json").write_text(json.dumps(record))
    line = _line(folder, "0123")
    assert line is not None
    assert line.task == "`motion` of `labels.csv`"
