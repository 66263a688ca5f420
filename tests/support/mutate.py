"""Small real video and image files, and damaged copies of them, by seed."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image

from vsalt.randomness import keyed_generator

HEIGHT, WIDTH, NUM_FRAMES, FPS = 32, 48, 20, 10

VIDEOS = {
    "h264.mp4": ("libx264", {"g": "6", "bf": "2"}),
    "fragments.mp4": ("libx264", {"g": "6", "bf": "0"}),
    "mpeg4.mp4": ("mpeg4", {"g": "6"}),
    "h264.mkv": ("libx264", {"g": "6", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "6"}),
    "mpeg2.ts": ("mpeg2video", {"g": "6"}),
    "h264.ts": ("libx264", {"g": "6", "bf": "2"}),
    "vp8.webm": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}
MORE_VIDEOS = {
    **VIDEOS,
    "ffv1.mkv": ("ffv1", {}),
    "flv1.flv": ("flv", {}),
    "wmv2.wmv": ("wmv2", {}),
    "mpeg2.mpg": ("mpeg2video", {"g": "6"}),
    "vp8.avi": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
}


class Mutant(NamedTuple):
    """A damaged file, and which damage was done to which file."""

    path: Path
    mutation: str
    base: str


def write_videos(
    folder: Path, videos: Mapping[str, tuple[str, dict[str, str]]] = VIDEOS
) -> list[Path]:
    """Write small sound videos of several containers and codecs; GIF is one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, (codec, options)) in enumerate(videos.items()):
        _write_video(folder / name, codec, options, _pictures(number))
    first, *rest = map(Image.fromarray, _pictures(100))
    first.save(folder / "moving.gif", save_all=True, append_images=rest, duration=100)
    return sorted(folder.iterdir())


def write_images(folder: Path) -> list[Path]:
    """Write small sound images."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(_pictures(200)[0])
    picture.save(folder / "still.jpg")
    picture.save(folder / "still.png")
    return sorted(folder.iterdir())


def _pictures(seed: int) -> np.ndarray:
    """Blocks of random colours, so that any two frames differ, (T, H, W, 3)."""
    shape = (NUM_FRAMES, HEIGHT // 8, WIDTH // 8, 3)
    blocks = np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def _write_video(path: Path, codec: str, options: dict[str, str], pictures: np.ndarray) -> None:
    muxing = {"movflags": "frag_keyframe+empty_moov"} if path.stem == "fragments" else {}
    with av.open(str(path), "w", options=muxing) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_mutants(
    folder: Path, bases: Sequence[Path], *, count: int, seed: int = 0
) -> list[Mutant]:
    """Write `count` damaged copies; every kind of damage has its turn.

    Number i is a function of the seed and i. Its name says what was done to which file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mutants = []
    for number in range(count):
        draw = keyed_generator("mutant", seed, number)
        mutation = tuple(MUTATIONS)[number % len(MUTATIONS)]
        base, other = (bases[int(i)] for i in draw.integers(len(bases), size=2))
        suffix = other.suffix if mutation == "wrong_suffix" else base.suffix
        path = folder / f"{number:04d}-{mutation}-{base.stem}-{base.suffix[1:]}{suffix}"
        path.write_bytes(MUTATIONS[mutation](base.read_bytes(), other.read_bytes(), draw))
        mutants.append(Mutant(path, mutation, base.name))
    return mutants


Draw = np.random.Generator
Mutation = Callable[[bytes, bytes, Draw], bytes]


def _flip(share: float, least: int = 1, part: slice = slice(None)) -> Mutation:
    """Flip this share of the bits of a part of the file."""

    def mutate(data: bytes, other: bytes, draw: Draw) -> bytes:
        array = np.frombuffer(data, dtype=np.uint8).copy()
        places = np.arange(len(array))[part]
        chosen = draw.choice(places, size=max(least, round(8 * share * len(places))))
        np.bitwise_xor.at(array, chosen, (1 << draw.integers(8, size=len(chosen))).astype(np.uint8))
        return array.tobytes()

    return mutate


def _run(data: bytes, draw: Draw, longest: float = 0.25) -> tuple[int, int]:
    """Begin and end of a random stretch."""
    length = int(draw.integers(1, max(2, int(longest * len(data)))))
    begin = int(draw.integers(max(1, len(data) - length)))
    return begin, begin + length


