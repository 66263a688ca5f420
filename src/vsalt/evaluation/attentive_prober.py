"""From encoders and a task to attentive probes: which rows are read, cached, trained and tested.

Encoders that take the same clips are probed together, so that every clip is decoded once for all.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from vsalt.data.manifest import Row
from vsalt.data.probe_clips import ProbeKey
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.evaluation.attentive import AttentiveHead, HeadTraining, Progress
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.heads import AttentiveKind, FittedPart, Selected
from vsalt.evaluation.protocol import Part, Task
from vsalt.evaluation.selection import Trial, best_trial
from vsalt.evaluation.subjects import Subject
from vsalt.evaluation.tokens import TokenCache, TokenReader, TokenSource, chunked
from vsalt.training.device import choose_device
from vsalt.training.extract import ExtractConfig, require_layers

DEPTHS: dict[AttentiveKind, int] = {"attentive": 4, "attentive-1": 1}
"""Blocks of a probe, the cross-attention included."""
Say = Callable[[str], None]


def testing_clips(subject: Subject, config: AttentiveConfig) -> ProbeClipConfig:
    """Return the windows and views that a subject's probe is tested on: fixed places, no chance."""
    return ProbeClipConfig(
        clip=config.clip(subject.config.clip),
        segments=config.segments,
        views=config.views,
        augment="none",
        antialias=subject.config.data.antialias,
        window="fixed",
    )


