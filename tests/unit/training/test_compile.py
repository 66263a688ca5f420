"""Networks that cannot be compiled here."""

from pathlib import Path

import pytest

from vsalt.errors import ConfigError
from vsalt.presets import stage_preset
from vsalt.training.build import build_objective, resolve
from vsalt.training.config import DeviceConfig
from vsalt.training.distributed import ALONE
from vsalt.training.place import place


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    objective = build_objective(resolve(stage_preset("tiny-cpu", "pixel")), None)
    with pytest.raises(ConfigError, match=r"--device\.compile needs a C\+\+ compiler"):
        place(objective, DeviceConfig(compile=True), "replicate", ALONE, "cpu", num_parts=1)
