"""Everything that waits for a GPU, in pieces of less than ten minutes each.

usage: python benchmarks/gpu/run.py PIECE... [--out FOLDER] [--data MANIFEST] [--device cuda]
           [--checkout VJEPA2] [--steps 10] [--timeout 300]

Pieces, in the order of importance:
    tests        tests/gpu: agreement with the CPU, exact resuming on the device
    step         `vsalt bench step` of both methods and of ViT-S, B and L: bf16, fp32, per
                 micro-batch size
    vjepa2       benchmarks/vjepa2_step.py on ViT-L, 16 x 224 x 224, 24 clips, bf16, beside CHECKOUT
    health       benchmarks/health.py: what the health measures cost, as a share of a step
    small-gpu    200 + 200 steps of the preset `small-gpu`: clips/s, data-wait share, peak memory
    data-wait    the loader of `small-gpu` alone, for 1, 2 and 4 views of a decoded clip, beside the
                 rate that the networks need; after the piece small-gpu, with the same --out

FOLDER/PIECE.json has what was measured and the machine, and is written anew after every row. A
second start takes the rows that are missing or failed; code that has changed needs another FOLDER.
The exit code is 1 if a row failed, and 2 if nothing was begun. With `--device cpu` everything has
the smallest sizes: that shows whether the pieces work, not how fast anything is; `tests` fails.
"""

import argparse
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from pieces import PIECES, small_gpu
from rows import Results, Row, take

from vsalt import durable
from vsalt.bench.setup import bench_data
from vsalt.data.catalogue import Catalogue
from vsalt.errors import VsaltError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="+", choices=PIECES)
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--data", help="videos for small-gpu and data-wait, as vsalt takes them")
    parser.add_argument("--checkout", help="of facebookresearch/vjepa2, for vjepa2")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=10, help="rounds of the piece step")
    parser.add_argument("--timeout", type=float, default=300, help="seconds of a row")
    args = parser.parse_args()
    # What ends this process ends the row's, too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        check(args)
        durable.create_folder(args.out)
        here = machine(args.device)
        results = {name: open_results(args, name, here) for name in args.pieces}
    except (ValueError, VsaltError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    failed = sum(run_piece(args, name, results[name], here) for name in args.pieces)
    return 1 if failed else 0


def check(args: argparse.Namespace) -> None:
    """Refuse what a later piece would stumble over.

    Raises:
        ValueError: --checkout or --data is missing, or is not what it should be.
        VsaltError: the videos cannot be used.
    """
    if "vjepa2" in args.pieces:
        if args.checkout is None:
            raise ValueError("piece vjepa2 needs --checkout FOLDER")
        if not Path(args.checkout, "src", "models", "vision_transformer.py").is_file():
            raise ValueError(
                f"--checkout {args.checkout} is no checkout of facebookresearch/vjepa2"
            )
    for name in {"small-gpu", "data-wait"} & set(args.pieces):
        if args.data is None:
            raise ValueError(f"piece {name} needs --data MANIFEST")
        config = bench_data("small-gpu")
        data = replace(config.data, sources=(args.data,), holdout=0.0)
        Catalogue.load(data, seed=config.seed)


def machine(device: str) -> dict[str, Any]:
    """Return the machine, asked for by another process: this one stays away from the device."""
    script = (
        "import json; from vsalt.bench.machine import describe_machine; "
        f"print(json.dumps(describe_machine({device!r})))"
    )
    taken = take(Row("machine", ("-c", script), json.loads), timeout_s=120)
    if "found" not in taken:
        raise ValueError(f"no device {device}:\n{taken['errors']}")
    return dict(taken["found"])


def open_results(args: argparse.Namespace, piece: str, here: dict[str, Any]) -> Results:
    return Results(args.out / f"{piece}.json", piece, here)


def run_piece(args: argparse.Namespace, name: str, results: Results, here: dict[str, Any]) -> int:
    """Take the rows of a piece that are not there yet, and return how many failed."""
    rows = PIECES[name](args)
    results.keep(rows)
    if name == "data-wait":
        results.note(needed_clips_per_s=needed(args, here))
    failed = 0
    for row in rows:
        if results.found(row) is not None:
            print(f"{name}: {row.name}: there already", flush=True)
            continue
        record = take(row, args.timeout)
        results.add(record)
        good = "found" in record
        failed += not good
        said = "" if good else f", failed:\n{record['errors']}"
        print(f"{name}: {row.name}: {record['seconds']} s{said}", flush=True)
    return failed


def needed(args: argparse.Namespace, here: dict[str, Any]) -> dict[str, float] | None:
    """Return the clips per second that the stages of small-gpu would take without waiting.

    None unless that piece has been run to its end, here and on the same data.
    """
    (row,) = small_gpu(args)
    found = open_results(args, "small-gpu", here).found(row)
    if found is None:
        return None
    return {
        stage: found[f"{stage}_data_wait"]["clips_per_s_without_wait"]
        for stage in ("teacher", "student")
    }


if __name__ == "__main__":
    raise SystemExit(main())
