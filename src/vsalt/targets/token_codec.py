"""Tokens in few bytes: eight bits per number and a scale per token, or all 32 bits.

With a = max |x| over the channels of a token,

    int8   q = round(127 x / a),       x' = q a / 127
    fp8    q = e4m3(448 x / a),        x' = q a / 448

(e4m3: 4 bits of exponent and 3 of fraction, largest number 448, arXiv 2209.05433). Hence

    int8   |x' - x| <= a / 254
    fp8    |x' - x| <= max(|x| / 16, a / (448 * 1024))

up to the rounding of float32. A clip of N tokens of D channels takes N (D + 4) bytes, in fp32
4 N D, each rounded up to a multiple of 64: the scales of all tokens, then the tokens.

Shapes: B clips, N tokens, D channels, K tokens that are asked for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vsalt.targets.cache_config import TokenFormat

_ALIGNMENT = 64
_SCALE_BYTES = 4
_LARGEST = {"int8": 127.0, "fp8": 448.0}


@dataclass(frozen=True)
class TokenCodec:
    """Turns the tokens of a clip into a record of bytes, and some of them back.

    Attributes:
        format: how numbers are kept.
        num_tokens: N.
        width: D.
    """

    format: TokenFormat
    num_tokens: int
    width: int

    @property
    def record_bytes(self) -> int:
        """Bytes of a clip."""
        size = self._scales_bytes + self.num_tokens * self._token_bytes
        return -(-size // _ALIGNMENT) * _ALIGNMENT

    @property
    def _scales_bytes(self) -> int:
        return 0 if self.format == "fp32" else self.num_tokens * _SCALE_BYTES

    @property
    def _token_bytes(self) -> int:
        return self.width * (4 if self.format == "fp32" else 1)

    def encode(self, tokens: Float[Tensor, "B N D"]) -> UInt8[Tensor, "B bytes"]:
        """Return the record of each clip; tokens must be finite."""
        count = len(tokens)
        tokens = tokens.float().contiguous()
        parts = [tokens]
        if self.format != "fp32":
            largest = _LARGEST[self.format]
            scales = tokens.abs().amax(dim=2) / largest
            # Of a token of zeros, or of numbers too small to be told from zeros, zeros are kept.
            steps = (tokens / scales[..., None]).nan_to_num(0.0, 0.0, 0.0)
            steps = steps.clamp(-largest, largest)
            kind = torch.int8 if self.format == "int8" else torch.float8_e4m3fn
            parts = [scales, (steps.round() if self.format == "int8" else steps).to(kind)]
        flat = [part.reshape(count, -1).view(torch.uint8) for part in parts]
        used = sum(part.shape[1] for part in flat)
        filler = flat[0].new_zeros(count, self.record_bytes - used)
        return torch.cat([*flat, filler], dim=1)

    def decode(
        self, records: UInt8[Tensor, "B bytes"], ids: Int64[Tensor, "B K"]
    ) -> Float[Tensor, "B K D"]:
        """Return each clip's tokens with the given ids, in float32; no others are computed."""
        begin = self._scales_bytes
        end = begin + self.num_tokens * self._token_bytes
        stored = records[:, begin:end].unflatten(1, (self.num_tokens, self._token_bytes))
        chosen = stored.gather(1, ids[..., None].expand(-1, -1, self._token_bytes))
        if self.format == "fp32":
            whole: Tensor = chosen.view(torch.float32)
            return whole
        kind = torch.int8 if self.format == "int8" else torch.float8_e4m3fn
        scales = records[:, :begin].contiguous().view(torch.float32).gather(1, ids)
        steps: Tensor = chosen.view(kind).float()
        return steps * scales[..., None]
