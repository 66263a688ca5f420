"""Method `salt`: train a student to predict the latents of a frozen teacher."""

from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.errors import ConfigError
from vsalt.models.config import PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.objectives.config import SaltConfig
from vsalt.objectives.masked_prediction import MaskedPrediction, frozen_encoder_flops
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.frozen import FrozenTeacher
from vsalt.targets.outside import OutsideTeacher


class SaltObjective(MaskedPrediction):
    """Masked prediction of a frozen teacher's latents.

    Teacher and student may differ in width, depth and heads; their tubelets must agree, so that
    token ids mean the same to both. A teacher from outside gives tokens of the student's grid.

    Args:
        config: loss, target normalisation and the teacher's layer.
        encoder: the student.
        teacher: the network that gives the targets; it is frozen here. Or what is left of it when
            its latents are cached, and come with the batches.
        predictor: resolved config of the predictor.
        mask_names: the mask kinds in the batch's order.

    Raises:
        ConfigError: if the tubelets differ, or the teacher has no such layer.
    """

    def __init__(
        self,
        config: SaltConfig,
        encoder: Encoder,
        teacher: Encoder | OutsideTeacher | CachedTeacher,
        predictor: PredictorConfig,
        mask_names: tuple[str, ...],
    ) -> None:
        if isinstance(teacher, Encoder):
            problems = _problems(config, teacher, encoder)
            if problems:
                raise ConfigError(problems)
        self._teacher: FrozenTeacher | CachedTeacher
        if isinstance(teacher, CachedTeacher):
            self._teacher = teacher
        else:
            self._teacher = FrozenTeacher(teacher, config.target_norm, layer=config.teacher_layer)
        super().__init__(encoder, predictor, self._teacher, config.loss, mask_names)

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Operations of student, predictor and the teacher's forward pass, if it has one here."""
        if isinstance(self._teacher, CachedTeacher):
            return super().flops(shapes)
        return super().flops(shapes) + teacher_forward_flops(self._teacher, shapes)


def teacher_forward_flops(teacher: FrozenTeacher, shapes: ClipShapes) -> ClipFlops:
    """Operations of a teacher's forward pass over a clip."""
    if isinstance(teacher.encoder, OutsideTeacher):
        return teacher.encoder.flops(shapes)
    return frozen_encoder_flops(teacher.encoder, shapes, teacher.layer)


def _problems(config: SaltConfig, teacher: Encoder, student: Encoder) -> list[str]:
    """What is wrong between a student and a teacher of our own kind."""
    problems = []
    if teacher.config.tubelet != student.config.tubelet:
        problems.append(
            f"the teacher's tubelets are {teacher.config.tubelet}, the student's "
            f"{student.config.tubelet}; give the student the teacher's --encoder.tubelet"
        )
    depth = len(teacher.blocks)
    if not -depth <= config.teacher_layer < depth:
        problems.append(no_such_layer(config.teacher_layer, depth))
    if config.teacher_frames != "first":
        problems.append(frames_of_clips(config.teacher_frames))
    return problems


def no_such_layer(layer: int, depth: int) -> str:
    """Return what to say of a layer that a teacher of `depth` blocks does not have."""
    return (
        f"method.teacher-layer is {layer}, but the teacher has {depth} blocks: it must be from 0 "
        f"to {depth - 1}, or from -1 to {-depth} counted from the end"
    )


def frames_of_clips(frames: str) -> str:
    """Return what to say where frames are chosen for a teacher that sees whole clips."""
    return f"method.teacher-frames is {frames}, but the teacher sees whole clips; leave it out"
