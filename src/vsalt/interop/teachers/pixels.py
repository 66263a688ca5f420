"""From the student's clips to the pixels that a model was trained on.

A clip is already a crop, so the whole of it is shown: it is resized to the model's resolution as
its own preprocessing would (bilinear or bicubic, averaging over source pixels when it shrinks),
never cropped, and standardised by the model's own mean and deviation. Where patches do not divide
the resolution (SigLIP's 14 of 384), the pixels right and below that no patch covers stay grey and
the whole clip lies under the patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vsalt.errors import InteropError

PROCESSORS = (
    ("preprocessor_config.json", None),
    ("video_preprocessor_config.json", None),
    ("processor_config.json", "image_processor"),
    ("processor_config.json", "video_processor"),
)
"""Files that say how pixels are prepared, and where in them; the first that there is counts."""
_FILTERS: Mapping[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How a model's pixels are prepared.

    Attributes:
        size: height and width in pixels.
        patch: height and width of a patch, which need not divide them.
        mean: per colour, of values from 0 to 1.
        std: likewise.
        filter: how frames of another size are resized.
    """

    size: tuple[int, int]
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    filter: Literal["bilinear", "bicubic"]

    def apply(self, frames: UInt8[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 h w"]:
        """Return frames as the model takes them."""
        pixels = frames.float() / 255
        height, width = (count * self.patch for count in self.grid)
        if pixels.shape[-2:] != (height, width):
            pixels = torch.nn.functional.interpolate(
                pixels, size=(height, width), mode=self.filter, antialias=True, align_corners=False
            ).clamp(0, 1)
        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        uncovered = (0, self.size[1] - width, 0, self.size[0] - height)
        return torch.nn.functional.pad((pixels - mean) / std, uncovered)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.size[0] // self.patch, self.size[1] // self.patch


def read_preparation(
    processor: Mapping[str, Any], size: tuple[int, int] | None, patch: int, source: str
) -> Preparation:
    """Read the settings of a model's preprocessing.

    Args:
        processor: what its file says.
        size: the model's resolution, if it takes one only; None: as the file says.
        patch: height and width of the model's patches.
        source: what messages call it.

    Raises:
        InteropError: if something is missing, or not what is done here.
    """
    size = size or _size(processor, source)
    problems = [
        f"its {name} is {processor[name]!r}, where {wanted!r} is needed"
        for name, wanted in (("do_normalize", True), ("do_rescale", True))
        if processor.get(name, True) is not wanted
    ]
    factor = processor.get("rescale_factor", 1 / 255)
    if abs(factor * 255 - 1) > 1e-6:
        problems.append(f"its rescale_factor is {factor}, where 1/255 is needed")
    number = processor.get("resample")
    if number not in _FILTERS:
        problems.append(f"its resample is {number}, where 2 (bilinear) or 3 (bicubic) is needed")
    statistics = {name: processor.get(name) for name in ("image_mean", "image_std")}
    problems += [
        f"its {name} is {value!r}, where three numbers are needed"
        for name, value in statistics.items()
        if not isinstance(value, list | tuple) or len(value) != 3
    ]
    if problems:
        raise InteropError(f"the pixels of {source} cannot be prepared: {'; '.join(problems)}")
    return Preparation(
        size=size,
        patch=patch,
        mean=tuple(statistics["image_mean"]),  # type: ignore[arg-type]
        std=tuple(statistics["image_std"]),  # type: ignore[arg-type]
        filter=_FILTERS[processor["resample"]],
    )


def _size(processor: Mapping[str, Any], source: str) -> tuple[int, int]:
    """Return what is left after cropping, or the size that frames are brought to."""
    crops = processor.get("do_center_crop", "crop_size" in processor)
    for name in ("crop_size", "size") if crops else ("size",):
        value = processor.get(name)
        if isinstance(value, int):
            return value, value
        if isinstance(value, Mapping) and {"height", "width"} <= value.keys():
            return int(value["height"]), int(value["width"])
        if isinstance(value, Mapping) and "shortest_edge" in value:
            return int(value["shortest_edge"]), int(value["shortest_edge"])
    raise InteropError(f"{source} does not say the size of its frames (crop_size or size)")
