"""Writing a cache of targets: the frozen teacher sees every fixed view once.

A file of records is written under another name and flushed; then targets.json is replaced by one
that lists it. What is on disk beyond that is written again, so that a command that was killed goes
on when it is given again, and ends with the same bytes. No batch spans two files.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vsalt import __version__, durable
from vsalt.compute.types import ClipFlops
from vsalt.config import PretrainConfig
from vsalt.data.catalogue import Catalogue
from vsalt.data.dataset import (
    FIXED_VIEW_STEP,
    HOLDOUT_STEP,
    HeldOutClip,
    HoldoutDataset,
    ViewDataset,
)
from vsalt.data.jobs import Task
from vsalt.data.loader import HOLDOUT_TRIES
from vsalt.data.records import RecordLayout
from vsalt.data.types import BadFile, Batch, SampleKey
from vsalt.data.workers import WorkerPool
from vsalt.errors import ConfigError, NonFiniteError, RunFolderError
from vsalt.objectives.config import SaltConfig
from vsalt.objectives.masked_prediction import count_params
from vsalt.objectives.salt import teacher_forward_flops
from vsalt.targets.cache_config import CacheConfig
from vsalt.targets.frozen import FrozenTeacher
from vsalt.targets.outside import OutsideTeacher
from vsalt.targets.token_codec import TokenCodec
from vsalt.training import run_folder
from vsalt.training.build import build_objective, resolve
from vsalt.training.device import autocast, choose_device, choose_precision, set_up
from vsalt.training.plan import clip_shapes
from vsalt.training.target_cache import (
    MANIFEST,
    PARTS,
    PartName,
    rows_of,
    setting_lines,
    view_settings,
)
from vsalt.training.teachers import (
    ReadOutside,
    Teacher,
    keep_teacher,
    network_of,
    open_teacher,
    shape_of,
)

Show = Callable[[int, int], None]


@dataclass(frozen=True)
class CachePlan:
    """What a cache will hold.

    Attributes:
        layouts: where the records of each part lie.
        clip_flops: operations of the teacher over a view.
    """

    layouts: dict[PartName, RecordLayout]
    clip_flops: ClipFlops

    @property
    def num_views(self) -> int:
        """Views that the teacher sees."""
        return sum(layout.num_rows * layout.num_views for layout in self.layouts.values())

    @property
    def flops(self) -> ClipFlops:
        """Operations of the teacher over all views."""
        one = self.clip_flops
        return ClipFlops(exact=self.num_views * one.exact, six_nd=self.num_views * one.six_nd)

    @property
    def num_bytes(self) -> int:
        """Bytes of all records."""
        return sum(layout.num_bytes for layout in self.layouts.values())


@dataclass(frozen=True)
class CacheResult:
    """What was written.

    Attributes:
        plan: what the cache holds.
        resumed: files that had been written before.
        left_out: rows that could not be read.
    """

    plan: CachePlan
    resumed: int
    left_out: int


class CacheWriter:
    """Writes a cache, or goes on with it.

    Args:
        config: configuration of the student's stage, with `data.views`.
        teacher: what `open_teacher` takes.
        options: how the cache is written.
        read_outside: reads a teacher hf:PATH.

    Raises:
        ConfigError: if settings are wrong, or these clips cannot be cached.
        DataError: if the sources are.
        VsaltError: if the teacher cannot be read.
    """

    def __init__(
        self,
        config: PretrainConfig,
        teacher: str | Path,
        options: CacheConfig,
        read_outside: ReadOutside | None = None,
    ) -> None:
        self._config = config = resolve(config)
        method = config.stage.method
        _check_config(config)
        assert isinstance(method, SaltConfig)
        self._options = options
        self._loaded: Teacher = open_teacher(teacher, config.stage, read_outside)
        shape = shape_of(self._loaded)
        with torch.device("meta"):
            # Refuses a teacher that does not fit the student.
            build_objective(config, network_of(shape))
        self.catalogue = Catalogue.load(config.data, seed=config.seed)
        _check_rows(self.catalogue)
        self._device = choose_device(config.device.device)
        self._precision = choose_precision(config.device, self._device)
        network = self._loaded
        encoder = network if isinstance(network, OutsideTeacher) else network.encoder
        self._teacher = FrozenTeacher(encoder, method.target_norm, layer=method.teacher_layer)
        shapes = clip_shapes(config)
        self._codec = TokenCodec(options.format, shapes.num_tokens, encoder.width)
        self._flops = teacher_forward_flops(self._teacher, shapes)
        self.plan = self._plan()

    def _plan(self) -> CachePlan:
        assert self._config.data.views is not None
        size = self._codec.record_bytes
        layouts: dict[PartName, RecordLayout] = {}
        for name in PARTS:
            views = self._config.data.views if name == "train" else 1
            rows = int(self._options.shard_mb * 1e6 / (views * size))
            num_rows = len(rows_of(name, self.catalogue))
            layouts[name] = RecordLayout(num_rows, views, size, rows_per_file=max(1, rows))
        return CachePlan(layouts=layouts, clip_flops=self._flops)

    def write(self, out: Path, on_progress: Show | None = None) -> CacheResult:
        """Write what is missing of a cache.

        Args:
            out: its folder.
            on_progress: is told how many views are done, and of how many.

        Raises:
            RunFolderError: if the folder holds something else or a cache with other settings, a
                finished file has changed, or there is no room.
            NonFiniteError: if the teacher's latents are not finite.
        """
        durable.create_folder(out)
        with durable.hold(out):
            manifest = self._begin(out)
            resumed = len(manifest["shards"])
            set_up(self._config.device, self._device)
            self._teacher.to(self._device)
            if not manifest["complete"]:
                for name in PARTS:
                    self._write_part(out, name, manifest, on_progress or (lambda *_: None))
                manifest["complete"] = True
                durable.write_json(out / MANIFEST, manifest)
        left_out = sum(len(shard["left_out"]) for shard in manifest["shards"])
        return CacheResult(plan=self.plan, resumed=resumed, left_out=left_out)

    def _begin(self, out: Path) -> dict[str, Any]:
        """Return the manifest of a cache that was begun, or begin one."""
        settings = {
            **view_settings(self._config, self.catalogue),
            "teacher_sha256": self._loaded.sha256,
            "format": self._options.format,
            "encode_batch": self._options.encode_batch,
            "shard_mb": self._options.shard_mb,
            "device": self._device,
            "precision": self._precision,
        }
        if (out / MANIFEST).is_file():
            manifest = durable.read_json(out / MANIFEST)
            lines = setting_lines(manifest["settings"], settings)
            if lines:
                raise RunFolderError(
                    f"the targets in {out} were begun with other settings; use the same, or choose "
                    "another --out:\n" + "\n".join(lines)
                )
            for shard in manifest["shards"]:
                _check_file(out / shard["file"], shard["sha256"])
            return manifest
        own = (".lock", run_folder.TEACHER, durable.temporary_name(out / MANIFEST).name)
        if any(entry.name not in own for entry in out.iterdir()):
            raise RunFolderError(
                f"{out} is not empty and has no {MANIFEST} to go on from; choose another --out"
            )
        network = self._teacher.encoder
        params = (
            network.num_params if isinstance(network, OutsideTeacher) else count_params(network)
        )
        durable.require_free_disk(
            out,
            self.plan.num_bytes + 4 * params,
            what="cached targets and the teacher's copy need",
            advice="take fewer --data.views, or --format int8",
        )
        with durable.explain_write_errors(f"to {out}"):
            keep_teacher(self._loaded, out / run_folder.TEACHER)
        manifest = {
            "complete": False,
            "vsalt": __version__,
            "settings": settings,
            "tokens": {
                "num_tokens": self._codec.num_tokens,
                "width": self._codec.width,
                "teacher_params": params,
            },
            "flops": {
                "flops_exact": self.plan.flops.exact,
                "flops_six_nd": self.plan.flops.six_nd,
            },
            "layout": {name: asdict(layout) for name, layout in self.plan.layouts.items()},
            "shards": [],
        }
        durable.write_json(out / MANIFEST, manifest)
        return manifest

    def _write_part(self, out: Path, name: PartName, manifest: dict[str, Any], show: Show) -> None:
        layout = self.plan.layouts[name]
        done = sum(shard["part"] == name for shard in manifest["shards"])
        files = range(done, layout.num_files)
        rows = rows_of(name, self.catalogue)
        tasks = [self._tasks(name, file, rows) for file in files]
        data = self._config.data
        pool: WorkerPool[HeldOutClip, Batch] = WorkerPool(
            self._dataset(name),
            workers=data.workers,
            prefetch=data.prefetch,
            pin_memory=self._device == "cuda",
            limits=data.limits,
        )
        with contextlib.closing(pool):
            batches = pool.batches(task for of_file in tasks for task in of_file)
            for file, of_file in zip(files, tasks, strict=True):
                path = out / f"{name}-{file:05d}.bin"
                bad: dict[int, BadFile] = {}
                digest = hashlib.sha256()
                with durable.whole_file(path) as temporary, open(temporary, "xb") as records:
                    num_done = layout.rows_of(file).start * layout.num_views
                    for batch in itertools.islice(batches, len(of_file)):
                        content = self._encode(batch, bad, rows, layout.num_views)
                        records.write(content)
                        digest.update(content)
                        num_done += len(batch.rows)
                        show(num_done, layout.num_rows * layout.num_views)
                entry = {
                    "part": name,
                    "file": path.name,
                    "sha256": digest.hexdigest(),
                    "left_out": [
                        {"row": row, "path": item.path, "error": item.error}
                        for row, item in sorted(bad.items())
                    ],
                }
                manifest["shards"].append(entry)
                durable.write_json(out / MANIFEST, manifest)

    def _dataset(self, name: PartName) -> HoldoutDataset:
        kind = ViewDataset if name == "train" else HoldoutDataset
        config = self._config
        return kind(
            table=self.catalogue.table(), clip=config.clip, data=config.data, seed=config.seed
        )

    def _tasks(self, name: PartName, file: int, rows: np.ndarray) -> list[Task[HeldOutClip]]:
        """Return the views of a file in batches."""
        layout = self.plan.layouts[name]
        step = FIXED_VIEW_STEP if name == "train" else HOLDOUT_STEP
        own = layout.rows_of(file)
        wanted = [
            HeldOutClip(SampleKey(step, place), int(rows[place // layout.num_views]), HOLDOUT_TRIES)
            for place in range(own.start * layout.num_views, own.stop * layout.num_views)
        ]
        size = self._options.encode_batch
        return [Task(wanted[begin : begin + size]) for begin in range(0, len(wanted), size)]

    def _encode(
        self, batch: Batch, bad: dict[int, BadFile], rows: np.ndarray, num_views: int
    ) -> bytes:
        """Return the records of a batch, and note the rows that could not be read."""
        for item in batch.bad_files:
            bad.setdefault(int(rows[item.position // num_views]), item)
        with autocast(self._device, self._precision):
            tokens = self._teacher.latents(batch.clips.to(self._device))
        self._check_finite(tokens, batch.rows)
        content: bytes = self._codec.encode(tokens).cpu().numpy().tobytes()
        return content

    def _check_finite(self, tokens: Tensor, rows: Sequence[int]) -> None:
        finite = torch.isfinite(tokens).flatten(1).all(dim=1).tolist()
        for row, good in zip(rows, finite, strict=True):
            if not good:
                raise NonFiniteError(
                    f"the teacher's latents of {self.catalogue.rows[row].media} are not finite; "
                    "take another teacher, or leave this clip out of the data"
                )


def _check_config(config: PretrainConfig) -> None:
    problems = []
    if not isinstance(config.stage.method, SaltConfig):
        problems.append(f"method is {config.stage.method.name}; targets are cached for method salt")
    if config.stage.still_frames:
        problems.append("still-frames is on; targets are cached for moving clips only")
    if config.data.views is None:
        problems.append("data.views is not set; say how many views of each clip are cached")
    if not config.data.sources:
        problems.append("no data: give --data a folder of videos or a manifest")
    if problems:
        raise ConfigError(problems)


def _check_rows(catalogue: Catalogue) -> None:
    if "image" in catalogue.shapes.shapes or any(
        catalogue.rows[row].is_image for row in catalogue.holdout
    ):
        raise ConfigError(
            [
                "--data has images; targets are cached for videos only. Give sources without "
                "images, or train with --teacher"
            ]
        )


def _check_file(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error.strerror}); put it back, or choose another --out"
        ) from error
    if found != sha256:
        raise RunFolderError(
            f"{path} has changed since it was written; put it back, or choose another --out"
        )
