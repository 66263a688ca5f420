"""All rows of a run, and which of them are trained on, held out or left alone."""

import hashlib
import json
import math
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vsalt.data.clip_table import ClipTable
from vsalt.data.config import DataConfig
from vsalt.data.holdout import split_holdout
from vsalt.data.manifest import TRAIN, ManifestColumns, Row, Source, read_source
from vsalt.data.order import Order, OrderSource
from vsalt.data.remote import describe, describe_all
from vsalt.data.shapes_by_step import Part, StepShapes, image_share, split_by_shape
from vsalt.data.urls import Location, is_url, location, path_part
from vsalt.errors import DataError, DecodeTimeoutError, printable
from vsalt.randomness import keyed_permutation


class SeenRow(NamedTuple):
    """What names a clip wherever its file lies, to tell later whether an encoder has seen it."""

    file_name: str
    size_bytes: int
    start_s: float | None
    end_s: float | None
    split: str


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The rows of all sources of a run.

    Attributes:
        rows: all rows, source after source.
        sources: the sources as given, without their weights.
        shares: each source's part of the clips, relative to the others.
        train: for each source, the numbers of the rows to train on.
        holdout: numbers of the held-out rows whose val_loss is measured.
        rows_per_split: number of rows of each split, used or not.
        used_per_split: number of rows of each split that are trained on or held out.
        manifest_hash: SHA-256 of the rows' content; independent of where the files lie.
    """

    rows: tuple[Row, ...]
    sources: tuple[Source, ...]
    shares: tuple[Fraction, ...]
    train: tuple[tuple[int, ...], ...]
    holdout: tuple[int, ...]
    rows_per_split: dict[str, int]
    used_per_split: dict[str, int]
    manifest_hash: str

    @classmethod
    def load(cls, config: DataConfig, seed: int) -> "Catalogue":
        """Read the sources and split their rows.

        Only rows of the split train, or of none, are used, unless `config.use_test` asks for all;
        rows of weight 0 are never drawn, so they are not used either.

        Raises:
            DataError: no source, a source given twice, with mistakes or without rows to train on,
                weights on some sources only, or nothing that can be held out.
        """
        given = [parse_source(text) for text in config.sources]
        if not given:
            raise DataError("no data: give --data a folder of videos or a manifest")
        _check_distinct([path for path, _ in given])
        columns = ManifestColumns.from_config(config)
        sources = tuple(
            read_source(path, source=index, columns=columns)
            for index, (path, _) in enumerate(given)
        )
        rows = tuple(row for source in sources for row in source.rows)
        usable = [
            index
            for index, row in enumerate(rows)
            if row.weight > 0 and (config.use_test or row.split == TRAIN)
        ]
        _check_usable(sources, rows, usable, config.use_test)
        kept, held = split_holdout(rows, usable, share=config.holdout, seed=seed)
        train: list[list[int]] = [[] for _ in sources]
        for index in kept:
            train[rows[index].source].append(index)
        return cls(
            rows=rows,
            sources=sources,
            shares=_shares([weight for _, weight in given], train),
            train=tuple(map(tuple, train)),
            holdout=_choose(held, config.holdout_clips, seed),
            rows_per_split=dict(Counter(row.split for row in rows)),
            used_per_split=dict(Counter(rows[index].split for index in usable)),
            manifest_hash=_hash(rows),
        )

    @property
    def num_train(self) -> int:
        """Number of rows to train on."""
        return sum(map(len, self.train))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The rows to train on, by shape and source."""
        return split_by_shape(self.rows, self.train, self.shares)

    @property
    def shapes(self) -> StepShapes:
        """Which steps have clips of images."""
        return StepShapes(image_share((part.shape, part.share) for part in self.parts))

    def order(self, seed: int) -> Order:
        """Return the order in which the training rows are visited."""
        return Order(
            seed=seed,
            sources=[
                OrderSource(
                    rows=np.array(part.rows, dtype=np.int64),
                    share=part.share,
                    weights=self._weights(part) if self.sources[part.source].weighted else None,
                    shape=part.shape,
                )
                for part in self.parts
            ],
        )

    def _weights(self, part: Part) -> np.ndarray:
        weights = np.array([self.rows[index].weight for index in part.rows], dtype=np.float64)
        # Beyond the largest number, the sum is infinite, and no draw from it is possible.
        if weights.max() > np.finfo(np.float64).max / len(weights):
            name = self.sources[part.source].name
            raise DataError(f"{name}: the weights are too large to add, up to {weights.max():g}")
        return weights

    def table(self) -> ClipTable:
        """Return where every row's clip is, for workers."""
        return ClipTable(self.rows)

    def seen_rows(self) -> list[SeenRow]:
        """Describe the rows that the run trains on or measures its val_loss on.

        Files that are gone, as where a link leads nowhere, are left out: nobody sees them, and a
        run does without them.

        Raises:
            DataError: a server did not tell of a file in time; the run may see it later on.
        """
        indices = sorted([*(index for part in self.train for index in part), *self.holdout])
        rows = [self.rows[index] for index in indices]
        ask_sizes(rows)
        seen, untold = [], []
        for row in rows:
            try:
                seen.append(seen_row(row, row.split))
            except DecodeTimeoutError:
                untold.append(row.path)
            except DataError:
                continue
        if untold:
            raise DataError(
                f"the servers did not tell the size of {len(untold)} of {len(rows)} files, such as "
                f"{printable(untold[0])}; what an encoder sees is written down before it trains, "
                "so run the command again when they answer, or take these rows out"
            )
        return seen


