"""The arms of a comparison: functions from any preset to the run of a baseline or an ablation.

All arms of a preset share the clips, the tokenizer, the positions, the predictor's size and the
student's masks; what differs is said in one short file each. An arm of several stages belongs to
`vsalt salt`, one of a single stage to `vsalt pretrain`.
"""

from collections.abc import Callable

from vsalt.config import PretrainConfig, SaltRunConfig
from vsalt.presets.arms.pixel import pixel
from vsalt.presets.arms.salt import salt
from vsalt.presets.arms.salt_3stage import salt_3stage
from vsalt.presets.arms.salt_causal_teacher import salt_causal_teacher
from vsalt.presets.arms.salt_early_teacher import salt_early_teacher
from vsalt.presets.arms.salt_random_teacher import salt_random_teacher
from vsalt.presets.arms.salt_small_teacher import salt_small_teacher
from vsalt.presets.arms.salt_still_teacher import salt_still_teacher
from vsalt.presets.arms.salt_tube_teacher import salt_tube_teacher
from vsalt.presets.arms.salt_untrained_teacher import salt_untrained_teacher
from vsalt.presets.arms.videomae import videomae
from vsalt.presets.arms.vjepa import vjepa

ARMS: dict[str, Callable[[SaltRunConfig], SaltRunConfig | PretrainConfig]] = {
    "salt": salt,
    "pixel": pixel,
    "vjepa": vjepa,
    "videomae": videomae,
    "salt-tube-teacher": salt_tube_teacher,
    "salt-random-teacher": salt_random_teacher,
    "salt-causal-teacher": salt_causal_teacher,
    "salt-untrained-teacher": salt_untrained_teacher,
    "salt-early-teacher": salt_early_teacher,
    "salt-still-teacher": salt_still_teacher,
    "salt-small-teacher": salt_small_teacher,
    "salt-3stage": salt_3stage,
}
