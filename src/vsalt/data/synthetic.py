"""Makes a labelled set of videos: a moving object on a drifting texture.

Every clip has independent labels, in equal numbers: the object's motion, and its appearance. No
motion can be told from one frame (see `vsalt.data.motions`).
"""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags as CodecFlags

from vsalt import durable
from vsalt.data.synthetic_config import TEST_EVERY, SynthConfig
from vsalt.data.synthetic_frames import SyntheticClip, draw_clip
from vsalt.errors import DataError
from vsalt.randomness import keyed_permutation

DEFAULTS = SynthConfig()
"""Eight motions of four plain shapes, without distractors and noise."""

_GROUP_SIZE = 8
_COLUMNS = ("path", "label", "motion", "appearance", "shape", "texture", "split", "group")
# With its look-ahead the encoder's output depends on where its buffers happen to lie: about one
# file in six differed between runs. Without B-frames and at a constant quantiser nothing needs it.
_NO_LOOKAHEAD = "scenecut=0:rc-lookahead=0:sync-lookahead=0:mbtree=0:weightp=0"


def synthesise(
    out: Path,
    *,
    num_clips: int,
    seed: int = 0,
    size: int = 64,
    num_frames: int = 24,
    fps: int = 12,
    test_every: int = TEST_EVERY,
    config: SynthConfig = DEFAULTS,
    on_clip: Callable[[], object] | None = None,
) -> Path:
    """Write a set of clips and its manifest; the same bytes for the same arguments and libraries.

    The manifest `labels.csv` has the columns path, label (= motion), motion, appearance, shape,
    texture, split and group (= scene). A left-right flip turns left into right and clockwise into
    counter-clockwise: where motion matters, train with `--data.flip 0`.

    Args:
        out: folder to make; must be new or empty.
        num_clips: number of clips.
        seed: everything drawn is a function of the seed and the clip's number.
        size: height and width in pixels; even.
        num_frames: frames per clip.
        fps: frames per second.
        test_every: every n-th scene is of the test split.
        config: what the clips show.
        on_clip: called after every clip, for a progress bar.

    Returns:
        The path of the manifest, which is written last.

    Raises:
        DataError: `out` is in use or a number makes no sense.
        RunFolderError: `out` cannot be written or is full.
    """
    _check(out, num_clips, size, num_frames, fps, test_every)
    durable.create_folder(out / "videos")
    clips = list(plan_clips(num_clips, seed, config, test_every))
    for clip in clips:
        frames = draw_clip(clip, config, seed=seed, size=size, num_frames=num_frames)
        with durable.explain_write_errors(f"to {out}"):
            _write_video(out / _name(clip), frames, fps, config.qp)
        if on_clip is not None:
            on_clip()
    return _write_manifest(out, clips)


def _check(
    out: Path, num_clips: int, size: int, num_frames: int, fps: int, test_every: int
) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} exists and is not an empty folder; name another one")
    if num_clips < 1 or num_frames < 1 or fps < 1:
        raise DataError(
            f"num-clips {num_clips}, num-frames {num_frames} and fps {fps} must be at least 1"
        )
    if test_every < 2:
        raise DataError(f"test-every is {test_every}; it must be at least 2")
    if size < 16 or size % 2:
        raise DataError(f"size is {size}; it must be an even number of at least 16 pixels")


def _name(clip: SyntheticClip) -> str:
    return f"videos/{clip.index:06d}.mp4"


def plan_clips(
    num_clips: int, seed: int, config: SynthConfig = DEFAULTS, test_every: int = TEST_EVERY
) -> Iterator[SyntheticClip]:
    """Yield what is in each clip.

    In each split, every run of `config.num_classes` clips has each combination of motion, shape
    and texture once, in a random order.
    """
    # Small sets get small scenes, so that there are several in either split.
    group_size = max(1, min(_GROUP_SIZE, num_clips // (2 * test_every)))
    made = {"train": 0, "test": 0}
    for index in range(num_clips):
        scene = index // group_size
        split = "test" if scene % test_every == test_every - 1 else "train"
        block, place = divmod(made[split], config.num_classes)
        made[split] += 1
        order = keyed_permutation(config.num_classes, "synthetic-labels", seed, split, block)
        look, motion = divmod(int(order[place]), len(config.motions))
        texture_number, shape_number = divmod(look, len(config.shapes))
        shape, texture = config.shapes[shape_number], config.textures[texture_number]
        yield SyntheticClip(
            index=index,
            motion=config.motions[motion],
            shape=shape,
            texture=texture,
            appearance=f"{shape}_{texture}" if len(config.textures) > 1 else shape,
            scene=scene,
            split=split,
        )


def _write_manifest(out: Path, clips: Sequence[SyntheticClip]) -> Path:
    manifest = out / "labels.csv"
    with (
        durable.whole_file(manifest) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for clip in clips:
            labels = [clip.motion, clip.motion, clip.appearance, clip.shape, clip.texture]
            writer.writerow([_name(clip), *labels, clip.split, f"scene{clip.scene:05d}"])
    return manifest


def _write_video(path: Path, frames: np.ndarray, fps: int, qp: int) -> None:
    options = {"preset": "veryfast", "qp": str(qp), "g": "12", "bf": "0"}
    options["x264-params"] = _NO_LOOKAHEAD
    with av.open(os.fspath(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options=options)
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= CodecFlags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
