"""A file that the encoding library writes to, whose errors come out where they can be caught.

PyAV calls a Python file from inside of FFmpeg, several times after the first failure, and prints a
traceback for every exception but one.
"""

import os
from typing import IO


class QuietFile:
    """Passes on to a file until that fails; then takes everything and does nothing.

    Args:
        file: open for reading and writing, by a name; the library may open it anew to read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.name = file.name
        self._file = file
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error, if there was one; call this after the library was.

        Raises:
            OSError: the file could not be written.
        """
        if self._error is not None:
            raise self._error

    def write(self, data: bytes) -> int:
        """Write all of it."""
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def read(self, size: int) -> bytes:
        """Read at most so many bytes."""
        return self._file.read(size) if self._error is None else b""

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; that may write what is held back."""
        if self._error is None:
            try:
                return self._file.seek(position, whence)
            except OSError as error:
                self._error = error
        return position

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell() if self._error is None else 0