def ask_sizes(rows: Sequence[Row]) -> None:
    """Ask servers for the sizes of rows' files, many at once, before `file_identity` needs them.

    One by one, those of hundreds of thousands would take hours.
    """
    urls = dict.fromkeys(row.path for row in rows if row.size is None and is_url(row.path))
    for _ in describe_all(list(urls)):
        # What cannot be told is told again where it matters.
        pass


def file_identity(row: Row) -> tuple[str, int]:
    """Return the name and the size in bytes of a row's video or image.

    Both are the same when the file is moved, or packed into a shard.

    Raises:
        DataError: the file has gone.
    """
    name = posixpath.basename(path_part(row.relative_path))
    if row.size is not None:
        return name, row.size
    if is_url(row.path):
        return name, describe(row.path).size
    try:
        return name, os.stat(row.path).st_size
    except OSError as error:
        raise DataError(f"{printable(row.path)}: {error.strerror}") from error


def seen_row(row: Row, split: str) -> SeenRow:
    """Describe a row that something learns from.

    Raises:
        DataError: its file has gone.
    """
    return SeenRow(*file_identity(row), row.start_s, row.end_s, split)


def parse_source(text: str) -> tuple[Location, Fraction | None]:
    """Split PATH@WEIGHT or URL@WEIGHT; a path that exists as it stands has no weight.

    Raises:
        DataError: the weight is not above 0, or the URL is malformed or one of a local file.
    """
    path, _, weight = text.rpartition("@")
    if not path or (not is_url(text) and Path(text).exists()):
        return location(text), None
    try:
        value = Fraction(weight)
    except (ValueError, ZeroDivisionError):
        return location(text), None
    if value <= 0:
        raise DataError(f"--data {text}: the weight after @ must be above 0")
    return location(path), value


def _check_distinct(paths: Sequence[Location]) -> None:
    first: dict[str, Location] = {}
    for path in paths:
        real = path if isinstance(path, str) else os.path.realpath(path)
        earlier = first.setdefault(real, path)
        if earlier is not path:
            named = f"{path}" if path == earlier else f"{path}, which is {earlier},"
            raise DataError(
                f"--data {named} is given twice; to draw from it more often, give every source "
                "once, as PATH@WEIGHT"
            )


def _check_usable(
    sources: Sequence[Source], rows: Sequence[Row], usable: Sequence[int], use_test: bool
) -> None:
    found = {rows[index].source for index in usable}
    for index, source in enumerate(sources):
        if index not in found:
            splits = Counter(row.split for row in source.rows)
            counts = ", ".join(
                f"{printable(name)} {count}" for name, count in sorted(splits.items())
            )
            if use_test or splits[TRAIN]:
                raise DataError(f"{source.name}: the weights of all rows to train on are 0")
            raise DataError(
                f"{source.name} has no row of the split train (it has: {counts}); name another "
                "--data.split-column, or use all rows by --data.use-test"
            )


def _shares(
    weights: Sequence[Fraction | None], train: Sequence[Sequence[int]]
) -> tuple[Fraction, ...]:
    given = [weight for weight in weights if weight is not None]
    if not given:
        return tuple(Fraction(len(indices)) for indices in train)
    if len(given) < len(weights):
        raise DataError(
            f"{len(given)} of {len(weights)} sources have a weight; give PATH@WEIGHT for all "
            "--data or for none"
        )
    return tuple(given)


def _choose(held: Sequence[int], at_most: int, seed: int) -> tuple[int, ...]:
    chosen = keyed_permutation(len(held), "holdout-clips", seed)[:at_most]
    return tuple(sorted(held[int(index)] for index in chosen))


def _hash(rows: Sequence[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        content = [row.source, row.relative_path, row.label, row.split, row.group]
        numbers = [row.start_s, row.end_s, row.weight]
        assert all(number is None or math.isfinite(number) for number in numbers)
        digest.update(json.dumps([*content, *numbers]).encode() + b"\n")
    return digest.hexdigest()
