"""An S3-compatible server in a process of its own, and the environment that leads s3fs there."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving_s3() -> Iterator[dict[str, str]]:
    """Serve until the end of the block; yields the environment variables of a client."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        begun = next(line for line in server.stdout if "Running on http" in line)
        yield {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": begun.split()[-1],
        }
    finally:
        server.kill()
        server.communicate()
