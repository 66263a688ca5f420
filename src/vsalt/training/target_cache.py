"""A folder of cached targets: what it holds, and whether a run may use it.

CACHE/
  targets.json      settings, layout, and the finished files with their hashes
  teacher/          the teacher, as a run keeps it
  train-00000.bin, holdout-00000.bin, …
                    one record per fixed view of each training row, and per middle of each held-out
                    row; a record is what `TokenCodec` says
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int64

from vsalt import durable
from vsalt.config import PretrainConfig, to_dict
from vsalt.data.catalogue import Catalogue
from vsalt.data.records import RecordLayout, Records
from vsalt.errors import RunFolderError
from vsalt.objectives.config import SaltConfig
from vsalt.targets.cached import CachedTeacher
from vsalt.targets.token_codec import TokenCodec

MANIFEST = "targets.json"
PartName: TypeAlias = Literal["train", "holdout"]
PARTS: tuple[PartName, ...] = ("train", "holdout")


class StoredLatents(NamedTuple):
    """The records of a stage's training rows and of its held-out rows."""

    train: Records
    holdout: Records


class TargetCache:
    """A finished cache.

    Args:
        folder: what `vsalt cache-targets` has written.

    Raises:
        RunFolderError: if it is none, or not finished.

    Attributes:
        sha256: of its settings and the hashes of its files: of the teacher, the views and the
            latents.
        teacher_sha256: of the teacher, as a run notes it.
        num_views: views of each training row.
        flops: operations of the teacher over all views, `flops_exact` and `flops_six_nd`.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST).is_file():
            raise RunFolderError(
                f"{folder} holds no cached targets: it has no {MANIFEST}. `vsalt cache-targets "
                "--out FOLDER` writes them"
            )
        self.folder = folder
        self._manifest = durable.read_json(folder / MANIFEST)
        if not self._manifest["complete"]:
            raise RunFolderError(
                f"the targets in {folder} are not finished; give the same `vsalt cache-targets` "
                "again, and it goes on"
            )
        self.settings: dict[str, Any] = self._manifest["settings"]
        self.sha256 = _identity(self._manifest)
        self.teacher_sha256: str = self.settings["teacher_sha256"]
        self.num_views: int = self.settings["data.views"]
        self.flops: dict[str, int | float] = self._manifest["flops"]

    def record(self) -> dict[str, Any]:
        """Return what a run's config.json says of it."""
        return {
            "folder": str(self.folder.absolute()),
            "sha256": self.sha256,
            "format": self.settings["format"],
            "views": self.num_views,
            "bytes_per_view": self._manifest["layout"]["train"]["record_bytes"],
            **self.flops,
        }

    def teacher(self) -> CachedTeacher:
        """Return what stands for the teacher in a run."""
        about = self._manifest["tokens"]
        codec = TokenCodec(self.settings["format"], about["num_tokens"], about["width"])
        return CachedTeacher(codec, about["teacher_params"])

    def describe(self) -> str:
        """Return in one line what it holds."""
        layout = self._manifest["layout"]["train"]
        return (
            f"{self.folder}, {layout['num_views']} views of {layout['num_rows']} clips, "
            f"{layout['record_bytes']:,} bytes each ({self.settings['format']}); the teacher is "
            "not run"
        )

    def check(self, config: PretrainConfig, catalogue: Catalogue) -> None:
        """Refuse a run whose clips, rows or targets are not those of the cache.

        Args:
            config: resolved configuration of the run.
            catalogue: its rows.

        Raises:
            RunFolderError: with every difference.
        """
        wanted = view_settings(config, catalogue)
        lines = setting_lines({name: self.settings.get(name) for name in wanted}, wanted)
        if lines:
            raise RunFolderError(
                f"the targets in {self.folder} do not belong to this run; give it the settings "
                "they were written with, or write others:\n" + "\n".join(lines)
            )

    def latents(self, catalogue: Catalogue) -> StoredLatents:
        """Open the records of a run's rows.

        Raises:
            DataError: a file is missing, or not whole.
        """
        return StoredLatents(*(self._records(name, catalogue) for name in PARTS))

    def _records(self, name: PartName, catalogue: Catalogue) -> Records:
        shards = [shard for shard in self._manifest["shards"] if shard["part"] == name]
        return Records(
            files=[self.folder / shard["file"] for shard in shards],
            layout=RecordLayout(**self._manifest["layout"][name]),
            rows=rows_of(name, catalogue),
            left_out={bad["row"]: bad["error"] for shard in shards for bad in shard["left_out"]},
        )


def rows_of(name: PartName, catalogue: Catalogue) -> Int64[np.ndarray, "n"]:
    """Return the rows of a part, ascending."""
    rows = catalogue.holdout
    if name == "train":
        rows = tuple(index for part in catalogue.train for index in part)
    return np.array(sorted(rows), dtype=np.int64)


def view_settings(config: PretrainConfig, catalogue: Catalogue) -> dict[str, Any]:
    """Return all that clips and targets depend on beside the teacher, by the names of the flags."""
    stage, data, method = config.stage, config.data, config.stage.method
    assert isinstance(method, SaltConfig), "targets are cached for method salt only"
    seen = json.dumps([row._asdict() for row in catalogue.seen_rows()])
    values: dict[str, Any] = {
        "seed": config.seed,
        **{f"clip.{name}": value for name, value in to_dict(config.clip).items()},
        "data.views": data.views,
        "data.crop_scale": list(data.crop_scale),
        "data.crop_ratio": list(data.crop_ratio),
        "data.flip": data.flip,
        "data.antialias": data.antialias,
        "data.holdout": data.holdout,
        "data.holdout_clips": data.holdout_clips,
        "data.use_test": data.use_test,
        "still_frames": stage.still_frames,
        "encoder.tubelet": list(stage.encoder.tubelet),
        "method.target_norm": method.target_norm,
        "method.teacher_layer": method.teacher_layer,
        "method.teacher_frames": method.teacher_frames,
        "manifest_sha256": catalogue.manifest_hash,
        "files_sha256": hashlib.sha256(seen.encode()).hexdigest(),
    }
    return values


def setting_lines(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Return a line for each setting in which a cache and what is asked for differ."""
    names = sorted(there.keys() | here.keys())
    lines = []
    for name in names:
        before, now = there.get(name), here.get(name)
        if before == now:
            continue
        if name in _HASHED:
            lines.append(f"  {_HASHED[name]} in the cache, other ones here")
        else:
            lines.append(f"  {name}: {before} in the cache, {now} here")
    return lines


_HASHED = {
    "manifest_sha256": "--data: other rows (paths, labels, splits, groups or times)",
    "files_sha256": "--data: other files (names or sizes)",
    "teacher_sha256": "--teacher: other weights or preprocessing",
}


def _identity(manifest: dict[str, Any]) -> str:
    files: Sequence[Any] = [
        [shard["file"], shard["sha256"], [bad["row"] for bad in shard["left_out"]]]
        for shard in manifest["shards"]
    ]
    content = json.dumps([manifest["settings"], files], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def open_again(record: dict[str, Any]) -> TargetCache:
    """Open the cache that a run began with.

    Args:
        record: what `TargetCache.record` returned.

    Raises:
        RunFolderError: if it has moved or changed.
    """
    cache = TargetCache(Path(record["folder"]))
    if cache.sha256 != record["sha256"]:
        raise RunFolderError(
            f"the targets in {cache.folder} are not those that this run began with; put them "
            "back, or begin a new run with another --out"
        )
    return cache
