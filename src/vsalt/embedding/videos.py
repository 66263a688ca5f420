"""What can be given as videos in Python: files, rows of a source, arrays and tensors of frames.

Nothing is guessed. Frames are 8-bit RGB; the axis of colours is the one that has 3 entries, and
where two could be it, or none is, the caller has to say. A clip that is ready and a whole video
look alike as arrays, so a whole video is told by its rate.

Shapes: T frames of H x W pixels.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vsalt.data.config import ClipConfig
from vsalt.data.manifest import TABLE_SUFFIXES, Row
from vsalt.data.sampling import stretch
from vsalt.data.transforms import centre_view
from vsalt.data.urls import location, suffix
from vsalt.data.video_info import VideoInfo
from vsalt.errors import ConfigError, DataError
from vsalt.training.extract import WindowConfig, place_windows

Layout: TypeAlias = Literal["THWC", "TCHW", "CTHW"]
"""The axes of one video: T frames, C colours, H rows, W columns."""
Videos: TypeAlias = Any
"""One video or several, see `read_videos`."""
Frames: TypeAlias = UInt8[np.ndarray, "T H W 3"]

_COLOUR_AXIS: dict[str, int] = {"THWC": 3, "TCHW": 1, "CTHW": 0}
_TO_THWC = {"THWC": (0, 1, 2, 3), "TCHW": (0, 2, 3, 1), "CTHW": (1, 2, 3, 0)}
# A time that should be the start of a frame may miss it by the rounding of floats.
_ROUNDING_S = 1e-9


def read_videos(videos: Videos, *, layout: Layout | None = None) -> list[Row | Frames]:
    """Return each of the given videos as the row of a file, or as its frames.

    Args:
        videos: one video: the path of a video or image, a `Row` of `read_source`, or an array or
            tensor of 8-bit RGB frames with four axes; or several: a list or another iterable of
            these, an array or a data frame's column of paths, or an array or tensor with five
            axes, the first of which counts videos.
        layout: the axes of every array; by default the colours' axis is the one with 3 entries.

    Raises:
        DataError: something is none of these, or can be read in two ways.
    """
    return [
        _one_video(video, f"video {index}", layout) for index, video in enumerate(_separate(videos))
    ]


def array_clips(
    frames: Frames,
    *,
    fps: float | None,
    clip: ClipConfig,
    windows: WindowConfig,
    antialias: bool,
    name: str,
) -> UInt8[Tensor, "S 3 t h w"]:
    """Return the clips of frames in memory, prepared as those of files are.

    Args:
        frames: T frames.
        fps: their rate, which makes them a whole video that S windows are taken from. None: they
            are one clip, ready but for its size, and S = 1.
        clip: what a clip is.
        windows: which windows of a whole video become clips.
        antialias: how frames are shrunk.
        name: what messages call them.

    Raises:
        DataError: a clip has not the number of frames that the encoder was trained on.
    """
    if fps is None:
        chosen = [_frames_of_a_clip(frames, clip, name)]
    else:
        chosen = [frames[index] for index in _windows_of(frames, fps, clip, windows, name)]
    # torch warns of memory that is closed to writing, such as a file that is mapped.
    writable = [np.require(own, requirements=["C", "W"]) for own in chosen]
    return torch.stack([centre_view(own, size=clip.size, antialias=antialias) for own in writable])


def _separate(videos: Videos) -> list[Any]:
    """Return the videos one by one."""
    if isinstance(videos, str | os.PathLike | Row):
        return [videos]
    if not isinstance(videos, Tensor) and hasattr(videos, "to_numpy"):
        videos = videos.to_numpy()  # a column of a data frame, or one with a single column
    if isinstance(videos, np.ndarray) and videos.dtype.kind in "OUT":
        return _separate_paths(videos)
    if isinstance(videos, np.ndarray | Tensor):
        if videos.ndim == 5:
            return list(videos)
        return [videos]
    if isinstance(videos, Iterable) and not isinstance(videos, bytes | dict):
        return list(videos)
    raise DataError(f"videos is of type {type(videos).__name__}; {_ALLOWED}")


def _separate_paths(paths: np.ndarray) -> list[Any]:
    if paths.ndim == 2 and paths.shape[1] == 1:
        paths = paths[:, 0]
    if paths.ndim != 1:
        raise DataError(
            f"paths have the shape {paths.shape}; give one column of them, such as table['path']"
        )
    return list(paths)


_ALLOWED = (
    "give a path, a Row of read_source, an array or tensor of 8-bit RGB frames such as "
    "(T, H, W, 3), or a list of these"
)


def _one_video(video: object, name: str, layout: Layout | None) -> Row | Frames:
    if isinstance(video, Row):
        return video
    if isinstance(video, str | os.PathLike):
        return _file_row(os.fspath(video))
    if isinstance(video, np.ndarray | Tensor):
        return _as_frames(video, name, layout)
    raise DataError(f"{name} is of type {type(video).__name__}; {_ALLOWED}")


def _file_row(path: Any) -> Row:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    # Refuses URLs that are malformed, and file://, of which it says that a path is wanted.
    place = location(path)
    is_table = suffix(path) in TABLE_SUFFIXES
    if is_table or os.path.isdir(path):
        raise DataError(
            f"{path} is a {'table' if is_table else 'folder'}; name its videos one by one, or all "
            f"of them by read_source({path!r}).rows"
        )
    whole = path if isinstance(place, str) else os.path.abspath(path)
    return Row(path=whole, relative_path=path, source=0, columns={})


def _as_frames(given: np.ndarray | Tensor, name: str, layout: Layout | None) -> Frames:
    if given.ndim != 4:
        raise DataError(f"{name} has the shape {tuple(given.shape)}; {_advice(given.ndim)}")
    if given.dtype not in (np.uint8, torch.uint8):
        kind = str(given.dtype).removeprefix("torch.")
        raise DataError(
            f"{name} has numbers of type {kind}, whose scale is unknown; give 8-bit frames "
            "(of floats from 0 to 1: (frames * 255).round(), as type uint8)"
        )
    array = given.cpu().numpy() if isinstance(given, Tensor) else given
    axes = _layout_of(array.shape, name) if layout is None else layout
    require_choice("layout", axes, _TO_THWC)
    if array.shape[_COLOUR_AXIS[axes]] != 3 or 0 in array.shape:
        raise DataError(
            f"{name} has the shape {array.shape}, which is no video of 3 colours with the axes "
            f"{axes}"
        )
    return np.transpose(array, _TO_THWC[axes])


def _advice(num_axes: int) -> str:
    if num_axes == 3:
        return (
            "a video has four axes: np.stack(frames) makes one of its frames; an image is given "
            "as a file, or repeated as often as a clip has frames"
        )
    return (
        "a video has four axes, such as (T, H, W, 3), and an array with five is several videos, "
        "which does not go into a list"
    )


def _layout_of(shape: Sequence[int], name: str) -> str:
    possible = [axes for axes, axis in _COLOUR_AXIS.items() if shape[axis] == 3]
    if len(possible) == 1:
        return possible[0]
    if not possible:
        raise DataError(
            f"{name} has the shape {tuple(shape)}, and no axis of 3 colours where it can be "
            f"({_listed(_COLOUR_AXIS)}); grey frames (T, H, W) become RGB by "
            "np.repeat(frames[..., None], 3, axis=3)"
        )
    raise DataError(
        f"{name} has the shape {tuple(shape)}, which can be {_listed(possible)}; say which by "
        f"layout={possible[0]!r} or another"
    )


def require_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Check an argument that is one of several words.

    Raises:
        ConfigError: it is another one.
    """
    if value not in allowed:
        raise ConfigError([f"{name} is {value!r}; it can be {_listed(map(repr, allowed))}"])


