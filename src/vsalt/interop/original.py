"""Original V-JEPA 2 checkpoints: a `.pt` file with `encoder`, `target_encoder` and `predictor`.

Names of tensors begin with `module.` (of a distributed run) and `backbone.` (of the wrapper for
several clips), or with neither. The file is read with `weights_only`, so nothing in it is run.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vsalt.errors import InteropError, WeightsError
from vsalt.interop.matching import depth_of, float32, refuse_rest, take_ours
from vsalt.interop.networks import Networks, built_encoder, built_predictor, encoder_config
from vsalt.interop.vjepa2_names import ORIGINAL, USED_MASK_TOKEN
from vsalt.models.config import Architecture
from vsalt.models.predictor import Predictor
from vsalt.models.vit import Encoder

Role = Literal["target_encoder", "encoder"]
_WRAPPERS = ("module.", "backbone.")
_MASK_TOKENS = "mask_tokens."
_PREDICTOR = "predictor"
_ADDED_POSITIONS = ("pos_embed", "predictor_pos_embed")
_OF_ACTIONS = "action_encoder."

HEADS = {
    (192, 12): 3,
    (384, 12): 6,
    (768, 12): 12,
    (1024, 24): 16,
    (1280, 32): 16,
    (1408, 40): 22,
    (1664, 48): 16,
}
"""Heads of V-JEPA 2's encoders by width and depth; of ViT-g those of the released weights."""
PREDICTOR_HEADS = 12
"""Of V-JEPA 2's predictors."""


@dataclass(frozen=True, kw_only=True)
class OriginalSettings:
    """What an original checkpoint does not tell.

    Attributes:
        role: which of its encoders is taken: the moving average, or the trained one.
        num_frames: frames of the clips that it is meant for.
        size: their height and width in pixels.
        heads: attention heads of the encoder; None: those of V-JEPA 2's encoder of this size.
        predictor_heads: of the predictor.
        rotary: positions are rotary even where a file holds a table of added ones. V-JEPA's tables
            are added to the tokens; V-JEPA 2's code says that its files hold tables it never reads.
    """

    role: Role = "target_encoder"
    num_frames: int = 16
    size: int = 256
    heads: int | None = None
    predictor_heads: int = PREDICTOR_HEADS
    rotary: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class OriginalNetworks:
    """The networks of an original checkpoint.

    Attributes:
        networks: encoder and, if it is there, predictor.
        assumed: what the file does not tell and was taken, in sentences.
        left_out: what of the file is not in the networks, with reasons.
    """

    networks: Networks
    assumed: tuple[str, ...]
    left_out: tuple[str, ...]


def read_original(path: Path, settings: OriginalSettings) -> OriginalNetworks:
    """Read an original V-JEPA 2 checkpoint.

    Of several mask tokens the predictor gets number 1, as in transformers.

    Raises:
        InteropError: if the file cannot be read, has no such encoder, or vsalt cannot hold it.
        WeightsError: if tensors are missing or left over.
    """
    state = _load(path)
    source = f"{path} ({settings.role})"
    tensors, left_out = _part(state, settings.role, path, settings)
    encoder, assumed = _encoder(tensors, settings, source)
    predictor = None
    if _PREDICTOR in state:
        tensors, unread = _part(state, _PREDICTOR, path, settings)
        if any(name.startswith(_OF_ACTIONS) for name in tensors):
            left_out += ("its predictor, which is V-JEPA 2-AC's and also takes a robot's actions",)
        else:
            predictor = _predictor(tensors, encoder, settings, source)
            assumed += (f"its predictor has {settings.predictor_heads} attention heads",)
            left_out += unread
    networks = Networks(
        encoder=encoder,
        num_frames=settings.num_frames,
        size=(settings.size, settings.size),
        predictor=predictor,
    )
    return OriginalNetworks(networks=networks, assumed=assumed, left_out=left_out)


