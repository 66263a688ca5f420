"""Draws borders.png of docs/how-to/other-domains.md: which part of a picture vsalt's views show.

    python docs/pictures/borders.py

The picture is made up: a fan of noise with a bright line and its echoes, as ultrasound looks. The
views are vsalt's own. Pillow comes with vsalt's development tools.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vsalt.data.transforms import centre_view, random_view

FOLDER = Path(__file__).parent
FONT = ImageFont.load_default(14)
PAPER, INK, FRAME = (255, 255, 255), (32, 33, 36), (222, 142, 44)
HEIGHT, WIDTH = 240, 320
"""Pixels of the made-up picture."""
ZOOM, GAP, TOP, MARGIN = 1.5, 16, 42, 12
SEED = 4
"""Of the training crops that are shown."""


def main() -> None:
    """Write the picture."""
    frame = fan()
    wide = (96, 128)
    padded = np.pad(frame, ((HEIGHT // 14 + 1,) * 2, (WIDTH // 14 + 1,) * 2, (0, 0)))
    panels = [
        ("the picture,\nwith its border marked", Image.fromarray(frame)),
        ("a training clip\nby the preset", training(frame, (96, 96), (0.3, 1.0), (0.75, 1.35))),
        (
            "a training clip\nby ultrasound.toml",
            training(frame, wide, (0.8, 1.0), (1.3, 1.37)),
        ),
        ("what a probe sees\nof 96 x 96", middle(frame, (96, 96))),
        ("what a probe sees\nof 96 x 128", middle(frame, wide)),
        ("the same, of the\npadded picture", middle(padded, wide)),
    ]
    save(lay_out(panels))


def fan() -> np.ndarray:
    """Return a made-up picture, shape (HEIGHT, WIDTH, 3), uint8, with a coloured border."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    down, across = y + 40, x - (WIDTH - 1) / 2
    depth, angle = np.hypot(down, across) - 60, np.arctan2(across, down)
    # Speckle: Rayleigh noise, smoothed more across the beam than along it.
    speckle = draws.rayleigh(1.0, (HEIGHT, WIDTH))
    for axis, length in ((0, 2), (1, 5)):
        kernel = np.ones(length) / length
        speckle = np.apply_along_axis(np.convolve, axis, speckle, kernel, mode="same")
    wave = 4 * np.sin(5 * angle)
    echoes = sum(np.exp(-(((depth - 55 * n - wave) / 3) ** 2)) / n for n in (1, 2, 3))
    light = 34 * speckle * np.exp(-np.clip(depth, 0, None) / 140) + 190 * echoes
    inside = (depth > 0) & (depth < 205) & (np.abs(angle) < 0.62)
    frame = np.repeat(np.where(inside, np.clip(light, 0, 255), 0)[..., None], 3, axis=2)
    frame = frame.astype(np.uint8)
    frame[:6], frame[-6:], frame[:, :6], frame[:, -6:] = (FRAME,) * 4
    return frame


def training(
    frame: np.ndarray, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> Image.Image:
    """Return a frame of a training clip."""
    view = random_view(
        frame[None],
        np.random.default_rng(SEED),
        size=size,
        crop_scale=scale,
        crop_ratio=ratio,
        flip=0.0,
    )
    return Image.fromarray(view[:, 0].permute(1, 2, 0).numpy())


def middle(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Return a frame of what probes and embeddings are given."""
    return Image.fromarray(centre_view(frame[None], size=size)[:, 0].permute(1, 2, 0).numpy())


def lay_out(panels: list[tuple[str, Image.Image]]) -> Image.Image:
    """Return the panels in two rows of three, each below its words."""
    side = round(128 * ZOOM)
    row = TOP + round(96 * ZOOM) + GAP
    sheet = Image.new("RGB", (2 * MARGIN + 3 * side + 2 * GAP, 2 * row + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (words, picture) in enumerate(panels):
        left, top = MARGIN + (number % 3) * (side + GAP), MARGIN + (number // 3) * row
        pen.multiline_text((left, top), words, INK, FONT, spacing=2)
        shown = picture.resize(
            (round(picture.width * 96 / picture.height * ZOOM), round(96 * ZOOM)),
            Image.Resampling.BICUBIC,
        )
        sheet.paste(shown, (left, top + TOP))
    return sheet


def save(sheet: Image.Image) -> None:
    """Write a PNG with a palette, which is small."""
    sheet.quantize(48, dither=Image.Dither.NONE).save(FOLDER / "borders.png", optimize=True)
    print(f"borders.png: {(FOLDER / 'borders.png').stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
