"""Tokens in few bytes: within the stated error, only where asked for, of the stated size."""

import numpy as np
import pytest
import torch

from vsalt.errors import ConfigError
from vsalt.targets.cache_config import CacheConfig, TokenFormat
from vsalt.targets.token_codec import TokenCodec

FORMATS: tuple[TokenFormat, ...] = ("int8", "fp8", "fp32")


def tokens(num_clips: int = 3, num_tokens: int = 5, width: int = 20, seed: int = 0) -> torch.Tensor:
    """Tokens of very different sizes, one of them zeros."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(num_clips, num_tokens, width, generator=generator)
    values = values * torch.logspace(-6, 4, num_tokens)[:, None]
    values[1, 2] = 0
    return values


def all_ids(values: torch.Tensor) -> torch.Tensor:
    return torch.arange(values.shape[1]).expand(values.shape[0], -1)


def bound(kind: str, values: np.ndarray) -> np.ndarray:
    """The largest error that the formats' own definitions allow."""
    largest = np.abs(values).max(axis=-1, keepdims=True)
    if kind == "int8":
        # Half of a step of max / 127.
        return np.broadcast_to(largest / 254, values.shape)
    if kind == "fp8":
        # 3 bits of fraction: half of 2^-3 of the power of two below; below 2^-6 steps are 2^-9.
        return np.maximum(np.abs(values) / 16, largest / 448 * 2.0**-10)
    return np.zeros_like(values)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_errors_are_within_what_the_format_allows(kind: TokenFormat, seed: int) -> None:
    values = tokens(seed=seed)
    codec = TokenCodec(kind, 5, 20)
    again = codec.decode(codec.encode(values), all_ids(values))
    assert again.dtype == torch.float32
    exact = values.double().numpy()
    error = np.abs(again.double().numpy() - exact)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(exact).max(axis=-1, keepdims=True)
    assert (error <= bound(kind, exact) + rounding * (kind != "fp32")).all()
    assert (again[1, 2] == 0).all()
    if kind != "fp32":
        # The bound is no wide one: some number comes near it.
        assert (error > 0.8 * bound(kind, exact))[0].any()


@pytest.mark.parametrize("kind", FORMATS)
def test_only_the_asked_tokens_in_the_asked_order(kind: TokenFormat) -> None:
    values = tokens()
    codec = TokenCodec(kind, 5, 20)
    records = codec.encode(values)
    everything = codec.decode(records, all_ids(values))
    ids = torch.tensor([[4, 0], [1, 1], [3, 2]])
    chosen = codec.decode(records, ids)
    for clip in range(3):
        assert torch.equal(chosen[clip], everything[clip][ids[clip]])


@pytest.mark.parametrize(
    ("kind", "num_tokens", "width", "size"),
    [
        ("int8", 32, 12, 32 * (12 + 4)),
        ("fp8", 32, 12, 32 * (12 + 4)),
        ("fp32", 32, 12, 32 * 12 * 4),
        ("int8", 1568, 1024, 1568 * 1028),
        ("int8", 5, 20, 128),  # 120, up to the next multiple of 64
        ("fp32", 5, 20, 448),  # 400
    ],
)
def test_bytes_of_a_clip(kind: TokenFormat, num_tokens: int, width: int, size: int) -> None:
    codec = TokenCodec(kind, num_tokens, width)
    assert codec.record_bytes == -(-size // 64) * 64
    assert codec.encode(torch.ones(2, num_tokens, width)).shape == (2, codec.record_bytes)


def test_records_of_a_clip_do_not_depend_on_the_others() -> None:
    values = tokens()
    codec = TokenCodec("int8", 5, 20)
    whole = codec.encode(values)
    assert all(torch.equal(whole[[i]], codec.encode(values[[i]])) for i in range(3))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shard-mb is 0.*\n.*encode-batch is 0"):
        CacheConfig(shard_mb=0.0, encode_batch=0)
