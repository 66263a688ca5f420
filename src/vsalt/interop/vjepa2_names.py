"""What V-JEPA 2's networks call their tensors: in transformers, and in the original checkpoints.

Sources of the names: `VJEPA2Model` and `VJEPA2ForVideoClassification` of transformers 5;
`VisionTransformer` and `VisionTransformerPredictor` of facebookresearch/vjepa2.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vsalt.interop.matching import Match, match, repeated

_MLP = (match("mlp.fc1", "mlp.fc1"), match("mlp.fc2", "mlp.fc2"))
_NORMS = (match("norm1", "norm1"), match("norm2", "norm2"))

_HF_BLOCK = (
    *_NORMS,
    *_MLP,
    match("attn.qkv", "attention.query", "attention.key", "attention.value"),
    match("attn.proj", "attention.proj"),
)
_ORIGINAL_BLOCK = (
    *_NORMS,
    *_MLP,
    match("attn.qkv", "attn.qkv"),
    match("attn.proj", "attn.proj"),
)
_HF_POOLER_NORMS = (match("norm1", "layer_norm1"), match("norm2", "layer_norm2"))
_HF_POOLER_BLOCK = (
    *_HF_POOLER_NORMS,
    *_MLP,
    match("attn.qkv", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    match("attn.proj", "self_attn.out_proj"),
)
_HF_POOLER_QUERY = (
    *_HF_POOLER_NORMS,
    *_MLP,
    match("attn.q", "cross_attn.q_proj"),
    match("attn.kv", "cross_attn.k_proj", "cross_attn.v_proj"),
)


class Names(NamedTuple):
    """Where encoder and predictor lie, and what their modules are called there.

    Attributes:
        encoder: matches of an encoder of a depth.
        encoder_blocks: what comes before the numbers of its blocks.
        predictor: matches of a predictor of a depth; mask tokens are not among them.
        predictor_blocks: what comes before the numbers of its blocks.
    """

    encoder: Callable[[int], list[Match]]
    encoder_blocks: str
    predictor: Callable[[int], list[Match]]
    predictor_blocks: str


def _hf_encoder(depth: int) -> list[Match]:
    return [
        match("tokenizer.projection", "encoder.embeddings.patch_embeddings.proj"),
        *repeated(_HF_BLOCK, depth, theirs="encoder.layer"),
        match("norm", "encoder.layernorm"),
    ]


def _hf_predictor(depth: int) -> list[Match]:
    return [
        match("embed", "predictor.embeddings.predictor_embeddings"),
        *repeated(_HF_BLOCK, depth, theirs="predictor.layer"),
        match("norm", "predictor.layernorm"),
        match("out", "predictor.proj"),
    ]


def _original_encoder(depth: int) -> list[Match]:
    return [
        match("tokenizer.projection", "patch_embed.proj"),
        *repeated(_ORIGINAL_BLOCK, depth, theirs="blocks"),
        match("norm", "norm"),
    ]


def _original_predictor(depth: int) -> list[Match]:
    return [
        match("embed", "predictor_embed"),
        *repeated(_ORIGINAL_BLOCK, depth, theirs="predictor_blocks"),
        match("norm", "predictor_norm"),
        match("out", "predictor_proj"),
    ]


HF = Names(_hf_encoder, "encoder.layer", _hf_predictor, "predictor.layer")
ORIGINAL = Names(_original_encoder, "blocks", _original_predictor, "predictor_blocks")

HF_MASK_TOKENS = "predictor.embeddings.mask_tokens"
"""Shape (slots, 1, 1, width)."""
HF_QUERY = "pooler.query_tokens"
"""Shape (1, 1, width)."""
HF_BASE = "vjepa2."
"""Prefix of encoder and predictor in the classification model."""
USED_MASK_TOKEN = 1
"""Of several mask tokens, the one that transformers' forward uses: number 1, modulo their count."""


def hf_classifier(num_self_blocks: int) -> Sequence[Match]:
    """Return the matches of an attentive classifier; the query token is not among them."""
    return [
        *repeated(
            _HF_POOLER_BLOCK,
            num_self_blocks,
            ours="pooler.blocks",
            theirs="pooler.self_attention_layers",
        ),
        *(one.below("pooler.cross.", "pooler.cross_attention_layer.") for one in _HF_POOLER_QUERY),
        match("linear", "classifier"),
    ]
