"""Method `vjepa`: train a student to predict the latents of a moving average of itself.

Without a frozen teacher nothing has to be trained before; but the target moves with the student,
and its loss says little about how good the encoder is (SALT, arXiv 2509.24317, section 4).
"""

from collections.abc import Mapping

from torch import Tensor

from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.models.config import PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.models.weights import load_strictly, part_of
from vsalt.objectives.config import VjepaConfig
from vsalt.objectives.masked_prediction import MaskedPrediction, frozen_encoder_flops
from vsalt.targets.ema import EmaTeacher

TARGET = "target"
"""Prefix of the moving average's weights in the carried state."""


class VjepaObjective(MaskedPrediction):
    """Masked prediction of a moving average's latents (V-JEPA, arXiv 2404.08471).

    Args:
        config: loss, target normalisation and momenta.
        encoder: the student; the moving average begins as a copy of it.
        predictor: resolved config of the predictor.
        mask_names: the mask kinds in the batch's order.
        num_steps: length of the schedule of the momentum; the run may end before it.
    """

    target_follows = True

    def __init__(
        self,
        config: VjepaConfig,
        encoder: Encoder,
        predictor: PredictorConfig,
        mask_names: tuple[str, ...],
        num_steps: float,
    ) -> None:
        self._config = config
        self._num_steps = num_steps
        self._teacher = EmaTeacher(encoder, config.target_norm)
        super().__init__(encoder, predictor, self._teacher, config.loss, mask_names)

    @property
    def encoder(self) -> Encoder:
        """What users keep: the moving average, or the student."""
        return self._teacher.encoder if self._config.kept == "target" else self._encoder

    def carried_state(self) -> dict[str, Tensor]:
        """Return the moving average's weights."""
        state = self._teacher.encoder.state_dict()
        return {f"{TARGET}.{name}": tensor for name, tensor in state.items()}

    def load_carried_state(self, state: Mapping[str, Tensor]) -> None:
        """Put the moving average's weights back.

        Raises:
            WeightsError: if they are not those of this encoder.
        """
        load_strictly(self._teacher.encoder, part_of(state, TARGET), "the moving average")

    def after_step(self, step: int) -> None:
        """Move the average towards the student."""
        momentum = momentum_of(step, self._num_steps, self._config)
        self._teacher.update(self._encoder, momentum)

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Operations of student, predictor and the moving average's forward pass.

        The average itself is not counted: it is no matrix product, and once per step, not per clip.
        """
        return super().flops(shapes) + frozen_encoder_flops(self._teacher.encoder, shapes)


def momentum_of(step: int, num_steps: float, config: VjepaConfig) -> float:
    """Return the share that the moving average keeps after step 0, 1, ….

    Linear in the step, as V-JEPA's code has it: `momentum` after the first step,
    `momentum_final` after `num_steps` more.

    Args:
        step: the optimiser step that was done, from 0.
        num_steps: length of the schedule, above 0.
        config: first and last momentum.
    """
    return config.momentum + (config.momentum_final - config.momentum) * step / num_steps