def training_clips(subject: Subject, config: AttentiveConfig) -> ProbeClipConfig:
    """Return the windows and views it is trained on: random places, one augmented view."""
    return replace(
        testing_clips(subject, config),
        views=1,
        window="random",
        augment=config.augment,
        crop_scale=config.crop_scale,
        crop_ratio=config.crop_ratio,
        erase=config.erase,
        flip=config.flip,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Subjects that take the same clips, by index."""

    indices: tuple[int, ...]
    train: TokenReader
    test: TokenReader


class AttentiveProber:
    """Trains attentive probes for every subject and part of a task.

    Args:
        kind: attentive or attentive-1.
        subjects: the encoders.
        config: of the probes.
        extract: workers, device, and how many clips are encoded at once.
        seed: of windows, views, weights and order.
        cache: folder for cached tokens; it must not exist.
        say: is called with what a user should know while it runs.
    """

    def __init__(
        self,
        kind: AttentiveKind,
        subjects: Sequence[Subject],
        config: AttentiveConfig,
        extract: ExtractConfig,
        *,
        seed: int,
        cache: Path,
        say: Say,
    ) -> None:
        self.kind = kind
        self.subjects = subjects
        self.config = config
        self.extract = extract
        self.seed = seed
        self.cache = cache
        self.say = say

    def read(self, rows: Sequence[Row], on_progress: Progress | None) -> dict[int, str]:
        """Decode the test windows of every row once; return why some cannot be read, by index."""
        errors: dict[int, str] = {}
        groups = self._groups(rows)
        for number, group in enumerate(groups):
            reader = replace(group.test, clips=replace(group.test.clips, views=1))
            keys = [ProbeKey(0, row) for row in range(len(rows))]
            done = 0
            for batch in reader.read(chunked(keys, rows_at_once(reader, self.extract))):
                for bad in batch.bad_files:
                    errors.setdefault(bad.position, bad.error)
                done += len(batch.rows)
                if on_progress:
                    on_progress(number * len(rows) + done, len(groups) * len(rows))
        return errors

    def fit(self, task: Task, on_progress: Progress | None) -> list[list[FittedPart]]:
        """Train the probes of every subject, one per part, and answer the test rows."""
        fits: list[list[FittedPart]] = [[] for _ in self.subjects]
        for group in self._groups(task.rows):
            with self._training_tokens(group, task, on_progress) as source:
                for part in task.parts:
                    found = self._fit_part(group, source, task, part, on_progress)
                    for index, fitted in zip(group.indices, found, strict=True):
                        fits[index].append(fitted)
        return fits

    def num_features(self, index: int) -> int:
        """Channels of a subject's tokens."""
        return self.subjects[index].encoder.width

    @contextlib.contextmanager
    def _training_tokens(
        self, group: _Group, task: Task, on_progress: Progress | None
    ) -> Iterator[TokenSource]:
        if self.config.features == "online":
            yield group.train
            return
        rows = sorted({int(row) for part in task.parts for row in part.train})
        folder = self.cache / f"group-{group.indices[0]}"
        cache = TokenCache(group.train, rows, self.config.cached_views, folder)
        self.say(f"caching {cache.describe()}")
        try:
            cache.fill(rows_at_once(group.train, self.extract), on_progress)
            yield cache
        finally:
            cache.close()
            with contextlib.suppress(OSError):
                self.cache.rmdir()

    def _fit_part(
        self,
        group: _Group,
        source: TokenSource,
        task: Task,
        part: Part,
        on_progress: Progress | None,
    ) -> list[FittedPart]:
        """Train the candidates, choose, train the chosen one on all training rows, and answer."""
        labels, every = task.labels, self.config.settings
        selected_on: Selected = self.config.select if len(every) > 1 else "nothing"
        training = self._training(group.train, len(task.classes))
        encoders = group.train.encoders
        trials: list[list[Trial]] = [[] for _ in encoders]
        chosen = [every for _ in encoders]
        where = f"part {part.name}: " if len(task.parts) > 1 else ""
        if selected_on == "selection":
            self.say(f"{where}trying {len(every)} probes per encoder on {len(part.fit)} rows")
            heads = training.train(
                source, encoders, part.fit, labels[part.fit], chosen, on_progress
            )
            answers = self._answer(group, heads, part.selection, len(task.classes), on_progress)
            trials = _score(heads, answers, labels[part.selection])
            chosen = [[best_trial(own).settings] for own in trials]
        count = f"{len(chosen[0])} probe{'s' if len(chosen[0]) > 1 else ''} per encoder"
        self.say(f"{where}training {count} on {len(part.train)} rows, {self.config.epochs} epochs")
        heads = training.train(
            source, encoders, part.train, labels[part.train], chosen, on_progress
        )
        answers = self._answer(group, heads, part.test, len(task.classes), on_progress)
        if selected_on == "test":
            trials = _score(heads, answers, labels[part.test])
        best = [own.index(best_trial(own)) if selected_on == "test" else 0 for own in trials]
        return [
            FittedPart(
                head=heads[index][choice],
                trials=tuple(trials[index]),
                selected_on=selected_on,
                probabilities=answers[index][choice],
            )
            for index, choice in enumerate(best)
        ]

    def _answer(
        self,
        group: _Group,
        heads: list[list[AttentiveHead]],
        rows: Int64[np.ndarray, "m"],
        num_classes: int,
        on_progress: Progress | None,
    ) -> list[list[Float[np.ndarray, "m C"]]]:
        training = self._training(group.test, num_classes)
        return training.answer(group.test, heads, rows, on_progress)

    def _training(self, reader: TokenReader, num_classes: int) -> HeadTraining:
        return head_training(
            self.kind, self.config, reader, self.extract, num_classes=num_classes, seed=self.seed
        )

    def _groups(self, rows: Sequence[Row]) -> list[_Group]:
        alike: dict[object, list[int]] = defaultdict(list)
        for index, subject in enumerate(self.subjects):
            clips = testing_clips(subject, self.config)
            alike[clips, subject.encoder.config.tubelet].append(index)
        return [
            _Group(
                indices=tuple(indices),
                train=self._reader(rows, indices, training_clips),
                test=self._reader(rows, indices, testing_clips),
            )
            for indices in alike.values()
        ]

    def _reader(
        self,
        rows: Sequence[Row],
        indices: Sequence[int],
        clips: Callable[[Subject, AttentiveConfig], ProbeClipConfig],
    ) -> TokenReader:
        return token_reader(
            [self.subjects[index] for index in indices],
            rows,
            clips(self.subjects[indices[0]], self.config),
            self.config.layers,
            self.extract,
            seed=self.seed,
        )


def token_reader(
    subjects: Sequence[Subject],
    rows: Sequence[Row],
    clips: ProbeClipConfig,
    layers: tuple[int, ...],
    extract: ExtractConfig,
    *,
    seed: int,
) -> TokenReader:
    """Return the reader of subjects that take the same clips; moves them to the device."""
    device = choose_device(extract.device)
    for subject in subjects:
        require_layers(subject.encoder, layers)
    return TokenReader(
        encoders=[subject.encoder.to(device) for subject in subjects],
        rows=rows,
        clips=clips,
        layers=layers,
        seed=seed,
        workers=extract.workers,
        device=device,
        precision="bf16" if device == "cuda" else "fp32",
    )


def rows_at_once(reader: TokenReader, extract: ExtractConfig) -> int:
    """Rows whose clips together are about as many as are to be encoded at once."""
    return max(1, extract.batch_size // (reader.clips.segments * reader.clips.views))


def head_training(
    kind: AttentiveKind,
    config: AttentiveConfig,
    reader: TokenReader,
    extract: ExtractConfig,
    *,
    num_classes: int,
    seed: int,
) -> HeadTraining:
    """Return what trains and asks probes on a reader's tokens."""
    return HeadTraining(
        config=config,
        depth=DEPTHS[kind],
        num_classes=num_classes,
        seed=seed,
        rows_at_once=rows_at_once(reader, extract),
        device=reader.device,
        precision=reader.precision,
    )


def _score(
    heads: Sequence[Sequence[AttentiveHead]],
    answers: Sequence[Sequence[Float[np.ndarray, "m C"]]],
    labels: Int64[np.ndarray, "m"],
) -> list[list[Trial]]:
    """Return every candidate's accuracy and cross-entropy, by encoder."""
    return [
        [
            Trial(settings=head.settings, **_scores(probabilities, labels))
            for head, probabilities in zip(own, given, strict=True)
        ]
        for own, given in zip(heads, answers, strict=True)
    ]


def _scores(
    probabilities: Float[np.ndarray, "m C"], labels: Int64[np.ndarray, "m"]
) -> dict[str, float]:
    own = probabilities[np.arange(len(labels)), labels]
    tiny = np.finfo(probabilities.dtype).tiny
    return {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "cross_entropy": float(-np.log(np.maximum(own, tiny)).mean()),
    }
