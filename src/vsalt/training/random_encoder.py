"""The encoder that nobody has trained: what trained encoders are compared with."""

import torch

from vsalt.models.config import EncoderConfig
from vsalt.models.vit import Encoder
from vsalt.randomness import keyed_int


def random_encoder(config: EncoderConfig, *, seed: int) -> Encoder:
    """Return an encoder in eval mode with initial weights that are a function of the seed.

    No run begins with these weights, whatever its seed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_int("probe random-init", seed, bits=56))
        return Encoder(config).eval()
