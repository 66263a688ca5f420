"""Draws the pictures of docs/explanation/ from synthetic clips and vsalt's own masks.

    python docs/pictures/make.py

writes masks.png and late-steps.png beside this file. Pillow comes with vsalt's development tools.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vsalt.data.synthetic_config import SynthConfig
from vsalt.data.synthetic_frames import SyntheticClip, draw_clip
from vsalt.masking.config import (
    CausalConfig,
    MaskConfig,
    MultiblockConfig,
    RandomConfig,
    TubeConfig,
)
from vsalt.masking.sampler import Masker, build_mask_sampler, resolve_masks
from vsalt.masking.types import Grid, Mask

FOLDER = Path(__file__).parent
FONT, SMALL = ImageFont.load_default(15), ImageFont.load_default(13)
PAPER, INK = (255, 255, 255), (32, 33, 36)
TARGET, NEITHER = (38, 50, 72), (205, 207, 211)
BUDGET, BATCH_MIN = (46, 84, 150), (222, 142, 44)

MASK_GRID: Grid = (8, 7, 7)
"""Tokens of a clip of 16 frames of 112 x 112 pixels, as of preset small-gpu."""
TOKEN = 12
"""Side of a drawn token in pixels."""
SEED = 5
"""Of the drawn clip."""
POSITION = 23
"""Place of the drawn clip in its batch: the last one of a group of 24."""

TIME_GRID: Grid = (8, 14, 14)
"""Tokens of a clip of 16 frames of 224 x 224 pixels, as of the paper's presets."""
NUM_GROUPS = 60


def main() -> None:
    """Write both pictures."""
    save(draw_masks(), "masks.png", num_colours=24)
    save(draw_late_steps(), "late-steps.png", num_colours=32)


