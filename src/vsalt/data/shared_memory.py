"""Memory that spawned worker processes share with their parent instead of copying it.

It has no name (memfd), so that nothing stays behind however processes end, and it takes nothing of
/dev/shm, which containers keep small.
"""

import mmap
import os
import weakref
from multiprocessing import context, reduction
from typing import Any, cast

import numpy as np
from jaxtyping import Shaped, UInt8

from vsalt.errors import DataError


class SharedBlock:
    """A block of bytes; a copy that is sent to a starting process is the same memory.

    Args:
        fd: of the memory; None makes a new, empty block.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._fd = os.memfd_create("vsalt") if fd is None else fd
        self._map: mmap.mmap | None = None
        weakref.finalize(self, os.close, self._fd)

    @property
    def num_bytes(self) -> int:
        """Size of the block; another process may have made it larger."""
        return os.fstat(self._fd).st_size

    def grow(self, num_bytes: int) -> None:
        """Make the block at least so large; the memory is taken now.

        Otherwise memory that has run short would show as a SIGBUS in mid-write.

        Raises:
            DataError: there is not so much memory.
        """
        if num_bytes <= self.num_bytes:
            return
        try:
            os.posix_fallocate(self._fd, 0, num_bytes)
        except OSError as error:
            raise DataError(
                f"{num_bytes / 1e6:,.1f} MB of memory that data workers share cannot be had "
                f"({error.strerror}); give fewer --data.workers, a smaller --data.prefetch or "
                "micro-batch, or the container more memory"
            ) from error

    def view(self) -> UInt8[np.ndarray, "bytes"]:
        """Return a new array over the whole block, which stays valid when the block grows."""
        num_bytes = self.num_bytes
        if not num_bytes:
            return np.empty(0, np.uint8)
        if self._map is None or len(self._map) < num_bytes:
            self._map = mmap.mmap(self._fd, num_bytes)
        return np.frombuffer(self._map, np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach_block, (reduction.DupFd(self._fd),)


def _attach_block(handle: Any) -> SharedBlock:
    return SharedBlock(handle.detach())


class SharedArray:
    """An array that is sent to starting processes without a copy; elsewhere it pickles by value.

    Attributes:
        values: the array, read-only.
    """

    def __init__(self, values: Shaped[np.ndarray, "..."]) -> None:
        self.values = values.view()
        self.values.flags.writeable = False
        self._block: SharedBlock | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        values = self.values
        if context.get_spawning_popen() is None or not values.nbytes:
            return SharedArray, (values,)
        if self._block is None:
            self._block = SharedBlock()
            self._block.grow(values.nbytes)
            shared = _as_array(self._block, values.dtype, values.shape)
            shared[...] = values
            shared.flags.writeable = False
            # From here on this process has no copy of its own either.
            self.values = shared
        return _attach_array, (self._block, values.dtype, values.shape)


def _as_array(block: SharedBlock, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    num_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    return cast(np.ndarray, block.view()[:num_bytes].view(dtype).reshape(shape))


def _attach_array(block: SharedBlock, dtype: np.dtype[Any], shape: tuple[int, ...]) -> SharedArray:
    return SharedArray(_as_array(block, dtype, shape))
