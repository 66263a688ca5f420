"""Attention in bf16 on a CPU, which is by products, beside float64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from vsalt.models import attention
from vsalt.models.attention import attend

# A bf16 number has 8 bits; products of two rounded factors are summed in fp32.
BF16 = 1e-2


def heads(dtype: torch.dtype, tokens: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.randn(3, 2, 3, tokens, 16, generator=torch.Generator().manual_seed(0))
    # Rounded once, so that both sides start from the same numbers; values are not mean free.
    rounded = (draws * 1.5 + torch.tensor([0.0, 0.0, 1.0])[:, None, None, None, None]).bfloat16()
    q, k, v = (part.to(dtype).requires_grad_() for part in rounded)
    return q, k, v


def with_gradients(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    mixed = scores.softmax(-1) @ v if q.dtype == torch.float64 else attend(q, k, v)
    signs = torch.linspace(-1, 1, mixed.numel()).reshape(mixed.shape).bfloat16().to(mixed.dtype)
    return (mixed.detach(), *torch.autograd.grad(mixed, (q, k, v), signs))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, BF16), (torch.float32, 1e-6)], ids=["bf16", "fp32"]
)
def test_attention_and_its_gradients_are_the_formula(dtype: torch.dtype, tolerance: float) -> None:
    ours = with_gradients(*heads(dtype))
    expected = with_gradients(*heads(torch.float64))
    for own, right in zip(ours, expected, strict=True):
        assert own.dtype == dtype
        assert torch.linalg.norm(own.double() - right) < tolerance * torch.linalg.norm(right)


def test_many_tokens_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MAX_TOKENS", 39)
    q, k, v = heads(torch.bfloat16)
    assert torch.equal(attend(q, k, v), scaled_dot_product_attention(q, k, v))


def test_under_autocast_the_result_stays_bf16() -> None:
    q, k, v = heads(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attend(q, k, v).dtype == torch.bfloat16
