"""Networks whose blocks are compiled (`torch.compile`)."""

import os
import shutil

import torch

from vsalt.errors import ConfigError
from vsalt.models.vit import Block
from vsalt.objectives.protocol import Objective

VERSIONS = 64
"""How often torch may compile the code of a block: once for each width, with and without gradient,
and anew for other numbers of tokens until it makes them variable. Beyond, it would warn and go on
without; by itself it stops at 8."""


def compile_blocks(objective: Objective, device: str) -> None:
    """Compile every block of the trained networks and of the target, when it is first called.

    Block by block, since all of one width share what is compiled. Weights and their names stay as
    they are, and numbers but for rounding. A teacher from outside is left as it is.

    Args:
        objective: the method, where it is computed; a network that is sharded is so already.
        device: "cpu" or "cuda".

    Raises:
        ConfigError: on a CPU without a C++ compiler.
    """
    if device == "cpu" and not _has_compiler():
        raise ConfigError(
            [
                "--device.compile needs a C++ compiler on a CPU, and there is none; install g++, "
                "name one by CXX, or leave the flag out"
            ]
        )
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VERSIONS)
    for unit in [*objective.shard_units(), *objective.target_units()]:
        if isinstance(unit, Block):
            unit.compile()


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)
