"""Draws demo.png, the demo's picture in README.md, from what `vsalt demo` has left.

    python docs/pictures/demo.py DEMO_FOLDER

Above: held-out clips, the half that is seen, and what the teacher makes of the
rest. Below: what linear probes of five encoders know about motion, of all committed seeds.
"""

import io
import json
import sys
from pathlib import Path
from statistics import mean

from PIL import Image, ImageDraw, ImageFont

from vsalt.report.pictures import stage_pictures

FOLDER = Path(__file__).parent
SEEDS = FOLDER.parents[1] / "benchmarks" / "results" / "demo_seeds.json"
FONT = ImageFont.load_default(15)
PAPER, INK, QUIET, BAR, LINE = (
    (255, 255, 255),
    (32, 33, 36),
    (150, 155, 165),
    (31, 111, 160),
    (190, 40, 40),
)
ROWS = ("a clip", "what is seen", "the teacher's guess")
NAMES = {
    "raw_pixels": "raw pixels",
    "frame_difference": "frame differences",
    "random_init": "untrained network",
    "teacher": "teacher",
    "student": "student",
}
CLIPS = (0, 2)
"""Which of the held-out clips are drawn; both show much of their object."""
LEFT, GAP, BAR_STEP, MARGIN = 160, 14, 30, 14


def main() -> None:
    clips = draw_clips(Path(sys.argv[1]) / "run" / "teacher")
    width = clips.width + 2 * MARGIN
    bars = draw_bars(width)
    sheet = Image.new("RGB", (width, clips.height + bars.height + 3 * MARGIN), PAPER)
    sheet.paste(clips, (MARGIN, MARGIN))
    sheet.paste(bars, (0, clips.height + 2 * MARGIN))
    sheet.quantize(96).save(FOLDER / "demo.png", optimize=True)


def draw_clips(teacher: Path) -> Image.Image:
    """Lay the reconstructions of two clips side by side, with the names of their rows."""
    shown = [
        Image.open(io.BytesIO(picture.png)).convert("RGB")
        for picture in stage_pictures(teacher, num_clips=max(CLIPS) + 1)
        if picture.title.startswith("Reconstruction")
    ]
    shown = [shown[index] for index in CLIPS]
    width = LEFT + sum(image.width for image in shown) + GAP * (len(shown) - 1)
    sheet = Image.new("RGB", (width, shown[0].height), PAPER)
    place = LEFT
    for image in shown:
        sheet.paste(image, (place, 0))
        place += image.width + GAP
    draw = ImageDraw.Draw(sheet)
    for number, name in enumerate(ROWS):
        middle = shown[0].height * (2 * number + 1) // (2 * len(ROWS))
        draw.text((0, middle), name, INK, FONT, anchor="lm")
    return sheet


def draw_bars(width: int) -> Image.Image:
    """Draw the mean accuracies on motion, and chance as a line."""
    seeds = json.loads(SEEDS.read_text(encoding="utf-8"))["seeds"].values()
    summaries = [seed["summary"] for seed in seeds]
    chance = mean(one["chance"]["motion"] for one in summaries)
    sheet = Image.new("RGB", (width, BAR_STEP * (len(NAMES) + 1) + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = "How does the shape move? Linear probe, accuracy in per cent, 8 motions, means of "
    draw.text((MARGIN, 2), f"{title}{len(summaries)} seeds", INK, FONT)
    # The axis ends at 80 %, so that the longest bar leaves room for its number.
    start, full = LEFT + MARGIN, (width - LEFT - 5 * MARGIN) / 0.8
    for number, (key, name) in enumerate(NAMES.items(), start=1):
        value = mean(one["encoders"][key]["motion"]["accuracy"] for one in summaries)
        top = BAR_STEP * number
        end = start + int(value * full)
        colour = BAR if key in ("teacher", "student") else QUIET
        draw.rectangle((start, top + 4, end, top + BAR_STEP - 6), colour)
        draw.text((MARGIN, top + BAR_STEP // 2 - 1), name, INK, FONT, anchor="lm")
        draw.text((end + 6, top + BAR_STEP // 2 - 1), f"{100 * value:.1f}", INK, FONT, anchor="lm")
    at = start + int(chance * full)
    draw.line((at, BAR_STEP, at, sheet.height - MARGIN), LINE, 2)
    draw.text(
        (at + 5, sheet.height - MARGIN), f"chance {100 * chance:.1f}", LINE, FONT, anchor="ls"
    )
    return sheet


if __name__ == "__main__":
    main()
