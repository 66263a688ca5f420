"""Parts of files by HTTP, as fsspec reads them, but never more of a file than is asked for.

fsspec reads a reply to its end before it looks at it. A server that knows no byte ranges sends all
of a file, which may be larger than memory.
"""

from typing import Any

from fsspec.implementations.http import HTTPFileSystem

from vsalt.errors import DecodeError

_CHUNK_BYTES = 1 << 16
_PARTIAL_CONTENT = 206


class HttpRanges(HTTPFileSystem):  # type: ignore[misc]
    """A file system of http:// and https://, with what fsspec's own settings say of these.

    Args:
        most_bytes: of a whole file that is taken where a part was asked for.
    """

    # Whoever made it keeps it.
    cachable = False

    def __init__(self, *, most_bytes: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._most_bytes = most_bytes
        # A part of a compressed reply would be none of the file.
        headers = {**self.kwargs.get("headers", {}), "Accept-Encoding": "identity"}
        self.kwargs["headers"] = headers

    async def _cat_file(
        self, url: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return the bytes from `start` to `end`, or all of a file if the server knows no ranges.

        Raises:
            DecodeError: it knows none, and the file is too large or ends before `end`.
        """
        if start is None or end is None:
            whole: bytes = await super()._cat_file(url, start, end, **options)
            return whole
        headers = {**self.kwargs["headers"], "Range": f"bytes={start}-{end - 1}"}
        settings = {**self.kwargs, **options, "headers": headers}
        session = await self.set_session()
        async with session.get(self.encode_url(url), **settings) as reply:
            self._raise_not_found_for_status(reply, url)
            data = bytearray()
            async for chunk in reply.content.iter_chunked(_CHUNK_BYTES):
                data += chunk
                if len(data) > max(self._most_bytes, end - start):
                    raise DecodeError(
                        f"{url}: the server sends the whole file where a part is asked for; files "
                        f"of more than {self._most_bytes} bytes need a server that knows byte "
                        "ranges"
                    )
        if reply.status != _PARTIAL_CONTENT and start and len(data) < end:
            raise DecodeError(f"{url}: the file ends at byte {len(data)}")
        return bytes(data)
