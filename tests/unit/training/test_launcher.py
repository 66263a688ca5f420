"""What a torchrun that was killed leaves behind: nothing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import IO

from support.processes import children

MARKS = {"TORCHELASTIC_RUN_ID": "none"}
LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
FOLLOWER = """
import os, signal, time
from vsalt.training.launcher import follow_launcher
signal.signal(signal.SIGTERM, lambda *_: (print("told to stop", flush=True), os._exit(0)))
follow_launcher(os.environ)
print(os.getpid(), flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def launched(marks: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], int, IO[str]]]:
    """A process, the id of its child, which follows it, and what the child says."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, FOLLOWER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **marks},
    )
    assert launcher.stdout is not None
    with launcher.stdout:
        follower = int(launcher.stdout.readline())
        try:
            assert children(launcher.pid) == [follower]
            yield launcher, follower, launcher.stdout
        finally:
            launcher.kill()
            launcher.wait()
            with contextlib.suppress(ProcessLookupError):
                os.kill(follower, signal.SIGKILL)


def test_a_killed_launcher_takes_its_processes_along() -> None:
    with launched(MARKS) as (launcher, _, output):
        launcher.kill()
        # It ends when the last process that could say something has gone.
        assert output.read() == "told to stop\n"


def test_without_torchrun_a_process_may_outlive_its_parent() -> None:
    with launched({}) as (launcher, follower, output):
        launcher.kill()
        launcher.wait()
        time.sleep(0.5)
        os.kill(follower, signal.SIGKILL)
        assert output.read() == ""
