"""Whole runs from a web server and from an S3-compatible one: to the last bit those of local files.

Both servers are processes of their own; workers make file systems and connections themselves.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from support import range_server, runs
from support.s3_server import serving_s3
from vsalt.cli.main import main
from vsalt.data.pack import pack

# Several processes one after the other, on a machine that others may use.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WORDS = [*runs.TINY_STAGE, "--method", "pixel", "--data.workers", "2"]
BUCKET = "videos"


@contextmanager
def process(*words: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a server until the end of the block."""
    server = subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def local(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that is served: videos with their manifest, and the same in shards."""
    shards = videos.parent / "shards"
    if not shards.exists():
        pack(videos, shards, shard_bytes=1 << 20)
    return videos.parent


@pytest.fixture(scope="module")
def web(local: Path) -> Iterator[str]:
    """URL of the folder on a web server."""
    with process(range_server.__file__, local) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"


@pytest.fixture(scope="module")
def s3(local: Path) -> Iterator[str]:
    """URL of the folder in a bucket of an S3-compatible server."""
    with serving_s3() as settings, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        _upload(local)
        yield f"s3://{BUCKET}"


def _upload(folder: Path) -> None:
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir(BUCKET)
    for path in folder.rglob("*"):
        if path.is_file():
            files.pipe_file(f"{BUCKET}/{path.relative_to(folder)}", path.read_bytes())


@pytest.fixture(scope="module")
def trained(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from local files."""
    run = tmp_path_factory.mktemp("local") / "run"
    done = runs.vsalt("pretrain", "--data", videos, "--out", run, *WORDS)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("place", ["web", "s3"])
@pytest.mark.parametrize("source", ["labels", "shards"])
def test_runs_are_those_of_local_files(
    place: str, source: str, trained: Path, videos: Path, tmp_path: Path, request
) -> None:
    url = request.getfixturevalue(place)
    name = videos.name if source == "labels" else "shards"
    run = tmp_path / "run"
    cached = ()
    if source == "labels":
        cached = ("--data.cache", "disk", "--data.cache-dir", tmp_path / "frames")
    done = runs.vsalt("pretrain", "--data", f"{url}/{name}", "--out", run, *WORDS, *cached)
    assert done.returncode == 0, done.stderr
    assert runs.stage_fingerprint(run) == runs.stage_fingerprint(trained)
    assert (run / "seen.jsonl").read_bytes() == (trained / "seen.jsonl").read_bytes()
    assert bool(cached) == bool(list(tmp_path.glob("frames/*/*.frames")))


def test_encoders_are_used_and_data_checked_behind_urls(
    web: str, trained: Path, videos: Path, tmp_path: Path
) -> None:
    source = f"{web}/{videos.name}"
    # A process of its own for one verb is enough; to start one takes longer than the verbs do.
    for name, data, workers in (("local", videos, "0"), ("remote", source, "1")):
        out = tmp_path / name
        out.mkdir()
        encoder = ("--encoder", trained, "--data", data)
        for words in (
            ("embed", *encoder, "--out", out / "vectors", "--workers", workers),
            (
                "probe",
                "fit",
                *encoder,
                "--out",
                out / "probe",
                "--kind",
                "linear",
                "--workers",
                "0",
            ),
            ("data", "check", data, "--json", out / "check.json", "--workers", "0"),
        ):
            assert main([str(word) for word in words]) == 0
    for pattern in ("vectors/*.safetensors", "probe/*.safetensors"):
        one, two = (
            [path.read_bytes() for path in sorted((tmp_path / name).glob(pattern))]
            for name in ("local", "remote")
        )
        assert one == two
        assert one
    local, remote = (
        json.loads((tmp_path / name / "check.json").read_text()) for name in ("local", "remote")
    )
    assert [check["sources"][0].pop("source") for check in (local, remote)] == [str(videos), source]
    assert local == remote
