"""What `vsalt data check` finds out about one row, in a worker process."""

import hashlib
import os
import stat
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from vsalt.data.clip_table import ClipPlace, ClipTable
from vsalt.data.config import ReadLimits
from vsalt.data.decode import Video
from vsalt.data.jobs import Job
from vsalt.data.media import Media
from vsalt.data.remote import describe
from vsalt.data.sampling import Stretch, stretch
from vsalt.data.urls import is_url
from vsalt.data.video_info import VideoInfo
from vsalt.errors import DecodeError, DecodeTimeoutError, printable

Depth: TypeAlias = Literal["headers", "ends", "all"]
"""What is read of each clip: nothing but headers, its first and last frame, or every frame."""


class PathFacts(NamedTuple):
    """Where a row's path leads.

    Attributes:
        size_bytes: of the video, which may be a part of the file.
        file_id: tells one video from another, whatever they are called; None if there is no file.
        is_link: whether the file, or a folder between it and the source's, is a symbolic link.
        leaves: whether the file lies outside of the source's folder.
    """

    size_bytes: int = 0
    file_id: int | None = None
    is_link: bool = False
    leaves: bool = False


class Finding(NamedTuple):
    """What is known of a row.

    Attributes:
        row: its number.
        path: where its path leads.
        info: what its headers say; None if they cannot be read.
        part: the stretch of the video that it names; None if there is none.
        num_decoded: frames of the video, where all of a whole video were decoded.
        error: why it is bad, without the name of the file; None if it is not.
        timed_out: whether that is for the time it took, or for the end of the process that read
            it; on another day it might be good.
    """

    row: int
    path: PathFacts
    info: VideoInfo | None = None
    part: Stretch | None = None
    num_decoded: int | None = None
    error: str | None = None
    timed_out: bool = False


class CheckReads:
    """Reads rows, by number, for a `WorkerPool`.

    Args:
        table: where the clips are.
        roots: for each source its folder, as an absolute path.
        first_rows: for each source the number of its first row.
        depth: how much is read.
        limits: what a file may cost.
    """

    def __init__(
        self,
        table: ClipTable,
        roots: Sequence[str],
        first_rows: Sequence[int],
        *,
        depth: Depth,
        limits: ReadLimits,
    ) -> None:
        self._table = table
        self._roots = tuple(roots)
        self._first_rows = np.array(first_rows, dtype=np.int64)
        self._depth = depth
        self._limits = limits

    def read(self, rows: Sequence[int], job: Job) -> list[Finding]:
        """Return the findings about several rows."""
        return [self._finding(row, index, job) for index, row in enumerate(rows)]

    def _finding(self, row: int, index: int, job: Job) -> Finding:
        # Even to ask for a file's size can hang, on a network disk.
        try:
            with job.reading(index):
                return self._look(row)
        except DecodeTimeoutError as error:
            return Finding(row, PathFacts(), error=str(error), timed_out=True)

    def _look(self, row: int) -> Finding:
        place = self._table[row]
        source = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        if is_url(place.media.path):
            return self._look_remote(row, place, self._roots[source])
        facts = path_facts(place.media, self._roots[source])
        problem = file_problem(place.media.path)
        if problem is not None:
            return Finding(row, facts, error=problem)
        return self._read(Finding(row, facts), place)

    def _look_remote(self, row: int, place: ClipPlace, root: str) -> Finding:
        try:
            facts = url_facts(place.media, root)
        except DecodeError as error:
            timed_out = isinstance(error, DecodeTimeoutError)
            text = without_name(str(error), place.media)
            return Finding(row, PathFacts(), error=text, timed_out=timed_out)
        return self._read(Finding(row, facts), place)

    def _read(self, finding: Finding, place: ClipPlace) -> Finding:
        try:
            with Video(place.media, limits=self._limits) as video:
                finding = finding._replace(info=video.info)
                part = stretch(video.info, start_s=place.start_s, end_s=place.end_s)
                finding = finding._replace(part=part)
                if self._depth != "headers":
                    _read_ends(video, part)
                if self._depth == "all":
                    num_decoded = _read_all(video, part)
                    if place.start_s is None and place.end_s is None:
                        finding = finding._replace(num_decoded=num_decoded)
        except DecodeError as error:
            return finding._replace(
                error=without_name(str(error), place.media),
                timed_out=isinstance(error, DecodeTimeoutError),
            )
        return finding


def _read_ends(video: Video, part: Stretch) -> None:
    # Two reads, as one would decode everything between the two frames.
    for frame in sorted({part.first_frame, part.first_frame + part.num_frames - 1}):
        video.read([(frame + 0.5) / part.fps])


def _read_all(video: Video, part: Stretch) -> int:
    """Decode the frames of a stretch, and return how many were decoded."""
    end_s = part.start_s + part.duration_s
    count = 0
    for time_s in video.frame_times(part.start_s):
        # The frames of a whole video are counted even past the end that its header tells.
        if time_s > end_s and end_s < video.info.duration_s:
            break
        count += 1
    return count


def path_facts(media: Media, root: str) -> PathFacts:
    """Follow a path, and compare where it leads with the source's folder `root`."""
    real, real_root = os.path.realpath(media.path), os.path.realpath(root)
    below = os.path.join(root, "")
    if media.path.startswith(below):
        is_link = real != os.path.join(real_root, media.path[len(below) :])
    else:
        is_link = os.path.islink(media.path)
    try:
        status = os.stat(media.path)
    except OSError:
        size_bytes, file_id = 0, None
    else:
        size_bytes = status.st_size if media.size is None else media.size
        file_id = status.st_dev << 128 | status.st_ino << 64 | media.offset
    leaves = not real.startswith(os.path.join(real_root, ""))
    return PathFacts(size_bytes, file_id, is_link, leaves)


def url_facts(media: Media, root: str) -> PathFacts:
    """Ask a server for the size of a file, and compare where it lies with the source's folder.

    Raises:
        DecodeError: it has no such file, or does not answer.
    """
    size = describe(media.path).size if media.size is None else media.size
    name = hashlib.sha256(f"{media.path}\n{media.offset}".encode("utf-8", "surrogateescape"))
    leaves = not media.path.startswith(root.rstrip("/") + "/")
    return PathFacts(size, int.from_bytes(name.digest()[:16]), leaves=leaves)


def file_problem(path: str) -> str | None:
    """Return why a file need not be opened: it is missing, not a regular file, or empty."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "a symbolic link to nothing" if os.path.islink(path) else "no such file"
    except OSError as error:
        return error.strerror or type(error).__name__
    if not stat.S_ISREG(status.st_mode):
        return f"not a regular file but a {_kind(status.st_mode)}"
    return None if status.st_size else "empty file"


def _kind(mode: int) -> str:
    names = {
        stat.S_IFDIR: "folder",
        stat.S_IFIFO: "pipe",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "device",
        stat.S_IFBLK: "device",
    }
    return names.get(stat.S_IFMT(mode), "file of another kind")


def without_name(error: str, media: Media) -> str:
    """Return the message of a `DecodeError` without the name of the file at its beginning."""
    for name in (str(media), media.path):
        error = error.removeprefix(f"{printable(name)}: ")
    return error
