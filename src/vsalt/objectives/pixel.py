"""Method `pixel` (V-Pixel): train a teacher by reconstructing pixels under multi-block masks."""

from vsalt.models.config import PredictorConfig
from vsalt.models.vit import Encoder
from vsalt.objectives.config import PixelConfig
from vsalt.objectives.masked_prediction import MaskedPrediction
from vsalt.targets.pixels import PixelTarget


class PixelObjective(MaskedPrediction):
    """Masked prediction of standardised pixels; the predictor is the pixel decoder.

    Args:
        config: loss and normalisation.
        encoder: the teacher to be.
        predictor: resolved config of the decoder.
        mask_names: the mask kinds in the batch's order.
    """

    def __init__(
        self,
        config: PixelConfig,
        encoder: Encoder,
        predictor: PredictorConfig,
        mask_names: tuple[str, ...],
    ) -> None:
        target = PixelTarget(encoder.config.tubelet, config.normalise)
        super().__init__(encoder, predictor, target, config.loss, mask_names)
