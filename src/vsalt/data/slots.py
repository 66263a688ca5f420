"""Batches on their way from a worker to its parent, with their tensors in shared memory.

A slot is the shared memory of one batch; it is used again and again and grows to the largest.
The batch itself is pickled; in place of each tensor the pickle names its place in the slot.
"""

import io
import math
import pickle
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vsalt.data.shared_memory import SharedBlock

# Whole cache lines.
_ALIGNMENT = 64


class _TensorPlace(NamedTuple):
    """Where a tensor lies in a slot."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class SlotWriter:
    """The worker's side of a slot.

    Args:
        block: the slot's memory.
    """

    def __init__(self, block: SharedBlock) -> None:
        self._block = block
        self._memory = block.view()
        self._end = 0
        # Held until the next batch, so that no other tensor can get the address of one.
        self._placed: dict[int, tuple[int, Tensor]] = {}

    def begin(self) -> None:
        """Begin a new batch, over the last one."""
        self._end = 0
        self._placed = {}

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a contiguous tensor in the slot.

        Raises:
            DataError: there is not so much memory.
        """
        start = math.ceil(self._end / _ALIGNMENT) * _ALIGNMENT
        self._end = start + math.prod(shape) * dtype.itemsize
        if self._end > len(self._memory):
            self._block.grow(self._end)
            self._memory = self._block.view()
        part = self._memory[start : self._end]
        tensor = torch.from_numpy(part).view(dtype).reshape(shape)
        self._placed[tensor.data_ptr()] = start, tensor
        return tensor

    def dump(self, batch: object) -> bytes:
        """Pickle a batch; tensors that `empty` has not placed in the slot are copied into it."""
        file = io.BytesIO()
        _Pickler(file, self).dump(batch)
        return file.getvalue()

    def place_of(self, tensor: Tensor) -> _TensorPlace:
        """Return where a tensor lies, and put it there if it lies elsewhere."""
        if tensor.data_ptr() not in self._placed or not _is_dense(tensor):
            tensor = self.empty(tuple(tensor.shape), tensor.dtype).copy_(tensor)
        start, _ = self._placed[tensor.data_ptr()]
        return _TensorPlace(start, tensor.dtype, tuple(tensor.shape), tensor.stride())


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, writer: SlotWriter) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._writer = writer

    def persistent_id(self, value: object) -> _TensorPlace | None:
        return self._writer.place_of(value) if isinstance(value, Tensor) else None


def load_batch(data: bytes, memory: UInt8[np.ndarray, "bytes"], *, copy: bool) -> Any:
    """Return a batch that `SlotWriter.dump` has pickled.

    Args:
        data: the pickle.
        memory: the slot's.
        copy: give the tensors memory of their own; otherwise they are views that hold `memory`.
    """
    return _Unpickler(data, memory, copy).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, memory: np.ndarray, copy: bool) -> None:
        super().__init__(io.BytesIO(data))
        self._memory = memory
        self._copy = copy

    def persistent_load(self, place: _TensorPlace) -> Tensor:
        tensor = _tensor_at(self._memory, place)
        return tensor.clone() if self._copy else tensor


def _tensor_at(memory: np.ndarray, place: _TensorPlace) -> Tensor:
    part = memory[place.start : place.start + place.num_bytes]
    return torch.from_numpy(part).view(place.dtype).as_strided(place.shape, place.stride)


def _is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor fills its memory without gaps, in whatever order of its axes."""
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return last + 1 == tensor.numel()