def draw_masks() -> Image.Image:
    """Return a picture with a row of eight time steps for each family of masks."""
    rows: list[tuple[str, str, Mask | None]] = [("the clip", "", None)]
    for name, policy, config, kind in [
        ("multi-block, short", "budget", MultiblockConfig(), "short"),
        ("multi-block, long", "budget", MultiblockConfig(), "long"),
        ("multi-block, short", "batch_min", MultiblockConfig(policy="batch_min"), "short"),
        ("multi-block, long", "batch_min", MultiblockConfig(policy="batch_min"), "long"),
        ("tube", "ratio 0.9", TubeConfig(), "tube_1"),
        ("random", "ratio 0.9", RandomConfig(), "random_1"),
        ("causal", "ratio 0.9", CausalConfig(), "causal_1"),
    ]:
        mask = masker_of(config, MASK_GRID, kind).draw(0, 0, POSITION, kind)
        rows.append((name, policy, mask))
    frames = synthetic_frames(MASK_GRID[1] * TOKEN // 2, num_frames=2 * MASK_GRID[0])[::2]
    frames = frames.repeat(2, axis=1).repeat(2, axis=2)  # half the resolution, a small file
    side, gap, left, top = MASK_GRID[1] * TOKEN, 7, 150, 34
    size = (left + MASK_GRID[0] * (side + gap), top + len(rows) * (side + gap) + 34)
    picture = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(picture)
    for step in range(MASK_GRID[0]):
        pen.text((left + step * (side + gap), 10), f"step {step + 1}", INK, SMALL)
    for number, (name, policy, mask) in enumerate(rows):
        y = top + number * (side + gap)
        pen.text((8, y + 24), name, INK, FONT)
        pen.text((8, y + 44), policy, INK, SMALL)
        for step, frame in enumerate(covered(frames, mask)):
            picture.paste(Image.fromarray(frame), (left + step * (side + gap), y))
    draw_legend(pen, (left, size[1] - 26), [("target, hidden", TARGET), ("neither used", NEITHER)])
    pen.text((left + 300, size[1] - 26), "what can be seen is context", INK, SMALL)
    return picture


def masker_of(config: MaskConfig, grid: Grid, kind: str) -> Masker:
    """Return what draws the masks of a kind."""
    return build_mask_sampler(resolve_masks(config, grid), grid, seed=0).maskers[kind]


def synthetic_frames(size: int, num_frames: int) -> np.ndarray:
    """Return the frames of one synthetic clip, shape (num_frames, size, size, 3), uint8."""
    clip = SyntheticClip(
        index=3,
        motion="right",
        shape="triangle",
        texture="plain",
        appearance="triangle",
        scene=0,
        split="train",
    )
    return draw_clip(
        clip, SynthConfig(background_contrast=0.4), seed=SEED, size=size, num_frames=num_frames
    )


def covered(frames: np.ndarray, mask: Mask | None) -> np.ndarray:
    """Tint the targets of frames (T, H, W, 3), and blank what is neither context nor target."""
    if mask is None:
        return frames
    kinds = np.zeros(MASK_GRID, dtype=np.int64)
    kinds.ravel()[mask.context] = 1
    kinds.ravel()[mask.targets] = 2
    pixels = np.kron(kinds, np.ones((1, TOKEN, TOKEN), dtype=np.int64))[..., None]
    tinted = 0.22 * frames + 0.78 * np.array(TARGET)
    drawn = np.select([pixels == 1, pixels == 2], [frames, tinted], np.array(NEITHER))
    return drawn.astype(np.uint8)


def draw_late_steps() -> Image.Image:
    """Return bars: the share of each time step among the targets, for both policies."""
    picture = Image.new("RGB", (860, 300), PAPER)
    pen = ImageDraw.Draw(picture)
    for column, kind in enumerate(("short", "long")):
        shares = {
            policy: target_shares(MultiblockConfig(policy=policy), kind)
            for policy in ("budget", "batch_min")
        }
        draw_bars(pen, 60 + 410 * column, f"{kind} masks", shares)
    legend = [("budget", BUDGET), ("batch_min, groups of 24 clips", BATCH_MIN)]
    draw_legend(pen, (60, 272), legend)
    return picture


def target_shares(config: MultiblockConfig, kind: str) -> np.ndarray:
    """Return the per cent of the targets that lie in each time step, over groups of 24 clips."""
    masker = masker_of(config, TIME_GRID, kind)
    steps = np.zeros(TIME_GRID[0])
    for step in range(NUM_GROUPS):
        for position in range(24):
            times = masker.draw(0, step, position, kind).targets // (TIME_GRID[1] * TIME_GRID[2])
            steps += np.bincount(times, minlength=TIME_GRID[0])
    return 100 * steps / steps.sum()


def draw_bars(
    pen: ImageDraw.ImageDraw, left: int, title: str, shares: dict[str, np.ndarray]
) -> None:
    """Draw one panel of bars with its axis."""
    bottom, scale = 232, 8
    pen.text((left, 8), f"{title}: share of the targets by time step", INK, FONT)
    for per_cent in (0, 10, 20):
        y = bottom - scale * per_cent
        pen.line((left, y, left + 360, y), NEITHER)
        pen.text((left - 40, y - 8), f"{per_cent} %", INK, SMALL)
    for step in range(TIME_GRID[0]):
        x = left + 8 + 44 * step
        pen.text((x + 12, bottom + 6), str(step + 1), INK, SMALL)
        for offset, (policy, colour) in enumerate([("budget", BUDGET), ("batch_min", BATCH_MIN)]):
            height = round(scale * shares[policy][step])
            pen.rectangle((x + 17 * offset, bottom - height, x + 17 * offset + 14, bottom), colour)


def draw_legend(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    entries: Sequence[tuple[str, tuple[int, int, int]]],
) -> None:
    """Draw coloured squares with their meanings in a row."""
    x, y = place
    for words, colour in entries:
        pen.rectangle((x, y, x + 14, y + 14), colour)
        pen.text((x + 21, y - 1), words, INK, SMALL)
        x += 42 + round(pen.textlength(words, SMALL))


def save(picture: Image.Image, name: str, *, num_colours: int) -> None:
    """Write a PNG with a palette, which is small."""
    palette = picture.quantize(num_colours, dither=Image.Dither.NONE)
    palette.save(FOLDER / name, optimize=True)
    print(f"{name}: {(FOLDER / name).stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
