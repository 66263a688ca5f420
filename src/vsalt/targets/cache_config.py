"""Settings of a cache of targets."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vsalt.errors import report_problems

TokenFormat: TypeAlias = Literal["int8", "fp8", "fp32"]
"""How the numbers of a token are kept."""


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """How a cache of targets is written."""

    format: TokenFormat = "int8"
    """Numbers of a token: int8 or fp8 (float8_e4m3fn) with a float32 scale per token, or fp32."""
    shard_mb: float = 256.0
    """Size of a file in megabytes; what is lost at most when the command is interrupted."""
    encode_batch: int = 16
    """Views that the teacher encodes at once."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if not 0 < self.shard_mb < math.inf:
            problems.append(f"shard-mb is {self.shard_mb}; it must be above 0, and finite")
        if self.encode_batch < 1:
            problems.append(f"encode-batch is {self.encode_batch}; it must be at least 1")
        report_problems(problems)
