"""`save_pretrained` folders: read strictly, and written so that transformers loads them as its own.

FOLDER/
  config.json                     of `VJEPA2Model` or `VJEPA2ForVideoClassification`
  model.safetensors               weights, float32
  video_preprocessor_config.json  how `AutoVideoProcessor` prepares clips
  vsalt.json                      of our own exports: which frames make a clip, and how they are
                                  shrunk, for which the other files have no words
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vsalt import __version__, durable
from vsalt.config import from_dict, to_dict
from vsalt.data.config import ClipConfig
from vsalt.errors import InteropError, RunFolderError, WeightsError
from vsalt.interop.extras import quiet_transformers
from vsalt.interop.networks import Networks
from vsalt.interop.vjepa2_hf import from_hf, to_hf
from vsalt.models.tokenizer import IMAGENET_MEAN, IMAGENET_STD
from vsalt.models.weights import obey_umask

CONFIG = "config.json"
PROCESSOR = "video_preprocessor_config.json"
SAMPLING = "vsalt.json"
MODEL_TYPE = "vjepa2"
KINDS = ("VJEPA2Model", "VJEPA2ForVideoClassification")
_BILINEAR = 2


def read_hf_folder(folder: Path) -> Networks:
    """Read a folder of `save_pretrained`: safetensors only, and no code of the folder.

    Raises:
        InteropError: if it holds no V-JEPA 2 model, or one that vsalt cannot hold.
        WeightsError: if weights are missing, left over or of another shape.
    """
    kind = _kind(folder)
    with quiet_transformers() as package:
        try:
            model, info = getattr(package, kind).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                # Shapes that differ are listed, and refused below.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise WeightsError(f"{folder} cannot be read as a {kind}: {error}") from error
    lines = [
        f"  {key.removesuffix('_keys'):<10} {name}"
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for name in sorted(_in_words(entry) for entry in info[key])
    ]
    if lines:
        raise WeightsError(f"the weights in {folder} do not fit its {CONFIG}:\n" + "\n".join(lines))
    return from_hf(model, str(folder))


def _in_words(entry: Any) -> str:
    """Return a tensor's name, with both shapes where these differ."""
    if isinstance(entry, str):
        return entry
    name, found, needed = entry
    return f"{name} {list(found)}, needed {list(needed)}"


def _kind(folder: Path) -> str:
    """Return the class of a folder's model."""
    path = folder / CONFIG
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
        found, names = config.get("model_type"), config.get("architectures") or KINDS[:1]
    except (OSError, ValueError, AttributeError) as error:
        raise InteropError(f"{path} cannot be read: {error}") from error
    if found != MODEL_TYPE or names[0] not in KINDS:
        raise InteropError(
            f"{folder} holds a {names[0]} of type {found!r}; what can be read are "
            f"{' and '.join(KINDS)} of type {MODEL_TYPE!r}"
        )
    return str(names[0])


def write_networks(folder: Path, networks: Networks) -> None:
    """Write config, weights and the video processor's config.

    Args:
        folder: must be new or empty; nothing is written if the networks cannot be held.
        networks: what is written.

    Raises:
        InteropError: if transformers cannot hold the networks, with the reasons.
        RunFolderError: if the folder is in use, or cannot be written.
    """
    model = to_hf(networks)
    durable.create_new_folder(folder, "OUT")
    with quiet_transformers(), durable.explain_write_errors(f"to {folder}"):
        model.save_pretrained(folder)
        for path in folder.glob("*.safetensors"):
            obey_umask(path)
    durable.write_json(folder / PROCESSOR, processor_config(networks))


def processor_config(networks: Networks) -> dict[str, Any]:
    """Return what `AutoVideoProcessor` needs to prepare clips as `vsalt embed` does.

    Short side to int(256 / 224 x crop), the middle of it, ImageNet's mean and deviation. Which
    frames to take is left to the caller. The processor always averages over source pixels when it
    shrinks (antialias), and its config has no word for anything else.
    """
    crop = networks.size[0]
    return {
        "video_processor_type": "VJEPA2VideoProcessor",
        "size": {"shortest_edge": int(crop * 256 / 224)},
        "crop_size": {"height": crop, "width": crop},
        "resample": _BILINEAR,
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
        "do_convert_rgb": True,
        "do_sample_frames": False,
        "return_metadata": False,
    }


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the clips of a folder's encoder were made.

    Attributes:
        clip: frames, their distance and size.
        antialias: how they were shrunk.
    """

    clip: ClipConfig
    antialias: bool


def write_sampling(folder: Path, sampling: Sampling, encoder_sha256: str) -> None:
    """Write what the other files of a folder have no words for."""
    record = {
        "vsalt": __version__,
        "encoder_sha256": encoder_sha256,
        "clip": to_dict(sampling.clip),
        "antialias": sampling.antialias,
    }
    durable.write_json(folder / SAMPLING, record)


def read_sampling(folder: Path) -> Sampling | None:
    """Return what `write_sampling` wrote; None in folders that are not ours.

    Raises:
        RunFolderError: if it is damaged.
    """
    path = folder / SAMPLING
    if not path.is_file():
        return None
    record = durable.read_json(path)
    clip, antialias = record.get("clip"), record.get("antialias")
    if not isinstance(clip, dict) or not isinstance(antialias, bool):
        raise RunFolderError(f"{path} is damaged: it lacks clip or antialias; remove it")
    return Sampling(clip=from_dict(ClipConfig, clip), antialias=antialias)
