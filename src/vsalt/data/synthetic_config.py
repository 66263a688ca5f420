"""Settings of what synthetic clips show."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from vsalt.errors import report_problems

Motion: TypeAlias = Literal[
    "left",
    "right",
    "up",
    "down",
    "clockwise",
    "counter_clockwise",
    "approach",
    "recede",
    "accelerate",
    "decelerate",
    "oscillate",
    "zigzag",
    "spin_clockwise",
    "spin_counter_clockwise",
]
"""What the labelled object does; `vsalt.data.motions` describes each."""
Shape: TypeAlias = Literal["disc", "square", "triangle", "cross"]
"""The labelled object's outline."""
Texture: TypeAlias = Literal["plain", "stripes", "checks"]
"""What is painted on the labelled object, and turns with it."""
Colours: TypeAlias = Literal["any", "grey"]
"""What colours objects have."""

MOTIONS: tuple[Motion, ...] = get_args(Motion)
SHAPES: tuple[Shape, ...] = get_args(Shape)
TEXTURES: tuple[Texture, ...] = get_args(Texture)
SPINS: tuple[Motion, ...] = ("spin_clockwise", "spin_counter_clockwise")

TEST_EVERY = 5
"""Every fifth scene is of the test split, unless another number is asked for."""

# Each setting's least and greatest value, for those that are plain numbers.
_RANGES = {
    "distractors": (0, 16),
    "background_contrast": (0, 4),
    "background_speed": (0, 8),
    "noise": (0, 255),
    "flicker": (0, 255),
    "qp": (1, 51),
}


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """What the clips of a synthetic set show: labels, and what stands in their way."""

    motions: tuple[Motion, ...] = MOTIONS[:8]
    """Classes of the label `motion`. No single frame tells any of them; two or three tell the
    first eight and the spins. No two frames tell accelerate from decelerate; oscillate and zigzag
    need frames around a turn. The spins cannot be seen on a plain disc."""
    shapes: tuple[Shape, ...] = SHAPES
    """Outlines of the labelled object."""
    textures: tuple[Texture, ...] = TEXTURES[:1]
    """What is painted on it. The label `appearance` is the shape; with several textures it is shape
    and texture, as in disc_stripes."""
    colours: Colours = "any"
    """Of objects. any: each of the three channels is dark or bright on its own, which makes eight
    colours. grey: all three are dark, or all three bright."""
    distractors: int = 0
    """Other objects, each with a motion and an appearance of its own that no label tells. They are
    smaller than the labelled object ever is, and pass behind it."""
    background_contrast: float = 1.0
    """Contrast of the smooth background, which context can predict; 0 is one colour."""
    background_speed: float = 1.0
    """Times the drift of the background, at most 1/8 of the picture per clip; 0 is still."""
    noise: float = 0.0
    """Standard deviation, in grey levels of 255, of noise drawn anew for every pixel of every
    frame. It is grey, since video files halve the resolution of colour."""
    flicker: float = 0.0
    """Standard deviation, in grey levels of 255, of a brightness drawn anew for every frame."""
    qp: int = 20
    """Quantiser of the video files: 1 loses next to nothing, 51 nearly all."""

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        for name in ("motions", "shapes", "textures"):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                listed = " ".join(given) or "empty"
                problems.append(f"{name} is {listed}; it must name at least one, each once")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                flag = name.replace("_", "-")
                problems.append(f"{flag} is {value}; it must be in [{low}, {high}]")
        if set(SPINS) & set(self.motions) and "disc" in self.shapes and "plain" in self.textures:
            problems.append(
                "a plain disc that spins looks as if it stood still: with spin_clockwise or "
                "spin_counter_clockwise, leave disc out of shapes or plain out of textures"
            )
        if self.colours not in get_args(Colours):
            problems.append(f"colours is {self.colours!r}; it must be any or grey")
        report_problems(problems)

    @property
    def num_classes(self) -> int:
        """Number of combinations of all labels."""
        return len(self.motions) * len(self.shapes) * len(self.textures)
