"""Batches through a slot: what is placed in shared memory is not copied, in any order of axes."""

import pytest
import torch

from vsalt.data.shared_memory import SharedBlock
from vsalt.data.slots import SlotWriter, load_batch


@pytest.fixture
def block():
    return SharedBlock()


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_a_placed_tensor_is_seen_where_it_lies(block, order):
    writer = SlotWriter(block)
    writer.begin()
    first = writer.empty((3,), torch.int64).copy_(torch.tensor([1, 2, 3]))
    placed = writer.empty((4, 5, 6), torch.uint8).permute(order)
    data = writer.dump((first, placed))
    # Written after the pickle: only memory that is shared can show it.
    placed.copy_(torch.arange(120, dtype=torch.uint8).reshape(placed.shape))
    seen_first, seen = load_batch(data, block.view(), copy=False)
    assert seen_first.tolist() == [1, 2, 3]
    assert seen.shape == placed.shape
    assert seen.flatten().tolist() == list(range(120))


def test_a_copy_keeps_its_values_when_the_slot_is_used_again(block):
    writer = SlotWriter(block)
    writer.begin()
    placed = writer.empty((2, 3), torch.uint8).t()
    placed.copy_(torch.tensor([[0, 1], [2, 3], [4, 5]]))
    kept = load_batch(writer.dump(placed), block.view(), copy=True)
    writer.begin()
    writer.empty((6,), torch.uint8).fill_(9)
    assert kept.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_tensors_from_elsewhere_and_parts_of_tensors_arrive_as_they_are(block):
    writer = SlotWriter(block)
    writer.begin()
    placed = writer.empty((4, 6), torch.float32).copy_(torch.arange(24.0).reshape(4, 6))
    foreign = torch.arange(10)[::3]
    part, rows, own = load_batch(
        writer.dump((placed[:, :2], placed[:2], foreign)), block.view(), copy=False
    )
    assert part.tolist() == [[0, 1], [6, 7], [12, 13], [18, 19]]
    assert rows.tolist() == placed[:2].tolist()
    assert own.tolist() == [0, 3, 6, 9]
