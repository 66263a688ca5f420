"""A run whose networks are compiled, beside the same run without."""

import shutil
from pathlib import Path

import pytest

from support import runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
]


@pytest.mark.parametrize("processes", [1, 2])
def test_compiled_networks_give_the_same_numbers(
    videos: Path, tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    words = ["pretrain", *runs.TINY_STAGE, "--method", "vjepa", "--data", videos]
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    done = runs.vsalt(*words, "--out", plain)
    assert done.returncode == 0, done.stderr
    assert not any(cache.rglob("*.so"))
    more = ["--device.compile", "--out", compiled]
    if processes > 1:
        more += ["--device.sharding", "shard", "--device.timeout-s", "200"]
        done = runs.torchrun(processes, *words, *more)
    else:
        done = runs.vsalt(*words, *more)
    assert done.returncode == 0, done.stderr
    assert any(cache.rglob("*.so"))
    runs.assert_same_numbers(plain, compiled)
