"""Decoded frames that are kept, so that a small set is decoded once and not in every pass.

An entry is one row: all frames of its stretch at full size in RGB, their times, and the video's
description. A clip is picked from it by the same rule as from the file, so it has the same pixels.
Whoever reads a row first decodes its whole stretch and stores it; a row that cannot be decoded
throughout, or has no room, is read from its file as without a cache.

Bytes of an entry: frames (N, H, W, 3), times (N,) as 64-bit floats, a JSON object, its length.
"""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from vsalt.data.cache_plan import cache_folder, memory_for_frames
from vsalt.data.clip_table import ClipPlace
from vsalt.data.closeable import Closeable
from vsalt.data.config import DataConfig, ReadLimits
from vsalt.data.decode import ChooseBox, Video, pick_shown
from vsalt.data.frame_store import DiskStore, RamStore, Store
from vsalt.data.sampling import stretch
from vsalt.data.shared_memory import SharedBlock
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError

_LENGTH = np.dtype("<i8")
# Decoding a whole stretch may take so much of the time that a clip has; the rest is for reading
# the clip from its file after all.
_FILL_SHARE = 0.5


class FrameCache:
    """Opens videos whose frames are kept.

    Args:
        store: where they are kept.
        limits: what reading a file may cost.
    """

    def __init__(self, store: Store, limits: ReadLimits) -> None:
        self._store = store
        self._limits = limits
        self._left_out: set[int] = set()
        # One byte that the worker processes share with their parent.
        self._lacks_room = SharedBlock()
        self._lacks_room.grow(1)

    @property
    def lacks_room(self) -> bool:
        """Whether any process has left a row out because there was no room for it."""
        return bool(self._lacks_room.view()[0])

    def open(self, row: int, place: ClipPlace) -> "CachedVideo | Video":
        """Open a row's video; from its entry if it has one or gets one now.

        Raises:
            DecodeError: the file cannot be opened.
        """
        if row in self._left_out:
            return Video(place.media, limits=self._limits)
        entry = self._load(row, place)
        if entry is None and self._fill(row, place):
            entry = self._load(row, place)
        if entry is None:
            self._left_out.add(row)
            return Video(place.media, limits=self._limits)
        return CachedVideo(entry, place, self._limits)

    def _load(self, row: int, place: ClipPlace) -> "Entry | None":
        content = self._store.load(row, place)
        return None if content is None else Entry.parse(content)

    def _fill(self, row: int, place: ClipPlace) -> bool:
        hurry = dataclasses.replace(self._limits, timeout_s=self._limits.timeout_s * _FILL_SHARE)
        try:
            with Video(place.media, limits=hurry) as video:
                saved = self._store.save(row, place, _entry_chunks(video, place))
        except DecodeError:
            # A clip elsewhere in the file may still be readable.
            return False
        if not saved:
            self._lacks_room.view()[0] = 1
        return saved


class CachedVideo(Closeable):
    """A video whose stretch is in the cache; reads as `Video` does.

    Attributes:
        info: frames, duration, rate and size.
    """

    def __init__(self, entry: "Entry", place: ClipPlace, limits: ReadLimits) -> None:
        # The same file may be known by several names.
        self.info = dataclasses.replace(entry.info, path=str(place.media))
        self._entry = entry
        self._place = place
        self._limits = limits

    def read(
        self, times_s: Sequence[float] | np.ndarray, box: ChooseBox | None = None
    ) -> UInt8[np.ndarray, "T h w 3"]:
        """Return the frames on display at the given times; see `Video.read`.

        Raises:
            DecodeError: as the file itself answers, for times that its entry does not have.
        """
        wanted = np.asarray(times_s, dtype=np.float64)
        found = self._entry.pick(wanted)
        if found is None:
            with Video(self._place.media, limits=self._limits) as video:
                return video.read(wanted, box)
        frames = self._entry.frames
        top, left, height, width = (0, 0, *frames.shape[1:3])
        if box is not None:
            top, left, height, width = box(height, width)
        result = np.empty((len(found), height, width, 3), dtype=np.uint8)
        for place, index in enumerate(found):
            result[place] = frames[index, top : top + height, left : left + width]
        return result


