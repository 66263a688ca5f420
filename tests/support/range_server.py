"""A web server for a folder that knows byte ranges, and can be told to fail.

usage: python range_server.py FOLDER      prints its port, and serves until its input is closed
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class RangeServer(ThreadingHTTPServer):
    """Serves the files of a folder.

    Attributes:
        faults: how a file fails, by its path: "500"; "500 once"; "cut", half of every body;
            "hang", no answer; "whole", ranges are ignored; "403".
        asked: number of requests of each method and path.
        sent: bytes of bodies that were sent of each path.
        headers: of every request.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, folder))
        self.faults: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.headers: list[Message] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has had enough closes its connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def __init__(self, folder: Path, *args: object) -> None:
        self.folder = folder
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        if self.server.over.is_set():
            # A thread may outlive its server.
            self.close_connection = True
            return
        name = unquote(urlsplit(self.path).path).lstrip("/")
        self.server.asked[f"{self.command} {name}"] += 1
        self.server.headers.append(self.headers)
        fault = self.server.faults.get(name, "")
        if fault == "hang":
            self.server.over.wait(30)
            self.close_connection = True
            return
        if fault == "500 once":
            del self.server.faults[name]
        path = self.folder / name
        refusal = {"500": 500, "500 once": 500, "403": 403}.get(fault)
        if refusal or not path.is_file():
            self._refuse(refusal or 404)
            return
        size = path.stat().st_size
        begin, end = 0, size
        asked = self.headers.get("Range")
        if asked and fault != "whole":
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1 if last else size, size)
            if begin >= size:
                self._refuse(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        self.end_headers()
        if body and fault == "cut":
            self._send(path, begin, begin + (end - begin) // 2)
            self.close_connection = True
        elif body:
            self._send(path, begin, end)

    def _send(self, path: Path, begin: int, end: int) -> None:
        with path.open("rb") as file:
            file.seek(begin)
            while data := file.read(min(1 << 18, end - file.tell())):
                self.wfile.write(data)
                self.server.sent[path.name] += len(data)

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder from a thread of this process."""
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> int:
    with serving(Path(sys.argv[1])) as server:
        print(server.server_port, flush=True)
        while sys.stdin.readline():
            time.sleep(0.01)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
