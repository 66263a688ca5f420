"""A moving average of the student's own weights as the target: what V-JEPA learns from.

As `FrozenTeacher`, it sees the whole clip once for all masks, without gradient and in eval mode,
and its output is gathered at the target tokens. Unlike it, it follows the student: after every
optimiser step each weight becomes

    target = momentum * target + (1 - momentum) * student

(V-JEPA, arXiv 2404.08471, and its training code). That is 2 operations per weight and no matrix
product: compute is counted without it, as torch's counter does.
"""

import copy

import torch
from torch import Tensor

from vsalt.models.parts import own_part
from vsalt.models.vit import Encoder
from vsalt.targets.frozen import FrozenTeacher, TargetNorm


class EmaTeacher(FrozenTeacher):
    """A copy of the student as it is now, which `update` moves towards what the student becomes.

    Args:
        student: the encoder that is trained; only copied here.
        norm: how target tokens are standardised.
    """

    encoder: Encoder

    def __init__(self, student: Encoder, norm: TargetNorm) -> None:
        super().__init__(copy.deepcopy(student), norm)

    @torch.no_grad()
    def update(self, student: Encoder, momentum: float) -> None:
        """Move every weight towards the student's, in the weights' own type, float32.

        Args:
            student: of the same configuration as the copied one.
            momentum: share that is kept, in [0, 1]; 1 changes nothing.
        """
        # Of sharded encoders, both are sharded alike: a part follows the same part.
        own: list[Tensor] = [own_part(weight) for weight in self.encoder.parameters()]
        theirs: list[Tensor] = [own_part(weight) for weight in student.parameters()]
        torch._foreach_mul_(own, momentum)
        torch._foreach_add_(own, theirs, alpha=1 - momentum)
