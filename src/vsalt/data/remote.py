"""Reads files behind URLs through fsspec: parts of them, in few requests, again if one fails.

File systems are made in the process that uses them and are never sent to another. A request has a
time limit and is made again a few times if it fails for a reason that may pass: no connection, a
reply that stops or is cut off, an answer 5xx. What has failed then counts as a time-out, since it
depends on the day; what cannot pass (no such file, no permission) is an error of the file.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from vsalt.data.urls import protocol, server
from vsalt.errors import DataError, DecodeError, DecodeTimeoutError, MissingExtraError, printable

T = TypeVar("T")

REQUEST_S = 20.0
"""A request that takes longer has failed."""
WAITS_S = (0.25, 0.75, 2.0)
"""Seconds from each failed try to the next."""
AWAY_S = 10.0
"""For so long a server that could not be reached is not tried more than once for a file."""
BLOCK_BYTES = 1 << 18
MAX_READ_AHEAD = 16
"""Blocks of one request, at most."""
KEPT_BLOCKS = 256
"""Blocks of an open file that are kept, at most."""
WHOLE_BYTES = 1 << 21
"""A file of at most so many bytes is read in one request."""
_IN_FLIGHT = 32
SILENT_FILES = 64
"""After so many files of which a server does not tell the size, no more are asked for."""
_WHOLE_S = 300.0
# What messages of libraries that need not be installed are called.
_UNREACHABLE = frozenset(
    (
        *("ClientConnectorError", "ClientConnectorDNSError", "ServerTimeoutError"),
        *("ConnectionTimeoutError", "EndpointConnectionError", "ConnectTimeoutError"),
        *("ConnectionRefusedError", "gaierror"),
    )
)
_PASSING = frozenset(
    (
        *("ClientError", "ClientPayloadError", "ServerDisconnectedError", "ClientOSError"),
        *("FSTimeoutError", "TimeoutError", "ConnectionError", "HTTPClientError", "ServerError"),
        *("ReadTimeoutError", "ResponseStreamingError", "IncompleteRead"),
    )
)
_PASSING_STATUS = frozenset((408, 425, 429))


class UnreachableError(DecodeTimeoutError):
    """The server of a URL could not be reached."""


class RemoteInfo(NamedTuple):
    """What a server says of a file.

    Attributes:
        size: number of its bytes.
        version: what changes with its content: its ETag, else when it was changed last, else
            nothing.
    """

    size: int
    version: str


class RemoteFile:
    """A file behind a URL, read in blocks that are kept while it is open.

    What is read in order is read ahead, in requests of twice as many blocks each time.

    Args:
        url: of the file.
        offset: where in the file the part begins that is read.
        size: number of bytes of this part.
    """

    def __init__(self, url: str, offset: int, size: int) -> None:
        self._url = url
        self._offset = offset
        self._size = size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1
        self._ahead = 1

    def read_at(self, position: int, count: int, *, remaining_s: float) -> bytes:
        """Return `count` bytes from `position` on, fewer at the end.

        Args:
            position: of the first byte in the part.
            count: of bytes.
            remaining_s: how long it may take.

        Raises:
            DecodeError: they cannot be read.
        """
        end = min(position + count, self._size)
        if end <= position:
            return b""
        first, last = position // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        deadline = time.monotonic() + remaining_s
        pieces = [self._block(number, last, deadline) for number in range(first, last + 1)]
        begin = position - first * BLOCK_BYTES
        return b"".join(pieces)[begin : begin + end - position]

    def _block(self, number: int, last: int, deadline: float) -> bytes:
        if number not in self._blocks:
            self._fetch(number, last, deadline)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int, last: int, deadline: float) -> None:
        self._ahead = min(2 * self._ahead, MAX_READ_AHEAD) if number == self._next else 1
        count = min(max(self._ahead, last - number + 1), MAX_READ_AHEAD)
        if self._size <= WHOLE_BYTES:
            number, count = 0, WHOLE_BYTES // BLOCK_BYTES
        begin, end = number * BLOCK_BYTES, min((number + count) * BLOCK_BYTES, self._size)
        data = read_range(
            self._url,
            self._offset + begin,
            self._offset + end,
            remaining_s=deadline - time.monotonic(),
        )
        if len(data) > end - begin:
            # All of the file; it is kept, lest it be sent for every block.
            number, data = 0, data[self._offset : self._offset + self._size]
        for place in range(0, len(data), BLOCK_BYTES):
            self._blocks[number + place // BLOCK_BYTES] = data[place : place + BLOCK_BYTES]
        self._next = number + count
        while len(self._blocks) > KEPT_BLOCKS:
            self._blocks.popitem(last=False)


def read_range(url: str, begin: int, end: int, *, remaining_s: float) -> bytes:
    """Return the bytes of a file from `begin` to `end`, exclusive.

    Some servers know no parts and send the whole file, which is longer: then that is returned.

    Raises:
        DecodeTimeoutError: that has failed, for a reason that may pass.
        DecodeError: the server has not so many bytes, or cannot give a part of a file.
    """

    def read(timeout_s: float) -> bytes:
        system, path = _open_system(url)
        limit = _limit(system, timeout_s)
        data: bytes = system.cat_file(path, start=begin, end=end, **limit)
        if len(data) < end - begin:
            raise _CutError(len(data), end - begin)
        return data

    return _tried(url, read, remaining_s)


def read_whole(url: str) -> bytes:
    """Return all bytes of a file.

    Raises:
        DataError: it cannot be read.
    """

    def read(timeout_s: float) -> bytes:
        system, path = _open_system(url)
        data: bytes = system.cat_file(path, **_limit(system, timeout_s))
        return data

    # A manifest of millions of rows takes longer than a part of a video.
    return _tried(url, read, _WHOLE_S, request_s=_WHOLE_S)


def describe(url: str, *, remaining_s: float = 60.0) -> RemoteInfo:
    """Return what the server says of a file; it is asked once in a process.

    Args:
        url: of the file.
        remaining_s: how long it may take.

    Raises:
        DecodeTimeoutError: that has failed, for a reason that may pass.
        DecodeError: there is no such file, or the server does not tell its size.
    """

    def ask(timeout_s: float) -> dict[str, Any]:
        system, path = _open_system(url)
        answer: dict[str, Any] = system.info(path, **_limit(system, timeout_s))
        return answer

    if url in _described:
        return _described[url]
    info = _tried(url, ask, remaining_s)
    if info.get("type") == "directory":
        raise DecodeError(f"{url}: a folder, not a file")
    if info.get("size") is None:
        raise DecodeError(f"{url}: the server does not tell its size (Content-Length)")
    marks = ("ETag", "etag", "md5", "checksum", "Last-Modified", "LastModified", "mtime", "created")
    version = next((str(info[mark]) for mark in marks if info.get(mark)), "")
    found = RemoteInfo(int(info["size"]), version)
    with _described_lock:
        if len(_described) >= _MOST_DESCRIBED:
            del _described[next(iter(_described))]
        _described[url] = found
    return found


_described: dict[str, RemoteInfo] = {}
_MOST_DESCRIBED = 1 << 20
# Many threads ask at once.
_described_lock = threading.Lock()


def describe_all(urls: Sequence[str]) -> Iterator[RemoteInfo | DecodeError]:
    """Yield what servers say of many files, or why they do not; many are asked at once.

    Raises:
        DataError: `SILENT_FILES` in a row have failed for a reason that may pass.
    """

    def ask(url: str) -> RemoteInfo | DecodeError:
        try:
            return describe(url)
        except DecodeError as error:
            return error

    silent = 0
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        try:
            for found in pool.map(ask, urls):
                silent = silent + 1 if isinstance(found, DecodeTimeoutError) else 0
                if silent == SILENT_FILES:
                    raise DataError(
                        f"{silent} files in a row could not be asked for their size; the last "
                        f"error: {found}"
                    )
                yield found
        finally:
            # Without this, the rest would be asked, too.
            pool.shutdown(wait=False, cancel_futures=True)


def check_servers(urls: Sequence[str]) -> None:
    """Refuse files of which no server can be reached; a few servers are asked.

    Raises:
        DataError: none of them answers.
    """
    first: dict[str, str] = {}
    for url in urls:
        first.setdefault(server(url), url)
        if len(first) == _SERVERS_ASKED:
            break
    errors = []
    for url in first.values():
        try:
            describe(url)
        except UnreachableError as error:
            errors.append(str(error))
        except DecodeError:
            return
        else:
            return
    if errors:
        raise DataError("; ".join(errors))


_SERVERS_ASKED = 4


class _CutError(Exception):
    """A server has sent fewer bytes than it should have."""

    def __init__(self, got: int, wanted: int) -> None:
        super().__init__(f"the server sent {got} of {wanted} bytes")


_systems: dict[str, Any] = {}
_systems_lock = threading.Lock()
# Their connections and threads stay behind in a fork.
os.register_at_fork(after_in_child=_systems.clear)


def _open_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and what it calls the file.

    Raises:
        DataError: fsspec knows no such protocol.
        MissingExtraError: a package is not installed.
    """
    kind = protocol(url)
    with _systems_lock:
        if kind not in _systems:
            _systems[kind] = _make_system(kind)
    system = _systems[kind]
    return system, system._strip_protocol(url)


