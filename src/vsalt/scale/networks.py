"""How many weights the networks of a stage have, by the unit that is sharded at once.

A unit is a block of the encoder or of the predictor; what is in no block is one more unit. Shapes
are kept, because sharding over W GPUs cuts every tensor along its first dimension and fills up.

Symbols: d width, m MLP width, V values of a tubelet, P channels of a target.
"""

import math
from dataclasses import dataclass

from vsalt.models.config import Architecture

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unit:
    """Weights that are gathered and reduced together.

    Attributes:
        shapes: of every weight.
    """

    shapes: tuple[Shape, ...]

    @property
    def num_weights(self) -> int:
        """All weights."""
        return sum(math.prod(shape) for shape in self.shapes)

    def shard(self, num_gpus: int) -> int:
        """Return the weights of one GPU's part, each tensor filled up to a multiple of the GPUs."""
        return sum(-(-first // num_gpus) * math.prod(rest) for first, *rest in self.shapes)


@dataclass(frozen=True)
class Networks:
    """What a stage trains, and what gives its targets.

    Attributes:
        encoder: numbers of the encoder that is trained.
        predictor: numbers of the predictor.
        teacher: numbers of the frozen teacher or of the moving average; None where pixels are the
            target.
        tubelet: frames, height and width of a token, in pixels.
        is_rotary: whether positions turn queries and keys.
    """

    encoder: Architecture
    predictor: Architecture
    teacher: Architecture | None
    tubelet: tuple[int, int, int]
    is_rotary: bool = True

    @property
    def tubelet_values(self) -> int:
        """V, the values of a tubelet in three colours."""
        return 3 * math.prod(self.tubelet)

    @property
    def target_width(self) -> int:
        """P, the channels of a target."""
        return self.tubelet_values if self.teacher is None else self.teacher.width

    @property
    def blocks(self) -> tuple[Unit, ...]:
        """A unit for every block, the encoder's first."""
        return (
            *[block(self.encoder)] * self.encoder.depth,
            *[block(self.predictor)] * self.predictor.depth,
        )

    @property
    def rest(self) -> Unit:
        """All that is in no block: tokenizer, final norms, mask token, linear maps in and out."""
        d, w = self.encoder.width, self.predictor.width
        around = ((w, d), (w,), (w,), (w,), (w,), (self.target_width, w), (self.target_width,))
        return Unit((*encoder_rest(self.encoder, self.tubelet).shapes, *around))

    @property
    def target_units(self) -> tuple[Unit, ...]:
        """The units of what gives the targets, its rest last; none where pixels are the target."""
        if self.teacher is None:
            return ()
        rest = encoder_rest(self.teacher, self.tubelet)
        return (*[block(self.teacher)] * self.teacher.depth, rest)

    @property
    def num_weights(self) -> int:
        """Trained weights."""
        return sum(unit.num_weights for unit in (*self.blocks, self.rest))

    @property
    def num_matrix_weights(self) -> int:
        """Trained weights of which autocast keeps a copy for the backward pass.

        Those of linear maps, without biases: gradients of their inputs need them. The tokenizer's
        are none of them, since frames take no gradient.
        """
        inside = sum(
            arch.depth * (4 * arch.width**2 + 2 * arch.width * arch.mlp_width)
            for arch in (self.encoder, self.predictor)
        )
        return inside + self.predictor.width * (self.encoder.width + self.target_width)


def block(arch: Architecture) -> Unit:
    """Return a transformer block: 4 d^2 + 2 d m weights in matrices, 9 d + m in vectors."""
    d, m = arch.width, arch.mlp_width
    norms = ((d,),) * 4
    return Unit((*norms, (3 * d, d), (3 * d,), (d, d), (d,), (m, d), (m,), (d, m), (d,)))


def encoder_rest(arch: Architecture, tubelet: tuple[int, int, int]) -> Unit:
    """Return an encoder's tokenizer and final norm."""
    return Unit(((arch.width, 3, *tubelet), (arch.width,), (arch.width,), (arch.width,)))
