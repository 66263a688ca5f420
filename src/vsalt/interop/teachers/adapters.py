"""The models of transformers that can teach, and what differs between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor


def _by_pixel_values(model: Any, pixels: Tensor) -> Any:
    return model(pixel_values=pixels)


def _vjepa2(model: Any, pixels: Tensor) -> Any:
    return model(pixel_values_videos=pixels, skip_predictor=True)


def _vit_mae(model: Any, pixels: Tensor) -> Any:
    """Keep all patches in their order: it sorts them by noise, and drops `mask_ratio` of them."""
    patch = model.config.patch_size
    num_patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
    noise = torch.arange(num_patches, dtype=torch.float32, device=pixels.device)
    return model(pixel_values=pixels, noise=noise.expand(len(pixels), -1))


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """How one class of models is loaded and called.

    Attributes:
        model: its name in transformers.
        types: what `model_type` in config.json can say.
        sees: "clips", (B, T, 3, H, W), or single "frames", (B, 3, H, W).
        class_tokens: tokens before those of the patches.
        registers: after them come as many more as its config says.
        size_of: attribute of its config that holds its resolution; None: it takes any, and its
            preprocessing says which it was made for.
        num_frames: attribute of its config that holds how many frames it takes; None: any number.
        changes: settings of its config that are changed before it is built.
        loading: further arguments of `from_pretrained`.
        unused: its attributes that are not run.
        call: runs it on standardised pixels.
    """

    model: str
    types: tuple[str, ...]
    sees: Literal["clips", "frames"] = "frames"
    class_tokens: int = 1
    registers: bool = False
    size_of: str | None = "image_size"
    num_frames: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    call: Callable[[Any, Tensor], Any] = _by_pixel_values

    def num_extra(self, config: Any) -> int:
        """Return how many tokens come before those of the patches."""
        return self.class_tokens + (int(config.num_register_tokens) if self.registers else 0)


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        model="VideoMAEModel",
        types=("videomae",),
        sees="clips",
        class_tokens=0,
        num_frames="num_frames",
    ),
    Adapter(
        model="VJEPA2Model",
        types=("vjepa2",),
        sees="clips",
        class_tokens=0,
        size_of="crop_size",
        unused=("predictor",),
        call=_vjepa2,
    ),
    Adapter(model="Dinov2Model", types=("dinov2",), size_of=None),
    Adapter(
        model="Dinov2WithRegistersModel",
        types=("dinov2_with_registers",),
        size_of=None,
        registers=True,
    ),
    Adapter(
        model="DINOv3ViTModel",
        types=("dinov3_vit",),
        size_of=None,
        registers=True,
    ),
    Adapter(model="ViTMAEModel", types=("vit_mae",), changes={"mask_ratio": 0.0}, call=_vit_mae),
    Adapter(model="ViTModel", types=("vit",), loading={"add_pooling_layer": False}),
    Adapter(
        model="IJepaModel",
        types=("ijepa",),
        class_tokens=0,
        loading={"add_pooling_layer": False},
    ),
    Adapter(model="CLIPVisionModel", types=("clip", "clip_vision_model")),
    Adapter(
        model="SiglipVisionModel",
        types=("siglip", "siglip_vision_model"),
        class_tokens=0,
        changes={"vision_use_head": False},
    ),
)


def adapter_of(model_type: str) -> Adapter | None:
    """Return the adapter of a model type; None if it cannot teach.

    Example:
        >>> adapter_of("clip").model
        'CLIPVisionModel'
    """
    found = [adapter for adapter in ADAPTERS if model_type in adapter.types]
    return found[0] if found else None
