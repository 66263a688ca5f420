"""Where an attentive probe looks: the weights of its learned query over a clip.

Shapes: N tokens of a clip, L layers, (T, H, W) the grid in tokens, S time steps that are shown.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vsalt.masking.types import Grid
from vsalt.models.pooler import AttentiveClassifier
from vsalt.models.vit import Encoder
from vsalt.report.layout import Layout
from vsalt.report.sheet import Sheet

_DARKEST = 0.2
"""What is left of the brightness of a token that is not looked at."""
_BRIGHTEST = 0.98
"""The quantile of the weights that is shown as full light: few tokens must not take it all."""


@torch.inference_mode()
def attention_map(
    encoder: Encoder,
    classifier: AttentiveClassifier,
    clip: UInt8[Tensor, "1 3 frames height width"],
    grid: Grid,
    layers: Sequence[int],
) -> tuple[Float64[np.ndarray, "T H W"], int]:
    """Return how much a probe looks at each place, as a share of all, and the class it answers.

    The mean over the query's heads, and the sum over layers.

    Args:
        encoder: in eval mode.
        classifier: the probe, fitted to it.
        clip: pixels.
        grid: size of the clip in tokens.
        layers: the blocks whose tokens the probe gets.
    """
    tokens = torch.cat(encoder.features(clip, layers=layers), dim=1).float()
    weights = classifier.pooler.attention(tokens)[0].mean(dim=0)
    places = weights.unflatten(0, (len(layers), *grid)).sum(dim=0)
    return places.double().numpy(), int(classifier(tokens)[0].argmax())


def attention_sheet(
    clip: UInt8[Tensor, "1 3 frames height width"],
    places: Float64[np.ndarray, "T H W"],
    answer: str,
    *,
    title: str,
    about: str,
) -> Sheet:
    """Return the sheet of a probe's attention: the clip, then the clip lit by it, then it alone.

    Args:
        clip: the pixels.
        places: of `attention_map`.
        answer: name of the class that the probe answers.
        title: of the picture.
        about: sentences on the clip.
    """
    pixels = clip[0].numpy()
    # A softmax in float32 can be 0 nearly everywhere, the quantile included.
    full = max(float(np.quantile(places, _BRIGHTEST)), float(np.finfo(np.float64).tiny))
    relative = (places / full).clip(0, 1)

    def draw(layout: Layout) -> list[UInt8[np.ndarray, "S h w 3"]]:
        frames = layout.frames(pixels)
        light = layout.cells(relative)[..., None]
        lit = np.rint(frames * (_DARKEST + (1 - _DARKEST) * light)).astype(np.uint8)
        alone = np.rint(255 * light).astype(np.uint8).repeat(3, axis=-1)
        return [frames, lit, alone]

    by_time = ", ".join(f"{share:.0%}" for share in places.sum(axis=(1, 2)))
    top = places.max() * places.size
    return Sheet(
        title=title,
        explanation="How much the probe's learned query looks at each token, mean over its heads; "
        "the 2 % that it looks at most have full light. It says where the classifier takes its "
        "evidence from, not what the evidence is, and a probe can answer well without looking at "
        "one thing.",
        details=f"The probe answers {answer!r} for this one clip. The token that is looked at most "
        f"has {top:.1f} times the mean. Share of each time step: {by_time}. {about}",
        alt="The frames of a clip, lit where the probe looks, and the weights alone.",
        rows=("clip", "lit", "weights"),
        draw=draw,
    )
