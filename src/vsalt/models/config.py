"""Settings of encoders and predictors, and the table of sizes."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from vsalt.errors import ConfigError, report_problems

SizeName = Literal["Ti", "S", "B", "L", "H", "g", "G"]
Rope = Literal["vjepa2", "interleaved"]
Positions = Literal["vjepa2", "interleaved", "sincos", "sincos1d"]
ADDED_POSITIONS = ("sincos", "sincos1d")
"""Those that are added to the tokens; the others turn queries and keys."""
Pooling = Literal["mean", "mean_space"]
FeaturePooling = Literal["tokens", "mean", "mean_space"]


class Architecture(NamedTuple):
    """The four numbers of a transformer."""

    width: int
    depth: int
    heads: int
    mlp_width: int


ENCODERS: dict[str, Architecture] = {
    "Ti": Architecture(192, 12, 3, 768),
    "S": Architecture(384, 12, 6, 1536),
    "B": Architecture(768, 12, 12, 3072),
    "L": Architecture(1024, 24, 16, 4096),
    "H": Architecture(1280, 32, 16, 5120),
    "g": Architecture(1408, 40, 16, 6144),
    "G": Architecture(1664, 48, 16, 8192),
}
"""B to G as in SALT's table of encoders (arXiv 2509.24317); Ti and S are the usual ViT sizes."""

_LARGE_PREDICTOR = Architecture(384, 12, 16, 1536)
PREDICTORS: dict[str, Architecture] = {
    "Ti": Architecture(192, 4, 6, 768),
    "S": Architecture(256, 6, 8, 1024),
    **dict.fromkeys(("B", "L", "H", "g", "G"), _LARGE_PREDICTOR),
}
"""By size of the encoder. B to G as in SALT's table of predictors."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A video ViT."""

    size: SizeName = "B"
    """Ti, S, B, L, H, g or G. The next four settings override parts of it."""
    width: int | None = None
    """Channels of a token."""
    depth: int | None = None
    """Number of blocks."""
    heads: int | None = None
    """Attention heads."""
    mlp_width: int | None = None
    """Hidden channels of the MLPs."""
    tubelet: tuple[int, int, int] = (2, 16, 16)
    """Frames, height and width in pixels of one token."""
    positions: Positions = "vjepa2"
    """How tokens, the predictor's too, know where they are. vjepa2: rotary, the frequencies laid
    over channel pairs as in V-JEPA 2's released weights. interleaved: rotary, one frequency per
    pair. sincos: a fixed table that is added to the tokens, as in V-JEPA. sincos1d: likewise, a
    sinusoid over the token's number in the clip, as in VideoMAE."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = _architecture_problems("encoder", self.architecture, self.positions)
        if min(self.tubelet) < 1:
            problems.append(f"encoder.tubelet is {self.tubelet}; all numbers must be at least 1")
        report_problems(problems)

    @property
    def architecture(self) -> Architecture:
        """The size's numbers with the overrides."""
        return _override(ENCODERS[self.size], self.width, self.depth, self.heads, self.mlp_width)

    def resolved(self) -> "EncoderConfig":
        """Return the same config with every number written out."""
        return replace(self, **self.architecture._asdict())


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """The network between the encoder and the target. Unset numbers follow the encoder's size."""

    width: int | None = None
    """Channels of a token."""
    depth: int | None = None
    """Number of blocks."""
    heads: int | None = None
    """Attention heads."""
    mlp_width: int | None = None
    """Hidden channels of the MLPs; unset and with a width of its own: 4 x width."""

    def resolved(self, size: SizeName, positions: Positions = "vjepa2") -> "PredictorConfig":
        """Return the config with every number written out, for an encoder of this size.

        Args:
            size: the encoder's.
            positions: the encoder's, which the predictor shares.

        Raises:
            ConfigError: if the numbers do not fit each other or the positions.
        """
        mlp_width = self.mlp_width
        if mlp_width is None and self.width is not None:
            mlp_width = 4 * self.width
        architecture = _override(PREDICTORS[size], self.width, self.depth, self.heads, mlp_width)
        report_problems(_architecture_problems("predictor", architecture, positions))
        return PredictorConfig(**architecture._asdict())

    @property
    def architecture(self) -> Architecture:
        """The numbers of a resolved config."""
        numbers = (self.width, self.depth, self.heads, self.mlp_width)
        if None in numbers:
            raise ValueError("resolve the predictor's config first")
        return Architecture(*[number for number in numbers if number is not None])


def grid_of(
    num_frames: int,
    size: tuple[int, int],
    tubelet: tuple[int, int, int],
    *,
    flag: str = "--encoder.tubelet",
) -> tuple[int, int, int]:
    """Return the grid (T, H, W) in tokens of a clip.

    Raises:
        ConfigError: if the clip does not divide into tubelets; `flag` is named as what to change.
    """
    extent = (num_frames, *size)
    if min(tubelet) < 1 or any(pixels % part for pixels, part in zip(extent, tubelet, strict=True)):
        raise ConfigError(
            [
                f"a clip of {num_frames} frames of {size[0]}x{size[1]} pixels does not divide into "
                f"tubelets of {tubelet}; change --clip.num-frames, --clip.size or {flag}"
            ]
        )
    frames, height, width = (pixels // part for pixels, part in zip(extent, tubelet, strict=True))
    return frames, height, width


def _override(
    base: Architecture,
    width: int | None,
    depth: int | None,
    heads: int | None,
    mlp_width: int | None,
) -> Architecture:
    given = Architecture(width, depth, heads, mlp_width)._asdict()  # type: ignore[arg-type]
    return base._replace(**{name: number for name, number in given.items() if number is not None})


def _architecture_problems(
    prefix: str, architecture: Architecture, positions: Positions
) -> list[str]:
    problems = [
        f"{prefix}.{name.replace('_', '-')} is {number}; it must be at least 1"
        for name, number in architecture._asdict().items()
        if number < 1
    ]
    width, _, heads, _ = architecture
    if heads >= 1 and width % heads:
        problems.append(
            f"{prefix}.width {width} cannot be divided among {heads} heads; "
            f"change --{prefix}.width or --{prefix}.heads"
        )
    elif heads >= 1 and positions not in ADDED_POSITIONS:
        problems += _rotary_problems(prefix, width, heads)
    return problems


def _rotary_problems(prefix: str, width: int, heads: int) -> list[str]:
    given = f"{prefix}: {width} channels in {heads} heads leave {width // heads} per head; "
    change = f"; change --{prefix}.heads or --{prefix}.width, or use --encoder.positions sincos"
    if width // heads < 6:
        return [f"{given}3-D rotary positions need at least 6{change}"]
    if width // heads % 2:
        return [f"{given}rotary positions turn pairs of channels and need an even number{change}"]
    return []
