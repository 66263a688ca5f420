"""Weights on disk: strict loading, clear errors, a hash of everything."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from support.tiny import make_encoder
from vsalt.errors import WeightsError
from vsalt.models.weights import (
    load_strictly,
    part_of,
    read_weights,
    save_weights,
    weights_hash,
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    encoder = make_encoder()
    path = tmp_path / "model.safetensors"
    save_weights(path, {**encoder.state_dict(), "turned": torch.arange(6).view(2, 3).T})
    tensors = read_weights(path)
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {*encoder.state_dict(), "turned"}
    assert torch.equal(tensors.pop("turned"), torch.tensor([[0, 3], [1, 4], [2, 5]]))
    other = make_encoder(seed=1)
    load_strictly(other, tensors, "file")
    for name, param in encoder.named_parameters():
        assert torch.equal(other.get_parameter(name), param)


def test_the_mode_of_a_file_is_found_without_touching_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> int:
        raise AssertionError("files of other threads would be open to all meanwhile")

    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", refuse)
        save_weights(tmp_path / "model.safetensors", {"a": torch.zeros(1)})
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=r"there is no weights file .*model\.safetensors"):
        read_weights(path)
    save_weights(path, make_encoder().state_dict())
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff" * 100, b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"the weights file .* cannot be read"):
            read_weights(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(path)


def test_strict_loading_lists_all_that_does_not_fit() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.LayerNorm(4)})
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tensors = {
        "a.weight": torch.zeros(2, 3),
        "a.bias": torch.zeros(3),
        "b.weight": torch.zeros(4),
        "c.scale": torch.zeros(7),
    }
    with pytest.raises(WeightsError) as caught:
        load_strictly(module, tensors, "the file")
    assert str(caught.value).splitlines() == [
        "the weights in the file do not fit:",
        "  misshapen   a.weight [2, 3], needed [3, 2]",
        "  missing     b.bias [4]",
        "  unexpected  c.scale [7]",
    ]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_parts_are_cut_at_the_dot() -> None:
    tensors = {
        name: torch.zeros(1) for name in ("encoder.a.b", "encoder2.c", "encoder", "x.encoder.d")
    }
    assert set(part_of(tensors, "encoder")) == {"a.b"}


def test_the_hash_tells_names_types_shapes_and_values_apart() -> None:
    base = {"a": torch.arange(6, dtype=torch.float32), "b": torch.zeros(2)}
    variants = [
        base,
        {"a": base["a"].view(2, 3), "b": base["b"]},
        {"a": base["a"].view(torch.int32), "b": base["b"]},
        {"a": base["b"], "b": base["a"]},
        {"a2": base["a"], "b": base["b"]},
        {"a": base["a"]},
        {"a": torch.nextafter(base["a"], torch.tensor(9.0)), "b": base["b"]},
        {"a": base["a"], "b": -base["b"]},
    ]
    assert len({weights_hash(tensors) for tensors in variants}) == len(variants)
    strided = torch.stack([base["a"], base["a"]], dim=1)[:, 0]
    assert weights_hash({"b": base["b"], "a": strided}) == weights_hash(base)
    content = b"a torch.bfloat16 [1]\n" + bytes([0x80, 0x3F])  # 1.0, little endian
    one = {"a": torch.ones(1, dtype=torch.bfloat16)}
    assert weights_hash(one) == hashlib.sha256(content).hexdigest()
