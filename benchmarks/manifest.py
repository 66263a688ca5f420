"""What reading a large manifest costs, beside parsing the same file and keeping nothing.

usage: python benchmarks/manifest.py [--rows 1000000] [--format csv jsonl parquet] [--distinct]

Every format is read in two fresh processes. The plain one loops over the file's records as the
standard library (csv, json) or pyarrow gives them; the other calls `read_source`, then takes the
other steps of `Catalogue.load` one by one. Times are of the processor, so that other processes do
not count, and the ratio is to the plain loop. Memory is the peak of the process, its imports
included. By default the rows are stretches of 100 files; with --distinct each row is a file of its
own, all in one folder (empty files, made first).
"""

import argparse
import csv
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COLUMNS = ("path", "label", "group", "start_s", "end_s")
FORMATS = ("csv", "jsonl", "parquet")
BATCH = 1 << 16
Report = dict[str, tuple[float, float]]
"""Of each step: seconds, and the peak of memory so far in MB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder")
    args = parser.parse_args()
    print(f"{args.rows} rows, {len(COLUMNS)} columns; {_machine()}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        files = args.rows if args.distinct else 100
        for index in range(files):
            Path(folder, _name(index)).touch()
        for kind in args.format:
            path = Path(folder, f"manifest.{kind}")
            _write(path, args.rows, files)
            plain, ours = _measure(_parse_only, path), _measure(_load, path)
            _print(kind, plain, ours)
            path.unlink()


def _machine() -> str:
    return f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}"


def _name(index: int) -> str:
    return f"clip_{index:07d}.mp4"


def _cells(index: int, files: int) -> tuple[str, str, str, float, float]:
    start_s = index // files * 1.5
    return _name(index % files), f"class {index % 400}", f"p{index % 5000}", start_s, start_s + 3.0


def _write(path: Path, rows: int, files: int) -> None:
    if path.suffix == ".parquet":
        _write_parquet(path, rows, files)
        return
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(_cells(index, files) for index in range(rows))
        else:
            for index in range(rows):
                record = dict(zip(COLUMNS, _cells(index, files), strict=True))
                file.write(json.dumps(record) + "\n")


def _write_parquet(path: Path, rows: int, files: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = [pa.string(), pa.string(), pa.string(), pa.float64(), pa.float64()]
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BATCH):
            cells = [_cells(index, files) for index in range(start, min(rows, start + BATCH))]
            arrays = [pa.array(column) for column in zip(*cells, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))


def _measure(work: Callable[[Path], Report], path: Path) -> Report:
    # A fresh process each: the peak of memory never goes down.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (path,))


def _timed(report: Report, name: str, work: Callable[[], object]) -> object:
    start = time.process_time()
    result = work()
    # Kilobytes on Linux, bytes on macOS.
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    report[name] = time.process_time() - start, peak_mb
    return result


def _parse_only(path: Path) -> Report:
    report: Report = {}
    _timed(report, "parse", lambda: sum(1 for _ in _records(path)))
    return report


def _records(path: Path) -> Iterator[object]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        return
    with path.open(newline="") as file:
        yield from csv.reader(file) if path.suffix == ".csv" else map(json.loads, file)


def _load(path: Path) -> Report:
    from vsalt.data.catalogue import Catalogue, _hash
    from vsalt.data.clip_table import ClipTable
    from vsalt.data.config import DataConfig
    from vsalt.data.holdout import split_holdout
    from vsalt.data.manifest import read_source

    report: Report = {}
    rows = _timed(report, "read_source", lambda: read_source(path)).rows
    _timed(report, "hold-out", lambda: split_holdout(rows, range(len(rows)), share=0.05, seed=0))
    _timed(report, "hash", lambda: _hash(rows))
    _timed(report, "clip table", lambda: ClipTable(rows))
    del rows
    _timed(report, "Catalogue.load", lambda: Catalogue.load(DataConfig(sources=(str(path),)), 0))
    return report


def _print(kind: str, plain: Report, ours: Report) -> None:
    (parse_s, parse_mb), *_ = plain.values()
    print(f"{kind}: parsing alone {parse_s:.1f} s, {parse_mb:.0f} MB")
    for name, (seconds, peak_mb) in ours.items():
        print(f"  {name:15} {seconds:6.1f} s ({seconds / parse_s:5.1f} x)  {peak_mb:6.0f} MB")


if __name__ == "__main__":
    main()