class Entry:
    """The content of one entry.

    Attributes:
        info: description of the video.
        frames: shape (N, H, W, 3), where the entry lies.
    """

    def __init__(
        self,
        about: dict[str, Any],
        frames: UInt8[np.ndarray, "N H W 3"],
        times_s: Float64[np.ndarray, "N"],
    ) -> None:
        self.info = VideoInfo(**about["info"])
        self.frames = frames
        self._times_s = times_s
        self._first_s: float = about["first_s"]
        self._until_s: float = about["until_s"]
        self._tolerance_s: float = about["tolerance_s"]

    @classmethod
    def parse(cls, content: memoryview) -> "Entry | None":
        """Return the entry with this content; None if it is not whole."""
        end = len(content) - _LENGTH.itemsize
        length = int(np.frombuffer(content[end:], _LENGTH)[0]) if end > 0 else 0
        if not 0 < length < end:
            return None
        try:
            about = json.loads(bytes(content[end - length : end]))
        except ValueError:
            return None
        count, height, width = about["shape"]
        size = count * height * width * 3
        if size + count * 8 + length != end:
            return None
        pixels = np.frombuffer(content[:size], dtype=np.uint8)
        times = np.frombuffer(bytes(content[size : size + count * 8]))
        return cls(about, pixels.reshape(count, height, width, 3), times)

    def pick(self, wanted: Float64[np.ndarray, "T"]) -> list[int] | None:
        """Return the numbers of the frames on display; None for times that are not all here."""
        if wanted[0] < self._first_s or wanted[-1] + self._tolerance_s >= self._until_s:
            return None
        shown = zip(self._times_s.tolist(), range(len(self._times_s)), strict=True)
        return list(pick_shown(shown, wanted, self._tolerance_s, lambda _: None))


def _entry_chunks(video: Video, place: ClipPlace) -> Iterator[memoryview]:
    """Yield the bytes of a row's entry, frame by frame.

    Raises:
        DecodeError: a frame is damaged, or frames are not in order or not of one size.
    """
    part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
    # By frame step a clip's times lie in whole frames, by rate in the stretch itself.
    first_s = min(part.start_s, part.first_frame / part.fps)
    last_s = max(part.start_s + part.duration_s, (part.first_frame + part.num_frames) / part.fps)
    times: list[float] = []
    shape: tuple[int, ...] | None = None
    until_s = 0.0
    for shown in video.read_all(first_s, last_s):
        shape = shape or shown.picture.shape
        if shown.picture.shape != shape or (times and shown.time_s <= times[-1]):
            raise DecodeError(f"{place.media}: its frames are not in order or not of one size")
        times.append(shown.time_s)
        until_s = shown.until_s
        yield _flat(shown.picture)
    if shape is None:
        raise DecodeError(f"{place.media}: no frame could be decoded")
    about = {
        "info": dataclasses.asdict(video.info),
        "first_s": first_s,
        "until_s": until_s,
        "tolerance_s": video.tolerance_s,
        "shape": [len(times), *shape[:2]],
    }
    yield _flat(np.array(times))
    text = json.dumps(about).encode()
    yield memoryview(text)
    yield _flat(np.array([len(text)], dtype=_LENGTH))


def _flat(values: np.ndarray) -> memoryview:
    return np.ascontiguousarray(values).data.cast("B")


def make_frame_cache(config: DataConfig, num_rows: int) -> FrameCache | None:
    """Make the cache that a config asks for; None for none.

    Raises:
        ConfigError: its folder cannot be written, or the system has no such memory.
    """
    if config.cache == "none":
        return None
    if config.cache == "ram":
        return FrameCache(RamStore(num_rows, memory_for_frames()), config.limits)
    return FrameCache(DiskStore(cache_folder(config), config.limits), config.limits)
