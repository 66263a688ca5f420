"""Analytic floating-point operations of the networks, the official numbers of vsalt.

Symbols: n tokens, d width, m MLP width, p values of a tubelet. The backward pass of a matrix
product costs two products of the same size, one of which is not needed where the input takes no
gradient (the tubelets).
"""

from vsalt.compute.types import ClipShapes


def block_flops(num_tokens: int, width: int, mlp_width: int) -> int:
    """Forward operations of one transformer block: 8 n d^2 + 4 n^2 d + 4 n d m."""
    projections = 8 * num_tokens * width**2
    attention = 4 * num_tokens**2 * width
    mlp = 4 * num_tokens * width * mlp_width
    return projections + attention + mlp


def encoder_forward_flops(
    num_tokens: int, *, width: int, depth: int, mlp_width: int, tubelet_values: int
) -> int:
    """Forward operations of an encoder on `num_tokens` kept tokens."""
    tokenizer = 2 * num_tokens * tubelet_values * width
    return tokenizer + depth * block_flops(num_tokens, width, mlp_width)


def encoder_train_flops(
    num_tokens: int, *, width: int, depth: int, mlp_width: int, tubelet_values: int
) -> int:
    """Forward and backward operations of an encoder; frames take no gradient."""
    tokenizer = 2 * num_tokens * tubelet_values * width
    return 2 * tokenizer + 3 * depth * block_flops(num_tokens, width, mlp_width)


def predictor_forward_flops(
    num_context: int,
    num_targets: int,
    *,
    in_width: int,
    width: int,
    depth: int,
    mlp_width: int,
    out_width: int,
) -> int:
    """Forward operations of a predictor on one mask."""
    embed = 2 * num_context * in_width * width
    out = 2 * num_targets * width * out_width
    blocks = depth * block_flops(num_context + num_targets, width, mlp_width)
    return embed + blocks + out


def predictor_train_flops(num_context: int, num_targets: int, **numbers: int) -> int:
    """Forward and backward operations of a predictor on one mask, as `predictor_forward_flops`."""
    return 3 * predictor_forward_flops(num_context, num_targets, **numbers)


def six_nd_trained_encoder(num_params: int, shapes: ClipShapes) -> float:
    """6 N D with D = the configured share of the clip's tokens per mask."""
    tokens = shapes.context_share * shapes.num_tokens * len(shapes.masks)
    return 6.0 * num_params * tokens


def six_nd_predictor(num_params: int, shapes: ClipShapes) -> float:
    """6 N D with D = all of the clip's tokens per mask (context and targets together).

    Hidden tokens that are not predicted are no part of them.
    """
    left_out = (1 - shapes.context_share) * (1 - shapes.target_share)
    return 6.0 * num_params * shapes.num_tokens * (1 - left_out) * len(shapes.masks)


def six_nd_frozen_encoder(num_params: int, shapes: ClipShapes) -> float:
    """2 N D with D = all of the clip's tokens, once for all masks."""
    return 2.0 * num_params * shapes.num_tokens
