"""What SALT's tables print (arXiv 2509.24317, first version), as far as it counts compute.

Numbers are strings, with the digits that are printed. FLOPs are in 10^21, tokens in 10^9.
"""

from dataclasses import dataclass

TOKENS_256 = 8 * 16 * 16
"""Tokens of a clip of 16 frames of 256 x 256 pixels."""

SALT_RUNS = (
    ("table 1", {"L": "1.2", "H": "1.5", "g": "1.9", "G": "2.6"}),
    ("table 10", {"L": "1.2", "H": "1.5", "g": "1.8", "G": "2.6"}),
    ("table 11", {"L": "1.2", "H": "1.5", "g": "1.9", "G": "2.6"}),
)
"""Runs of 80,000 teacher and 160,000 student steps under a ViT-L teacher, by student."""

V_JEPA_2_256 = (
    ("table 1", {"L": "1.9", "H": "3.5", "g": "5.3"}),
    ("table 11", {"L": "1.9", "H": "3.5", "g": "5.3"}),
)
"""Runs of V-JEPA 2 of 240,000 steps at 256 x 256 pixels, by size."""
V_JEPA_2_224 = (("table 1", {"L": "1.4", "H": "2.6"}),)
"""The same, trained again by SALT's authors at 224 x 224 pixels."""

STAGE_1 = ("table 11", "0.24")
"""80,000 steps of the ViT-L teacher."""
VIDEOMAE_V2 = ("table 1", "2.2")
"""VideoMAEv2-g."""
VIDEOMAE_V2_INPUTS = ((1.1e9, 331.8e9), (0.012e9, 165.9e9))
"""Parameters and tokens of its encoder and decoder, table 10."""

SEEN_CLIPS = (("table 1", "0.7"), ("table 11", "7.4"))
"""Training clips of 240,000 steps, in 10^9."""
STAGE_1_HOURS, SALT_L_HOURS = ("table 11", "9062"), 8263
"""A100-hours of stage 1, and of all of SALT-L in the same table."""

TOKENS = (
    ("SALT student, 160k steps", {"encoder": "154.1", "predictor": "1541.4", "teacher": "770.7"}),
    ("V-JEPA 2, 240k steps", {"encoder": "302.0", "predictor": "3019.9", "teacher": "1509.9"}),
)
"""Tokens that each part sees, table 10."""


@dataclass(frozen=True)
class Allocation:
    """A row of table 16: ViT-L under ViT-L.

    Attributes:
        steps: thousand steps of every stage.
        total: of all stages.
        parts: all stages but the last, and the last, where they are printed.
    """

    steps: tuple[int, ...]
    total: str
    parts: tuple[str, str] | None = None


ALLOCATIONS = (
    Allocation((80, 80, 80), "1.193", ("0.717", "0.476")),
    Allocation((40, 80, 120), "1.311", ("0.597", "0.714")),
    Allocation((80, 160), "1.192", ("0.241", "0.951")),
    Allocation((40, 200), "1.311", ("0.121", "1.190")),
    Allocation((20, 220), "1.370", ("0.061", "1.309")),
    Allocation((80, 80), "0.717"),
    Allocation((40, 120), "0.835"),
    Allocation((20, 140), "0.894"),
    Allocation((80, 40), "0.479"),
    Allocation((40, 80), "0.597"),
    Allocation((20, 100), "0.656"),
)
V_JEPA_2_ALLOCATIONS = {240: "1.900", 160: "1.260", 120: "0.951"}
"""V-JEPA 2 of so many thousand steps in table 16."""

DATA_PARTS = (657_257, 168_913, 2_799_959)
"""Clips of Kinetics-710, Something-Something-v2 and the part of Panda70M, table 2."""
DATA_TOTALS = (("table 2", "3626129"), ("table 13", "3626089"))
