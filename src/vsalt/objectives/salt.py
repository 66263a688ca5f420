"""Method `salt`: train a student to predict the latents of a frozen teacher."""

from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.errors import ConfigError
from vsalt.models.config import PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.objectives.config import SaltConfig
from vsalt.objectives.masked_prediction import MaskedPrediction, frozen_encoder_flops
from vsalt.targets.frozen import FrozenTeacher


class SaltObjective(MaskedPrediction):
    """Masked prediction of a frozen teacher's latents.

    Teacher and student may differ in width, depth and heads; their tubelets must agree, so that
    token ids mean the same to both.

    Args:
        config: loss and target normalisation.
        encoder: the student.
        teacher: the encoder that gives the targets; it is frozen here.
        predictor: resolved config of the predictor.
        mask_names: the mask kinds in the batch's order.

    Raises:
        ConfigError: if the tubelets differ.
    """

    def __init__(
        self,
        config: SaltConfig,
        encoder: Encoder,
        teacher: Encoder,
        predictor: PredictorConfig,
        mask_names: tuple[str, ...],
    ) -> None:
        if teacher.config.tubelet != encoder.config.tubelet:
            raise ConfigError(
                [
                    f"the teacher's tubelets are {teacher.config.tubelet}, the student's "
                    f"{encoder.config.tubelet}; give the student the teacher's --encoder.tubelet"
                ]
            )
        self._teacher = FrozenTeacher(teacher, config.target_norm)
        super().__init__(encoder, predictor, self._teacher, config.loss, mask_names)

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Operations of student, predictor and the teacher's forward pass."""
        return super().flops(shapes) + frozen_encoder_flops(self._teacher.encoder, shapes)