def _load(path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            # Of pickles that the safe reader may not know; what it cannot read is an error.
            warnings.simplefilter("ignore", UserWarning)
            # Mapped, so that the optimiser's state, most of the file, is never read.
            mapped = zipfile.is_zipfile(path)
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        raise InteropError(f"there is no file {path}") from error
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise InteropError(
            f"{path} cannot be read as a checkpoint of tensors: {_why(error)}. It is read with "
            "torch's weights_only, which runs no code of the file"
        ) from error
    if not isinstance(state, dict):
        raise InteropError(f"{path} holds no dictionary but a {type(state).__name__}")
    return state


def _why(error: Exception) -> str:
    """Return what torch says, without its advice to read the file unsafely."""
    text = str(error).strip()
    if found := re.search(r"GLOBAL (\S+)", text):
        return (
            f"it holds {found[1]}, which is no tensor; where it was made, save a dictionary of its "
            "networks' state_dicts alone"
        )
    if isinstance(error, pickle.UnpicklingError):
        return "it is no file of torch.save"
    return text.partition("\n")[0]


def _part(
    state: Mapping[str, Any], name: str, path: Path, settings: OriginalSettings
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a network, without the names of what was wrapped around it.

    Also what of them was left out.
    """
    part = state.get(name)
    if not isinstance(part, dict) or not all(isinstance(one, Tensor) for one in part.values()):
        found = ", ".join(sorted(map(str, state)))
        raise InteropError(
            f"{path} has no weights {name!r}; its entries are {found or 'none'}. --role takes "
            "target_encoder or encoder"
        )
    tensors = dict(part)
    for wrapper in _WRAPPERS:
        if tensors and all(key.startswith(wrapper) for key in tensors):
            tensors = {key.removeprefix(wrapper): value for key, value in tensors.items()}
    added = [key for key in _ADDED_POSITIONS if key in tensors]
    if added and not settings.rotary:
        raise InteropError(
            f"{path}: {name} has {added[0]}, a table of positions. In V-JEPA before V-JEPA 2 it is "
            "added to the tokens, and such weights are not read. In files of V-JEPA 2, whose "
            "positions are rotary, it is a leftover: if this is one, give --rotary"
        )
    tensors = {key: value for key, value in tensors.items() if key not in added}
    return float32(tensors), tuple(f"its {key}, as its positions are rotary" for key in added)


def _encoder(
    tensors: dict[str, Tensor], settings: OriginalSettings, source: str
) -> tuple[Encoder, tuple[str, ...]]:
    depth = depth_of(tensors, ORIGINAL.encoder_blocks)
    taken = take_ours(tensors, ORIGINAL.encoder(depth), source)
    refuse_rest(tensors, source)
    projection = taken["tokenizer.projection.weight"]
    if depth == 0 or projection.ndim != 5 or projection.shape[1] != 3:
        raise InteropError(
            f"{source}: its patches have the shape {list(projection.shape)} and it has {depth} "
            "blocks; an encoder of RGB clips has (width, 3, frames, height, width) and at least one"
        )
    width = projection.shape[0]
    heads = settings.heads
    assumed: tuple[str, ...] = ()
    if heads is None:
        heads, assumed = _known_heads(width, depth, source)
    numbers = Architecture(width, depth, heads, taken["blocks.0.mlp.fc1.weight"].shape[0])
    frames, height, side = projection.shape[2:]
    config = encoder_config(numbers, (frames, height, side))
    return built_encoder(config, taken, source), assumed


def _known_heads(width: int, depth: int, source: str) -> tuple[int, tuple[str, ...]]:
    heads = HEADS.get((width, depth))
    if heads is None:
        raise InteropError(
            f"{source} has width {width} and {depth} blocks, which none of V-JEPA 2's encoders "
            "has, and a checkpoint does not tell its attention heads; give --heads"
        )
    text = f"it has {heads} attention heads, as V-JEPA 2's encoder of width {width}"
    return heads, (text,)


def _predictor(
    tensors: dict[str, Tensor], encoder: Encoder, settings: OriginalSettings, source: str
) -> Predictor:
    source = f"the predictor of {source}"
    tokens = {
        int(name.removeprefix(_MASK_TOKENS)): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(_MASK_TOKENS)
    }
    if not tokens:
        raise WeightsError(f"the weights in {source} lack mask_tokens.0")
    depth = depth_of(tensors, ORIGINAL.predictor_blocks)
    taken = take_ours(tensors, ORIGINAL.predictor(depth), source)
    refuse_rest(tensors, source)
    taken["mask_token"] = tokens[USED_MASK_TOKEN % len(tokens)].flatten()
    numbers = Architecture(
        taken["embed.weight"].shape[0],
        depth,
        settings.predictor_heads,
        taken["blocks.0.mlp.fc1.weight"].shape[0],
    )
    return built_predictor(numbers, encoder, taken, source)
