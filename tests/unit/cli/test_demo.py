"""The demo's two tasks share their features, and its exit code is that of `vsalt embed`."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vsalt.cli import demo, embed
from vsalt.data.manifest import Row
from vsalt.evaluation import subjects


def test_features_of_the_same_clips_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(subjects, "extract_all", lambda *args, **_: calls.append(args) or args)
    extract = demo._extract_once()
    one, two = (Row(path=name, relative_path=name, source=0, columns={}) for name in "ab")
    student, other = SimpleNamespace(sha256="s"), SimpleNamespace(sha256="o")
    first = extract([student], [one, two], "config")
    relabelled = [replace(row, label="x", columns={"motion": "y"}) for row in (one, two)]
    assert extract([student], relabelled, "config") is first
    assert len(calls) == 1
    # Other weights, clips or settings are other features.
    for change in (
        ([other], [one, two], "config"),
        ([student], [two], "config"),
        ([student], [one, replace(two, start_s=1.0)], "config"),
        ([student], [one, two], "other"),
    ):
        assert extract(*change) is not first
    assert len(calls) == 5


def test_embeddings_that_fail_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for code in (0, 1):
        monkeypatch.setattr(embed, "run", lambda args, code=code: code)
        assert demo._embed(Path("run"), Path("labels.csv"), Path("out")) == code
