"""What SALT's tables count (arXiv 2509.24317, tables 10, 11 and 16): 6 N D with rounded inputs.

Per clip of L tokens under two masks, with N_s, N_t and N_p parameters of the student, the teacher
and the predictor (in stage 1: the decoder):

    F1 = L (0.2 * 6 N_t + 2 * 6 N_p)                  stage 1
    F2 = L (0.2 * 6 N_s + 2 * 6 N_p + 2 N_t)          a stage with a frozen teacher

A trained encoder sees a tenth of the tokens per mask, a predictor all of them per mask, a frozen
teacher all of them once. `compute.flops` has the same rule with the true numbers of parameters.
"""

import math

from vsalt.compute.types import PAPER_CONTEXT_SHARE

ENCODER_PARAMS = {"B": 86e6, "L": 303e6, "H": 632e6, "g": 1.012e9, "G": 1.843e9}
"""Parameters as printed, by size (table 3)."""
PREDICTOR_PARAMS = 22e6
"""One number for predictors and decoders of all sizes."""
PREDICTOR_SHAPE = (384, 12, 16, 1536)
"""Width, depth, heads and MLP width of the network that has so many (table 4)."""
NUM_MASKS = 2
CLIP_GRID = (8, 14, 14)
"""Tokens of a clip of 16 frames of 224 x 224 pixels."""
CLIP_TOKENS = math.prod(CLIP_GRID)
BATCH_SIZE = 3072
"""Clips per step."""


def teacher_stage_flops(teacher: str, num_clips: int, clip_tokens: int = CLIP_TOKENS) -> float:
    """Return F1 over a stage.

    Args:
        teacher: size of the encoder that is trained, B to G.
        num_clips: steps times clips per step.
        clip_tokens: L.
    """
    return num_clips * clip_tokens * _trained(teacher)


def student_stage_flops(
    student: str, teacher: str, num_clips: int, clip_tokens: int = CLIP_TOKENS
) -> float:
    """Return F2 over a stage; with an encoder as its own teacher, the cost of V-JEPA 2.

    Args:
        student: size of the encoder that is trained, B to G.
        teacher: size of the frozen encoder.
        num_clips: steps times clips per step.
        clip_tokens: L.
    """
    return num_clips * clip_tokens * (_trained(student) + 2 * ENCODER_PARAMS[teacher])


def _trained(encoder: str) -> float:
    """Operations of encoder and predictor per token of a clip."""
    context_share = NUM_MASKS * PAPER_CONTEXT_SHARE
    return 6 * (context_share * ENCODER_PARAMS[encoder] + NUM_MASKS * PREDICTOR_PARAMS)
