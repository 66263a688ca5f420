"""Random numbers as pure functions of their key.

Everything random in a run (which clip, which window, which crop, which mask) is drawn from a
counter-based generator whose key is the tuple of things the draw may depend on, for instance
`("mask", seed, step, position, kind)`. Hence a draw does not depend on the number of workers,
processes or accumulation steps, and resuming a run needs no saved generator state.
"""

import hashlib

import numpy as np


def keyed_int(*key: str | int | float, bits: int = 64) -> int:
    """Return an unsigned integer of `bits` bits (a multiple of 8) that depends on the key alone.

    The key's parts are hashed by BLAKE2b with their type and length, so `("a", 1)` and `("a1",)`
    differ.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=bits // 8).digest()
    return int.from_bytes(digest, "little")


def keyed_generator(*key: str | int | float) -> np.random.Generator:
    """Return a numpy generator (Philox 4x64) keyed by the given parts."""
    return np.random.Generator(np.random.Philox(key=keyed_int(*key, bits=128)))


def keyed_permutation(size: int, *key: str | int | float) -> np.ndarray:
    """Return a permutation of `range(size)` (int64) that depends on the key alone.

    It sorts raw Philox words, whose stream numpy guarantees across versions.
    """
    words = np.random.Philox(key=keyed_int(*key, bits=128)).random_raw(size)
    return np.argsort(words, kind="stable")