def _make_system(kind: str) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"{kind}:// is read by fsspec", extra="remote") from error
    if kind not in fsspec.available_protocols():
        raise DataError(f"{kind}:// is no protocol that fsspec knows")
    try:
        if kind in ("http", "https"):
            from vsalt.data.http_ranges import HttpRanges

            return HttpRanges(most_bytes=KEPT_BLOCKS * BLOCK_BYTES)
        return fsspec.filesystem(kind)
    except ImportError as error:
        extra = "remote" if kind in ("http", "https", "s3", "s3a") else None
        if extra is None:
            raise DataError(f"{kind}:// needs a package that is not installed: {error}") from error
        raise MissingExtraError(f"{kind}:// cannot be read: {error}", extra=extra) from error


def _limit(system: Any, timeout_s: float) -> dict[str, float]:
    """Return the arguments that limit a request; systems that block know no limit."""
    return {"timeout": timeout_s} if getattr(system, "async_impl", False) else {}


# When each server was found to be away.
_away: dict[str, float] = {}


def _tried(
    url: str,
    request: Callable[[float], T],
    remaining_s: float,
    request_s: float | None = None,
) -> T:
    """Make a request, again if it fails for a reason that may pass and time is left."""
    deadline = time.monotonic() + remaining_s
    request_s = request_s or REQUEST_S
    host = server(url)
    is_away = time.monotonic() - _away.get(host, -AWAY_S) < AWAY_S
    tries = 0
    for wait_s in (*(() if is_away else WAITS_S), None):
        tries += 1
        left_s = deadline - time.monotonic()
        try:
            found = request(max(0.01, min(request_s, left_s)))
        except (DataError, MissingExtraError):
            raise
        except Exception as error:
            cause = _cause(error)
            if not _may_pass(cause):
                raise DecodeError(f"{url}: {_reason(cause)}") from error
            if wait_s is not None and deadline - time.monotonic() > wait_s:
                time.sleep(wait_s)
                continue
            raise _failed(url, cause, tries) from error
        _away.pop(host, None)
        return found
    raise AssertionError("the last try returns or raises")


