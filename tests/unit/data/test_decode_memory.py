"""Reading leaves no memory behind, for runs that read millions of clips."""

import json
import subprocess
import sys
from pathlib import Path

from support import read_growth

READS, ROUNDS = 30, 5
# A packet that is not freed takes 150 bytes, and a reading of the script made four of them.
MOST_BYTES = 200


def test_no_reading_leaves_memory_behind(tmp_path: Path, write_video) -> None:
    whole = [write_video(tmp_path / name, num_frames=30) for name in ("video.mp4", "video.mkv")]
    cut = write_video(tmp_path / "cut.ts", num_frames=30)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    done = subprocess.run(
        [sys.executable, read_growth.__file__, str(READS), str(ROUNDS), *whole, cut],
        capture_output=True,
        text=True,
        check=True,
    )
    for path, growths in zip([*whole, cut], json.loads(done.stdout), strict=True):
        # What is kept for good is taken in the first rounds.
        assert min(growths) < MOST_BYTES, (path.name, growths)
