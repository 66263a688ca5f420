"""What an encoder makes of one window: a pooled feature, and a map of its tokens.

Shapes: B clips, N tokens, D channels of a token, L layers, F channels of a feature; a map of tokens
has (T', H', W') places of C = L D channels.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vsalt.data.config import ClipConfig
from vsalt.models.config import grid_of
from vsalt.models.pooling import pool_tokens
from vsalt.models.vit import Encoder
from vsalt.training.device import choose_device
from vsalt.training.extract import ClipFeatures, ExtractConfig, require_layers


def num_features(encoder: Encoder, clip: ClipConfig, config: ExtractConfig) -> int:
    """Return F, the channels of a pooled feature."""
    num_times = clip.num_frames // encoder.config.tubelet[0]
    num_times = num_times if config.pooling == "mean_space" else 1
    return encoder.width * num_times * len(config.layers)


def map_shape(
    encoder: Encoder, clip: ClipConfig, config: ExtractConfig
) -> tuple[int, int, int, int]:
    """Return (T', H', W', C), the shape of a map of tokens."""
    grid = grid_of(clip.num_frames, clip.size, encoder.config.tubelet)
    return (*grid, encoder.width * len(config.layers))


def token_maps(encoder: Encoder, config: ExtractConfig) -> ClipFeatures:
    """Return what makes maps of tokens, each as one row of T' H' W' C numbers.

    The encoder is moved to the device. Layers lie side by side in the channels.

    Raises:
        ConfigError: if it has not the blocks that are asked for.
    """
    encode = _layers_of(encoder, config)
    return lambda clips: torch.cat(encode(clips), dim=2).flatten(1).float()


def features_and_maps(encoder: Encoder, config: ExtractConfig) -> ClipFeatures:
    """Return what makes rows of F numbers, the feature, and T' H' W' C more, the map of tokens.

    One pass through the encoder serves both; the feature is what `encoder_features` makes.

    Raises:
        ConfigError: if it has not the blocks that are asked for.
    """
    encode = _layers_of(encoder, config)

    def both(clips: Shaped[Tensor, "B 3 T H W"]) -> Float[Tensor, "B _"]:
        layers = encode(clips)
        num_times = clips.shape[2] // encoder.config.tubelet[0]
        pooled = [
            pool_tokens(tokens, num_times=num_times, pooling=config.pooling) for tokens in layers
        ]
        return torch.cat([*pooled, torch.cat(layers, dim=2).flatten(1)], dim=1).float()

    return both


def _layers_of(
    encoder: Encoder, config: ExtractConfig
) -> Callable[[Shaped[Tensor, "B 3 T H W"]], tuple[Float[Tensor, "B N D"], ...]]:
    """Return what makes the tokens of each chosen block; the encoder is moved to the device."""
    require_layers(encoder, config.layers)
    moved = encoder.to(choose_device(config.device))

    @torch.inference_mode()
    def encode(clips: Shaped[Tensor, "B 3 T H W"]) -> tuple[Float[Tensor, "B N D"], ...]:
        return moved.features(clips, layers=config.layers)

    return encode
