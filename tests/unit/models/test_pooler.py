"""The attentive pooler: its formula by einsum, its initial weights, what it refuses."""

import math

import pytest
import torch
from torch import Tensor, nn

from support.tiny import randomise
from vsalt.errors import ConfigError
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.objectives.masked_prediction import count_params


def one_query_by_hand(pooler: AttentivePooler, tokens: Tensor, heads: int) -> Tensor:
    """Depth 1 in float64: softmax(q k / sqrt(d)) v per head, an MLP, and both residuals."""
    p = {name: param.detach().double() for name, param in pooler.named_parameters()}

    def normed(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * p[f"cross.{name}.weight"] + p[f"cross.{name}.bias"]

    def mapped(x: Tensor, name: str) -> Tensor:
        return torch.einsum("...i,oi->...o", x, p[f"cross.{name}.weight"]) + p[f"cross.{name}.bias"]

    width = len(p["query"])
    q = mapped(p["query"], "attn.q")
    k, v = mapped(normed(tokens.double(), "norm1"), "attn.kv").split(width, dim=-1)
    out = []
    for part in torch.arange(width).chunk(heads):
        logits = torch.einsum("d,bnd->bn", q[part], k[..., part]) / math.sqrt(len(part))
        out.append(torch.einsum("bn,bnd->bd", logits.softmax(-1), v[..., part]))
    x = p["query"] + torch.cat(out, dim=-1)
    hidden = mapped(normed(x, "norm2"), "mlp.fc1")
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + mapped(hidden, "mlp.fc2")


def test_one_query_is_the_formula() -> None:
    pooler = AttentivePooler(20, 5, 1)
    randomise(pooler, 0)
    tokens = torch.randn(3, 7, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = pooler(tokens)
    expected = one_query_by_hand(pooler, tokens, 5)
    torch.testing.assert_close(ours.double(), expected, atol=2e-5, rtol=1e-5)


def test_more_blocks_change_the_tokens_first() -> None:
    deep, flat = AttentivePooler(20, 5, 3), AttentivePooler(20, 5, 1)
    randomise(deep, 0)
    own = {name: value for name, value in deep.state_dict().items() if "blocks." not in name}
    flat.load_state_dict(own, strict=True)
    tokens = torch.randn(2, 7, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = flat(deep.blocks[1](deep.blocks[0](tokens)))
        assert torch.equal(deep(tokens), expected)
        assert (flat(tokens) - expected).abs().max() > 0.01


@pytest.mark.parametrize("depth", [1, 4])
def test_tokens_have_no_order_and_any_number(depth: int) -> None:
    classifier = AttentiveClassifier(AttentivePooler(20, 5, depth), 3)
    randomise(classifier, 0)
    tokens = torch.randn(2, 9, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert classifier(tokens).shape == (2, 3)
        torch.testing.assert_close(classifier(tokens.flip(1)), classifier(tokens))
        assert classifier(tokens[:, :1]).shape == (2, 3)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_parameter_starts_as_vjepa2s(depth: int) -> None:
    torch.manual_seed(0)
    pooler = AttentivePooler(192, 3, depth)
    stds = {}
    for name, param in pooler.named_parameters():
        values = param.detach()
        if param.ndim == 2:
            stds[name] = values.std().item()
        elif name == "query":
            assert values.std() == pytest.approx(0.02, rel=4 / math.sqrt(2 * 192))
        else:
            assert (values == ("norm" in name and name.endswith("weight"))).all()
    last = max(1, depth - 1)  # the query's block shares the last self-attention block's divisor
    expected = dict.fromkeys(stds, 0.02)
    for index in range(depth - 1):
        for name in ("attn.proj", "mlp.fc2"):
            expected[f"blocks.{index}.{name}.weight"] = 0.02 / math.sqrt(2 * (index + 1))
    expected["cross.mlp.fc2.weight"] = 0.02 / math.sqrt(2 * last)
    assert stds == pytest.approx(expected, rel=4 / math.sqrt(2 * 192 * 192))


@pytest.mark.parametrize(
    # As V-JEPA 2's module has them, with 174 classes.
    ("width", "depth", "params"),
    [(1024, 4, 49_514_670), (1664, 4, 130_514_350), (768, 1, 6_631_854)],
)
def test_parameters_are_as_many_as_vjepa2s(width: int, depth: int, params: int) -> None:
    with torch.device("meta"):
        classifier = AttentiveClassifier(AttentivePooler(width, 16, depth), 174)
    assert count_params(classifier) == params


def test_the_classifiers_map_starts_as_torchs() -> None:
    """Uniform within 1 / sqrt(width), bias too: V-JEPA 2 does not touch it."""
    torch.manual_seed(0)
    linear = AttentiveClassifier(AttentivePooler(192, 3, 1), 400).linear
    bound = 1 / math.sqrt(192)
    for param in (linear.weight.detach(), linear.bias.detach()):
        assert param.abs().max() <= bound
        assert param.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_the_norms_take_eps_and_default_to_the_originals() -> None:
    for settings, eps in (({}, 1e-5), ({"eps": 1e-6}, 1e-6)):
        norms = [
            part
            for part in AttentivePooler(12, 2, 4, **settings).modules()
            if isinstance(part, nn.LayerNorm)
        ]
        assert len(norms) == 8
        assert {norm.eps for norm in norms} == {eps}


def test_every_parameter_gets_a_gradient() -> None:
    classifier = AttentiveClassifier(AttentivePooler(12, 2, 4), 3)
    randomise(classifier, 0)
    classifier(torch.randn(2, 5, 12)).square().sum().backward()
    for name, param in classifier.named_parameters():
        assert param.grad is not None, name
        assert param.grad.abs().max() > 0, name


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 20 cannot be divided among 3 heads"):
        AttentivePooler(20, 3, 4)
    with pytest.raises(ConfigError, match="depth is 0; it must be at least 1"):
        AttentivePooler(20, 4, 0)
