"""Read files again and again, and tell what each reading leaves allocated.

usage: python read_growth.py READS ROUNDS PATH...

Prints a JSON list with, for each file, the bytes per reading in each round. It is a process of its
own, so that what else a test process has going on is not counted.
"""

import ctypes
import gc
import json
import sys

from vsalt.data.decode import Video
from vsalt.errors import DecodeError

# Of malloc.h: what mmap gave, and what malloc has given out of the rest, are the fifth and eighth.
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks")


class _Allocated(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_size_t) for name in (*_FIELDS, "fordblks", "keepcost"))


def main() -> int:
    reads, rounds, paths = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    growths = []
    for path in paths:
        found = []
        for _ in range(rounds):
            before = allocated()
            for _ in range(reads):
                read(path)
            found.append((allocated() - before) / reads)
        growths.append(found)
    print(json.dumps(growths))
    return 0


def read(path: str) -> None:
    """Read a clip from the beginning, and part of what both generators give."""
    try:
        with Video(path) as video:
            video.read([0.25, 0.45])
            next(video.frame_times())
            next(video.read_all(0.5, 2.0))
            video.read([0.25, 1.95])
    except DecodeError:
        return


def allocated() -> int:
    """Bytes that the C library has given out; Python's small objects lie elsewhere."""
    gc.collect()
    function = ctypes.CDLL(None).mallinfo2
    function.restype = _Allocated
    found = function()
    return int(found.uordblks + found.hblkhd)


if __name__ == "__main__":
    raise SystemExit(main())
