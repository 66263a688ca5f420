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

from vsalt.data.config import ClipConfig
from vsalt.data.manifest import Row
from vsalt.data.probe_clips import ProbeKey
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.errors import ConfigError, DataError
from vsalt.evaluation.attentive import AttentiveHead, HeadTraining
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.heads import AttentiveKind, FittedPart, Say, Selected
from vsalt.evaluation.protocol import Part, Task
from vsalt.evaluation.selection import Trial, best_trial
from vsalt.evaluation.subjects import EncoderSubject
from vsalt.evaluation.tokens import TokenCache, TokenReader, TokenSource, chunked
from vsalt.training.device import choose_device
from vsalt.training.extract import ExtractConfig, Progress, require_layers

DEPTHS: dict[AttentiveKind, int] = {"attentive": 4, "attentive-1": 1}
"""Blocks of a probe, the cross-attention included."""


def testing_clips(subject: EncoderSubject, config: AttentiveConfig) -> ProbeClipConfig:
    """Return the windows and views that a subject's probe is tested on: fixed places, no chance."""
    return ProbeClipConfig(
        clip=config.clip(subject.clip),
        segments=config.segments,
        views=config.views,
        augment="none",
        antialias=antialias_of(subject, config),
        window="fixed",
    )


def antialias_of(subject: EncoderSubject, config: AttentiveConfig) -> bool:
    """How frames are shrunk for a subject."""
    return subject.antialias if config.antialias is None else config.antialias


def training_clips(subject: EncoderSubject, config: AttentiveConfig) -> ProbeClipConfig:
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
        skip_bad: pass over clips that cannot be read though their row could be, and note them.
        cache: folder on the disk for cached tokens.
        say: is called with what a user should know while it runs.

    Attributes:
        passed_over: why training clips were passed over, by index of their row in the task.
    """

    def __init__(
        self,
        kind: AttentiveKind,
        subjects: Sequence[EncoderSubject],
        config: AttentiveConfig,
        extract: ExtractConfig,
        *,
        seed: int,
        skip_bad: bool,
        cache: Path,
        say: Say,
    ) -> None:
        self.passed_over: dict[int, str] = {}
        self.skip_bad = skip_bad
        self.kind = kind
        self.subjects = subjects
        self.config = config
        self.extract = extract
        self.seed = seed
        self.cache = cache
        self.say = say

    def check(self, task: Task) -> None:
        """Refuse at once what would fail later, and say how much disk the tokens will take.

        Raises:
            ConfigError: if settings do not fit the encoders or clips.
            RunFolderError: if the disk is too small.
        """
        for group in self._groups(task.rows):
            training = self._training(group.train, len(task.classes))
            for encoder in group.train.encoders:
                training.new_classifier(encoder)
            try:
                group.train.num_tokens()
            except ConfigError as error:
                problems = [text.replace("--clip.", "--attentive.") for text in error.problems]
                raise ConfigError(problems) from error
            if self.config.features == "cached":
                cache = self._new_cache(group, task)
                self.say(f"caching will take {cache.describe()}")
                cache.require_disk()
            for index in group.indices:
                self._tell_other_clips(self.subjects[index])

    def _tell_other_clips(self, subject: EncoderSubject) -> None:
        """Say so where an encoder is given other clips than it was trained with."""
        own, given = subject.clip, testing_clips(subject, self.config).clip
        if own != given:
            self.say(f"{subject.name}: trained on {_in_words(own)}, probed on {_in_words(given)}")

    def read(self, rows: Sequence[Row], on_progress: Progress | None) -> dict[int, str]:
        """Decode the test windows of every row once; return why some cannot be read, by index."""
        self.say(f"reading the test windows of {len(rows)} rows once")
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
        cache = self._new_cache(group, task)
        self.say(f"caching {cache.describe()}")
        with contextlib.closing(cache):
            cache.fill(rows_at_once(group.train, self.extract), on_progress)
            yield cache

    def _new_cache(self, group: _Group, task: Task) -> TokenCache:
        rows = sorted({int(row) for part in task.parts for row in part.train})
        return TokenCache(group.train, rows, self.config.cached_views, self.cache)

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
        self.say(f"{where}training {count} on {len(part.train)} rows")
        heads = training.train(
            source, encoders, part.train, labels[part.train], chosen, on_progress
        )
        self._tell_losses(group, heads)
        answers = self._answer(group, heads, part.test, len(task.classes), on_progress)
        if selected_on == "test":
            trials = _score(heads, answers, labels[part.test])
        best = [own.index(best_trial(own)) if selected_on == "test" else 0 for own in trials]
        for index, choice in enumerate(best):
            if not heads[index][choice].converged:
                raise DataError(
                    f"the probe of {self.subjects[group.indices[index]].name} diverged; give a "
                    "lower --attentive.lr"
                )
        return [
            FittedPart(
                head=heads[index][choice],
                trials=tuple(trials[index]),
                selected_on=selected_on,
                probabilities=answers[index][choice],
            )
            for index, choice in enumerate(best)
        ]

    def _tell_losses(self, group: _Group, heads: Sequence[Sequence[AttentiveHead]]) -> None:
        for index, own in zip(group.indices, heads, strict=True):
            for head in own:
                first, last = head.losses[0], head.losses[-1]
                settings = ", ".join(f"{name} {value:g}" for name, value in head.settings.items())
                self.say(
                    f"{self.subjects[index].name} ({settings}): training loss {first:.3f} in epoch "
                    f"1, {last:.3f} in epoch {len(head.losses)}"
                )

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
                train=replace(
                    self._reader(rows, indices, training_clips),
                    errors=self.passed_over if self.skip_bad else None,
                ),
                test=self._reader(rows, indices, testing_clips),
            )
            for indices in alike.values()
        ]

    def _reader(
        self,
        rows: Sequence[Row],
        indices: Sequence[int],
        clips: Callable[[EncoderSubject, AttentiveConfig], ProbeClipConfig],
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
    subjects: Sequence[EncoderSubject],
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
        limits=extract.limits,
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


def _in_words(clip: ClipConfig) -> str:
    rate = f"{clip.fps:g} per second" if clip.fps else f"every {clip.frame_step}"
    height, width = clip.size
    return f"{clip.num_frames} frames of {height} x {width} ({rate}, {clip.spacing})"


def _score(
    heads: Sequence[Sequence[AttentiveHead]],
    answers: Sequence[Sequence[Float[np.ndarray, "m C"]]],
    labels: Int64[np.ndarray, "m"],
) -> list[list[Trial]]:
    """Return every candidate's accuracy and cross-entropy, by encoder."""
    return [
        [_trial(head, given, labels) for head, given in zip(own, probabilities, strict=True)]
        for own, probabilities in zip(heads, answers, strict=True)
    ]


def _trial(
    head: AttentiveHead, probabilities: Float[np.ndarray, "m C"], labels: Int64[np.ndarray, "m"]
) -> Trial:
    if not head.converged or not np.isfinite(probabilities).all():
        return Trial(settings=head.settings, accuracy=0.0, cross_entropy=None)
    own = probabilities[np.arange(len(labels)), labels]
    tiny = np.finfo(probabilities.dtype).tiny
    return Trial(
        settings=head.settings,
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        cross_entropy=float(-np.log(np.maximum(own, tiny)).mean()),
    )
