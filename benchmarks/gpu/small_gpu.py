"""A short run of `vsalt salt`: clips/s, the share of the time spent waiting for data, peak memory.

usage: python benchmarks/gpu/small_gpu.py MANIFEST [--device cuda] [--preset small-gpu]
           [--steps 200] [--log-every 20] [--batch-size 256]

Prints one JSON object if the run went to its end; else the exit code is the run's own. The run
folder is temporary, so nothing of an earlier run can be taken for this one's.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from vsalt.bench.machine import peak_memory, usable_cores
from vsalt.cli.main import main as vsalt
from vsalt.training.run_folder import TIMINGS

STAGES = ("teacher", "student")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="small-gpu")
    parser.add_argument("--steps", default="200")
    parser.add_argument("--log-every", default="20")
    parser.add_argument("--batch-size", default="256")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        words = ["salt", "--preset", args.preset, "--data", args.data, "--out", str(run)]
        words += ["--steps", args.steps, "--save-every", args.steps]
        words += ["--batch-size", args.batch_size, "--device.device", args.device]
        for stage in STAGES:
            words += [f"--{stage}.loop.log-every", args.log_every]
        # In this process, whose memory on the device is what is asked for.
        with contextlib.redirect_stdout(sys.stderr):
            code = vsalt(words)
        if code:
            return code
        timings = {stage: read_lines(run / stage / TIMINGS) for stage in STAGES}
    waits = {f"{stage}_data_wait": data_wait(timings[stage]) for stage in STAGES}
    print(json.dumps({"peak_memory": peak_memory(args.device), **waits, **timings}))
    return 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def data_wait(timings: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the share of the time that a stage waited for clips, without its first log.

    Until then, processes start, and the device measures and compiles.
    """
    spans = [
        after["elapsed_s"] - before["elapsed_s"] for before, after in itertools.pairwise(timings)
    ]
    later = list(zip(timings[1:], spans, strict=True))
    waited = sum(timing["data_wait_share"] * span for timing, span in later)
    clips = sum(timing["clips_per_s"] * span for timing, span in later)
    seconds = sum(spans)
    return {
        "share": waited / seconds,
        "below_5_percent": waited / seconds < 0.05,
        "clips_per_s": clips / seconds,
        # What the device could take if it never waited.
        "clips_per_s_without_wait": clips / (seconds - waited),
        "seconds": seconds,
        "cores": usable_cores(),
    }


if __name__ == "__main__":
    raise SystemExit(main())
