"""`vsalt export --self-test`: enough rows, all within the tolerance, and able to fail."""

import pytest
import torch

from vsalt.interop import vjepa2_names
from vsalt.interop.matching import match
from vsalt.interop.self_test import FROM, TO, TOLERANCE, self_test


def test_all_conversions_keep_what_networks_compute() -> None:
    state = torch.random.get_rng_state()
    rows = self_test()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(rows) >= 8
    assert {row.direction for row in rows} == {FROM, TO, "original to vsalt"}
    assert len({(row.model, row.direction) for row in rows}) == len(rows)
    assert all(0 < row.max_error <= TOLERANCE for row in rows), rows


def test_names_that_are_mixed_up_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = (
        *(one for one in vjepa2_names._HF_BLOCK if not one.ours.startswith("norm")),
        match("norm1", "norm2"),
        match("norm2", "norm1"),
    )
    monkeypatch.setattr(vjepa2_names, "_HF_BLOCK", swapped)
    wrong = [row for row in self_test() if row.max_error > 100 * TOLERANCE]
    assert {row.direction for row in wrong} == {FROM, TO}
