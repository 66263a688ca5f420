"""Small models of transformers with distinct weights, as folders that teachers are read from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from support.fill import fill_parameters
from vsalt.interop.extras import quiet_transformers

SIZE, PATCH, FRAMES, DEPTH = 32, 8, 4, 3
_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": SIZE,
    "patch_size": PATCH,
}
_DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 16,
}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
_VJEPA2 = {
    "patch_size": PATCH,
    "crop_size": SIZE,
    "frames_per_clip": FRAMES,
    "hidden_size": 36,
    "num_attention_heads": 2,
    "num_hidden_layers": DEPTH,
    "mlp_ratio": 2,
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 2,
    "pred_num_hidden_layers": DEPTH,
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A model as it is released: class, settings, and how its tower gives patch tokens.

    Attributes:
        saved: the class whose weights are saved, often more than the encoder.
        settings: of its config.
        num_extra: tokens before those of the patches.
        tower: the encoder inside of the saved model.
        processor: the class that prepares its pixels; None: of video, which needs torchvision.
        clips: it sees clips.
    """

    saved: str
    settings: dict[str, Any]
    num_extra: int
    tower: Callable[[Any], Any] = lambda model: model
    processor: str | None = None
    clips: bool = False


KINDS: dict[str, Kind] = {
    "videomae": Kind(
        saved="VideoMAEForPreTraining",
        settings={**_VIT, **_DECODER, "num_frames": FRAMES},
        num_extra=0,
        tower=lambda model: model.videomae,
        clips=True,
    ),
    "vjepa2": Kind(saved="VJEPA2Model", settings=_VJEPA2, num_extra=0, clips=True),
    "dinov2": Kind(
        saved="Dinov2Model", settings=_VIT, num_extra=1, processor="BitImageProcessorPil"
    ),
    "dinov2-swiglu": Kind(
        saved="Dinov2Model",
        settings={**_VIT, "use_swiglu_ffn": True},
        num_extra=1,
        processor="BitImageProcessorPil",
    ),
    "dinov2-registers": Kind(
        saved="Dinov2WithRegistersModel",
        settings={**_VIT, "num_register_tokens": 3},
        num_extra=4,
        processor="BitImageProcessorPil",
    ),
    "dinov3": Kind(
        saved="DINOv3ViTModel", settings={**_VIT, "num_register_tokens": 2}, num_extra=3
    ),
    "dinov3-gated": Kind(
        saved="DINOv3ViTModel",
        settings={**_VIT, "num_register_tokens": 2, "use_gated_mlp": True},
        num_extra=3,
    ),
    "vit-mae": Kind(
        saved="ViTMAEForPreTraining",
        settings={**_VIT, **_DECODER},
        num_extra=1,
        tower=lambda model: model.vit,
        processor="ViTImageProcessorPil",
    ),
    "vit": Kind(saved="ViTModel", settings=_VIT, num_extra=1, processor="ViTImageProcessorPil"),
    "ijepa": Kind(saved="IJepaModel", settings=_VIT, num_extra=0, processor="ViTImageProcessorPil"),
    "clip": Kind(
        saved="CLIPModel",
        settings={"vision_config": _VIT, "text_config": _TEXT},
        num_extra=1,
        tower=lambda model: model.vision_model,
        processor="CLIPImageProcessorPil",
    ),
    "siglip": Kind(
        saved="SiglipModel",
        settings={"vision_config": _VIT, "text_config": _TEXT},
        num_extra=0,
        tower=lambda model: model.vision_model,
        processor="SiglipImageProcessorPil",
    ),
}


def build(name: str, **settings: Any) -> Any:
    """Return the saved model, in eval mode, all parameters filled with distinct values.

    Args:
        name: its kind.
        settings: of its config, over those of the kind; those of a part over those of the part.
    """
    kind = KINDS[name]
    with quiet_transformers() as package:
        model = getattr(package, kind.saved)
        parts = {
            key: {**kind.settings[key], **value} if isinstance(value, dict) else value
            for key, value in settings.items()
        }
        model = model(model.config_class(**{**kind.settings, **parts})).eval()
    fill_parameters(model)
    return model


def processor(name: str, **settings: Any) -> Any:
    """Return the image processor of the kind, that of CLIP where it has none without torchvision.

    Mean and deviation differ by colour, so that swapped colours would be seen.
    """
    with quiet_transformers() as package:
        found = getattr(package, KINDS[name].processor or "CLIPImageProcessorPil")
        return found(
            **{
                "size": {"height": SIZE, "width": SIZE},
                "do_center_crop": False,
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.2, 0.25, 0.3],
                **settings,
            }
        )


def write(
    folder: Path, name: str, preprocessing: dict[str, Any] | None = None, **settings: Any
) -> Any:
    """Write a folder as it is released, model and processor, and return the model."""
    model = build(name, **settings)
    with quiet_transformers():
        model.save_pretrained(folder)
        processor(name, **(preprocessing or {})).save_pretrained(folder)
    return model


@torch.no_grad()
def layer_tokens(model: Any, name: str, pixels: Tensor, *, whole: bool = True) -> list[Tensor]:
    """Return the patch tokens after every block without, and at the end with the final norm.

    Args:
        model: of `build`.
        name: its kind.
        pixels: standardised, (B, 3, H, W) or (B, T, 3, H, W).
        whole: the model is as it is saved, not its encoder alone.
    """
    kind = KINDS[name]
    tower = kind.tower(model) if whole else model.eval()
    outputs: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    blocks = [
        module
        for path, module in tower.named_modules()
        if type(module).__name__.endswith("Layer")
        and "predictor" not in path
        and any(True for _ in module.children())
    ]
    assert len(blocks) == DEPTH, [type(block).__name__ for block in blocks]
    hooks = [block.register_forward_hook(keep) for block in blocks]
    if name == "vit-mae":
        # It shuffles the patches, and says how to put them back.
        tower.config.mask_ratio = 0.0
        found = tower(pixel_values=pixels)
        order = found.ids_restore[..., None]
        last = found.last_hidden_state
        every = [*outputs, last]
        tokens = [each[:, 1:].gather(1, order.expand(-1, -1, each.shape[-1])) for each in every]
    else:
        argument = "pixel_values_videos" if name == "vjepa2" else "pixel_values"
        extra = {"skip_predictor": True} if name == "vjepa2" else {}
        last = tower(**{argument: pixels}, **extra).last_hidden_state
        tokens = [each[:, kind.num_extra :] for each in (*outputs, last)]
    for hook in hooks:
        hook.remove()
    return tokens