def _failed(url: str, cause: BaseException, tries: int) -> DecodeTimeoutError:
    times = "once" if tries == 1 else f"{tries} times"
    if _names(cause) & _UNREACHABLE:
        _away[server(url)] = time.monotonic()
        return UnreachableError(
            f"{url}: the server {server(url)} cannot be reached, tried {times}: {_reason(cause)}"
        )
    return DecodeTimeoutError(f"{url}: {_reason(cause)}, tried {times}")


def _cause(error: BaseException) -> BaseException:
    """Return what is behind a "file not found" that stands for any failure, as fsspec's does."""
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _names(error: BaseException) -> set[str]:
    """Return the names of an error's classes, and of the system's error that it wraps."""
    names = {kind.__name__ for kind in type(error).__mro__}
    inner = getattr(error, "os_error", None)
    return names | (_names(inner) if isinstance(inner, BaseException) else set())


class _Answer(NamedTuple):
    """What a server has answered in the place of a file: an HTTP status and its message."""

    status: int
    message: str


def _answer(error: BaseException) -> _Answer | None:
    """Return the answer that an error tells of: one of aiohttp's, or of s3fs, botocore's below."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return _Answer(status, getattr(error, "message", ""))
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            # S3 also tells of errors in answers that are none by their status.
            if status >= 400:
                return _Answer(status, response.get("Error", {}).get("Message", ""))
    return None


def _may_pass(error: BaseException) -> bool:
    # S3 answers 400 to a request that has timed out.
    if isinstance(error, _CutError | TimeoutError):
        return True
    answer = _answer(error)
    if answer is not None:
        return answer.status >= 500 or answer.status in _PASSING_STATUS
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return False
    return isinstance(error, OSError) or bool(_names(error) & (_PASSING | _UNREACHABLE))


def _reason(error: BaseException) -> str:
    answer = _answer(error)
    if answer is not None:
        return f"the server answers {answer.status} {answer.message}".rstrip()
    if "FSTimeoutError" in _names(error):
        return "no answer in time"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return printable(str(error)) or type(error).__name__