def _listed(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _frames_of_a_clip(frames: Frames, clip: ClipConfig, name: str) -> Frames:
    if len(frames) != clip.num_frames:
        raise DataError(
            f"{name} has {len(frames)} frames. Without fps, an array is a clip that is ready: "
            f"{clip.num_frames} frames, {_spacing(clip)}. With fps=RATE it is a whole video, "
            "and the clip is taken from it"
        )
    return frames


def _spacing(clip: ClipConfig) -> str:
    if clip.fps is not None:
        return f"{clip.fps:g} per second"
    step = clip.frame_step
    return "all in a row" if step == 1 else f"one out of {step} of the video"


def _windows_of(
    frames: Frames, fps: float, clip: ClipConfig, windows: WindowConfig, name: str
) -> list[np.ndarray]:
    """Return the frames' numbers of every window, placed as in a file of this rate."""
    if not 0 < fps < float("inf"):
        raise DataError(f"fps is {fps}; it must be above 0, the rate of the frames per second")
    num_frames, height, width = frames.shape[:3]
    info = VideoInfo(
        path=name,
        num_frames=num_frames,
        duration_s=num_frames / fps,
        fps=fps,
        height=height,
        width=width,
    )
    placed = place_windows(info, stretch(info), clip, windows)
    return [
        np.clip(np.floor((times_s + _ROUNDING_S) * fps).astype(np.int64), 0, num_frames - 1)
        for _, times_s in placed
    ]
