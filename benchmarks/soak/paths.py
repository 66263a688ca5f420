"""Makes the tests' damages and fingerprints, and other benchmarks, importable; comes first."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

for _folder in ("tests", "benchmarks"):
    sys.path.append(str(REPOSITORY / _folder))