def _truncate(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data[: int(draw.integers(1, len(data)))]


def _keep_only_the_head(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data[: int(draw.integers(1, 65))]


def _behead(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data[int(draw.integers(1, len(data))) :]


def _zero_run(data: bytes, other: bytes, draw: Draw) -> bytes:
    begin, end = _run(data, draw)
    return data[:begin] + bytes(end - begin) + data[end:]


def _random_run(data: bytes, other: bytes, draw: Draw) -> bytes:
    begin, end = _run(data, draw)
    return data[:begin] + draw.bytes(end - begin) + data[end:]


def _insert(data: bytes, other: bytes, draw: Draw) -> bytes:
    begin, end = _run(data, draw)
    return data[:begin] + draw.bytes(end - begin) + data[begin:]


def _delete(data: bytes, other: bytes, draw: Draw) -> bytes:
    begin, end = _run(data, draw)
    return data[:begin] + data[end:]


def _duplicate(data: bytes, other: bytes, draw: Draw) -> bytes:
    begin, end = _run(data, draw)
    return data[:end] + data[begin:end] * int(draw.integers(1, 4)) + data[end:]


def _swap(data: bytes, other: bytes, draw: Draw) -> bytes:
    first, second, third, fourth = sorted(int(i) for i in draw.integers(len(data), size=4))
    return b"".join(
        [data[:first], data[third:fourth], data[second:third], data[first:second], data[fourth:]]
    )


def _join(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data + other


def _splice(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data[: int(draw.integers(1, len(data)))] + other[int(draw.integers(len(other))) :]


# Names of MP4 boxes, AVI and PNG chunks; Matroska's identities of sizes, rates and durations.
_NAMES = re.compile(
    rb"[a-zA-Z][a-zA-Z0-9]{2}[a-zA-Z0-9 ]"
    rb"|\x23\xe3\x83|\x2a\xd7\xb1|\x44\x89|[\xb0\xba](?=[\x81-\x84])"
)


def _extreme(width: int) -> Mutation:
    """Overwrite fields of sizes, rates or dimensions by extreme numbers."""
    extremes = [0, 1, (1 << 8 * width) - 1, (1 << (8 * width - 1)) - 1, 1 << (8 * width - 1)]

    def mutate(data: bytes, other: bytes, draw: Draw) -> bytes:
        names = [(found.start(), found.end()) for found in _NAMES.finditer(data)] or [(4, 4)]
        changed = bytearray(data)
        for _ in range(int(draw.integers(1, 4))):
            begin, end = names[int(draw.integers(len(names)))]
            # The size stands before a name in MP4 and PNG; all other fields follow it.
            steps = [begin - width, *range(end, end + 12 * width, width)]
            place = max(0, steps[int(draw.integers(len(steps)))])
            order = ("little", "big")[int(draw.integers(2))]
            number = extremes[int(draw.integers(len(extremes)))].to_bytes(width, order)
            changed[place : place + width] = number[: max(0, len(data) - place)]
        return bytes(changed)

    return mutate


def _same(data: bytes, other: bytes, draw: Draw) -> bytes:
    return data


def _empty(data: bytes, other: bytes, draw: Draw) -> bytes:
    return b""


def _random_bytes(data: bytes, other: bytes, draw: Draw) -> bytes:
    return draw.bytes(len(data))


MUTATIONS: dict[str, Mutation] = {
    "flip_one": _flip(0),
    "flip_few": _flip(0, least=16),
    "flip_many": _flip(0.002),
    "flip_most": _flip(0.05),
    "flip_head": _flip(0, least=8, part=slice(0, 1024)),
    "flip_tail": _flip(0, least=8, part=slice(-1024, None)),
    "truncate": _truncate,
    "keep_head": _keep_only_the_head,
    "behead": _behead,
    "zero_run": _zero_run,
    "random_run": _random_run,
    "insert": _insert,
    "delete": _delete,
    "duplicate": _duplicate,
    "swap": _swap,
    "join": _join,
    "splice": _splice,
    "extreme_16": _extreme(2),
    "extreme_32": _extreme(4),
    "extreme_64": _extreme(8),
    "wrong_suffix": _same,
    "empty": _empty,
    "random_bytes": _random_bytes,
}
