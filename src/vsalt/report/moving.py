"""Pictures that move: one time step of a clip after the other, as GIF or mp4; FFmpeg writes them.

Shapes: F pictures of H x W pixels.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.stream import VideoStream
from jaxtyping import UInt8

from vsalt.masking.types import Grid
from vsalt.report.layout import MAX_SIDE, Layout
from vsalt.report.sheet import Sheet
from vsalt.report.tiles import BACKGROUND, lay_out

_MP4 = {"crf": "16", "preset": "medium"}


def moving_pictures(
    sheet: Sheet, grid: Grid, tubelet: tuple[int, int, int]
) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Return a picture for each time step, with the rows of a sheet side by side.

    Args:
        sheet: what to draw.
        grid: size of the clip in tokens.
        tubelet: frames, height and width of a token in pixels.
    """
    longest = max(grid[1] * tubelet[1], grid[2] * tubelet[2])
    factor = max(1, 2 * MAX_SIDE // longest)
    pictures = []
    for step in range(grid[0]):
        layout = Layout(grid=grid, tubelet=tubelet, steps=(step,), enlarge=factor)
        pictures.append(lay_out([np.concatenate(sheet.draw(layout))]))
    return pictures


def write_gif(
    path: Path, pictures: Sequence[UInt8[np.ndarray, "H W 3"]], *, steps_per_second: int
) -> None:
    """Write a GIF that repeats without end; each picture has the 256 colours that suit it best."""
    graph = Graph()
    height, width = pictures[0].shape[:2]
    source = graph.add_buffer(
        width=width,
        height=height,
        format=av.VideoFormat("rgb24"),
        time_base=Fraction(1, steps_per_second),
    )
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    use, sink = graph.add("paletteuse", "dither=none:new=1"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, picture in enumerate(pictures):
        source.push(_frame(picture, index, steps_per_second))
    source.push(None)
    with av.open(str(path), "w", format="gif", options={"loop": "0"}) as container:
        stream = container.add_stream("gif", rate=steps_per_second)
        _set_size(stream, width, height, "pal8")
        for _ in pictures:
            frame = sink.pull()
            assert isinstance(frame, av.VideoFrame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_mp4(
    path: Path, pictures: Sequence[UInt8[np.ndarray, "H W 3"]], *, steps_per_second: int
) -> None:
    """Write an mp4 in H.264, which browsers and slides play."""
    height, width = (side + side % 2 for side in pictures[0].shape[:2])
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=steps_per_second, options=_MP4)
        _set_size(stream, width, height, "yuv420p")
        for index, picture in enumerate(pictures):
            # Half of the colours' points need even sides.
            even = np.full((height, width, 3), BACKGROUND, np.uint8)
            even[: picture.shape[0], : picture.shape[1]] = picture
            container.mux(stream.encode(_frame(even, index, steps_per_second)))
        container.mux(stream.encode(None))


def _set_size(stream: VideoStream, width: int, height: int, pixels: str) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, pixels


def _frame(picture: UInt8[np.ndarray, "H W 3"], index: int, steps_per_second: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts, frame.time_base = index, Fraction(1, steps_per_second)
    return frame
