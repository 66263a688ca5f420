"""Names the bytes of one video or image: a whole file, or a part of one."""

from typing import NamedTuple


class Media(NamedTuple):
    """Where the bytes of one video or image lie.

    Attributes:
        path: the file; for a packed video the tar file it lies in.
        offset: its first byte in the file.
        size: its number of bytes; None is all of the file from `offset` on.
    """

    path: str
    offset: int = 0
    size: int | None = None

    def __str__(self) -> str:
        if self.size is not None:
            return f"{self.path} (bytes {self.offset} to {self.offset + self.size})"
        return f"{self.path} (from byte {self.offset} on)" if self.offset else self.path
