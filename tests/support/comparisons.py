"""A comparison of tiny networks, in seconds: four trainings and their probes."""

import csv
from pathlib import Path

NETWORK = "{width = 24, depth = 1, heads = 2, mlp_width = 48}"
SPEC = f"""
preset = "demo"
arms = ["random-init", "salt", "vjepa"]
budgets = [5e7]
seeds = [0]

[settings]
encoder = {NETWORK}
predictor = {NETWORK}
loop = {{batch_size = 8, log_every = 1}}
clip = {{num_frames = 4, size = [16, 16]}}
data = {{workers = 0, cache = "none", holdout = 0.2}}

[probe]
workers = 0
"""
FOLDED = """
[[data]]
name = "folded"
sources = ["folds.csv"]
folds = "fold"
label_column = "shape"
"""
SYNTH = """
[[data]]
name = "shapes"
label_column = "shape"

[data.synth]
num_clips = 48
size = 16
num_frames = 8
test_every = 2
"""


def write_folds(manifest: Path, folder: Path) -> Path:
    """Write the rows of a synthetic set, divided into two folds by scene, into a folder."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["path"] = str(manifest.parent / row["path"])
        row["fold"] = str(int(row["group"].removeprefix("scene")) % 2)
        # Of another division, which must play no role.
        row["split"] = "train"
    out = folder / "folds.csv"
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return out
