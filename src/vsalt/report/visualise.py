"""`vsalt viz`: pictures of a stage as files, still or moving."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from vsalt import durable
from vsalt.errors import ConfigError
from vsalt.models.pooler import AttentiveClassifier
from vsalt.report.attention import attention_map, attention_sheet
from vsalt.report.layout import layouts
from vsalt.report.moving import moving_pictures, write_gif, write_mp4
from vsalt.report.pictures import StageSheets, stage_sheets
from vsalt.report.png import encode_png
from vsalt.report.sheet import Sheet
from vsalt.report.tiles import lay_out
from vsalt.training.teachers import ReadOutside

Topic: TypeAlias = Literal["masks", "reconstruction", "tokens", "attention"]
TOPICS: tuple[Topic, ...] = get_args(Topic)
PictureFormat: TypeAlias = Literal["png", "gif", "mp4"]
CAPTIONS = "captions.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentiveProbe:
    """A probe whose attention is drawn.

    Attributes:
        classifier: fitted to the stage's encoder.
        layers: blocks of the encoder that it gets.
        segments: windows that it was trained on together.
        classes: names, in the order of its outputs.
    """

    classifier: AttentiveClassifier
    layers: Sequence[int]
    segments: int
    classes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class VizOptions:
    """What is drawn, and how.

    Attributes:
        topics: what to draw; empty: all that there is.
        format: png: time steps side by side. gif, mp4: one after the other.
        num_clips: clips to draw.
        data: where the clips come from; None: the source of the run.
        steps_per_second: of moving pictures.
    """

    topics: tuple[Topic, ...] = ()
    format: PictureFormat = "png"
    num_clips: int = 2
    data: str | None = None
    steps_per_second: int = 4

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = []
        if self.num_clips < 1:
            problems.append(f"clips is {self.num_clips}; it must be at least 1")
        if not 1 <= self.steps_per_second <= 50:
            problems.append(f"steps-per-second is {self.steps_per_second}; it must be from 1 to 50")
        if problems:
            raise ConfigError(problems)


def visualise(
    folder: Path,
    out: Path,
    options: VizOptions,
    probe: AttentiveProbe | None = None,
    read_outside: ReadOutside | None = None,
) -> list[Path]:
    """Write the pictures of a stage, and captions.json, which says how to read each.

    Args:
        folder: a run, a stage of it or a checkpoint; drawn is what it means as an encoder.
        out: the folder; pictures of the same names are replaced.
        options: what to draw.
        probe: whose attention to draw.
        read_outside: reads a teacher from outside.

    Returns:
        The pictures, in the order of topics and clips.

    Raises:
        ConfigError: if there is nothing of a topic that was asked for, with the reason.
        VsaltError: if there is no checkpoint, or no clips can be read.
    """
    stage = stage_sheets(
        folder, num_clips=options.num_clips, data=options.data, read_outside=read_outside
    )
    sheets = [*stage.sheets, *(_attention(stage, probe) if probe else ())]
    chosen = [sheet for sheet in sheets if not options.topics or _topic(sheet) in options.topics]
    _require_all(options.topics, {_topic(sheet) for sheet in chosen}, folder)
    durable.create_folder(out)
    written: list[Path] = []
    captions = _captions_of_others(out)
    for sheet in chosen:
        path = out / f"{_slug(sheet.title)}.{options.format}"
        with durable.whole_file(path) as temporary:
            _write(temporary, sheet, stage, options)
        captions[path.name] = {
            "rows": list(sheet.rows),
            "explanation": sheet.explanation,
            "details": sheet.details,
            "alt": sheet.alt,
        }
        written.append(path)
    durable.write_json(out / CAPTIONS, captions)
    return written


def _write(path: Path, sheet: Sheet, stage: StageSheets, options: VizOptions) -> None:
    if options.format == "png":
        layout = next(layouts(stage.grid, stage.tubelet))
        path.write_bytes(encode_png(lay_out(sheet.draw(layout))))
        return
    pictures = moving_pictures(sheet, stage.grid, stage.tubelet)
    write = write_gif if options.format == "gif" else write_mp4
    write(path, pictures, steps_per_second=options.steps_per_second)


def _attention(stage: StageSheets, probe: AttentiveProbe) -> list[Sheet]:
    sheets = []
    several = len(stage.clips.batches) > 1
    for index, batch in enumerate(stage.clips.batches):
        places, answer = attention_map(
            stage.encoder, probe.classifier, batch.clips, stage.grid, probe.layers
        )
        about = f"File: {stage.clips.names[index]}."
        if probe.segments > 1:
            about = f"It was trained on {probe.segments} windows of a video at once. {about}"
        title = f"Attention, clip {index + 1}" if several else "Attention"
        sheets.append(
            attention_sheet(batch.clips, places, probe.classes[answer], title=title, about=about)
        )
    return sheets


def _captions_of_others(out: Path) -> dict[str, Any]:
    """Return the captions of pictures that are in the folder already."""
    if not (out / CAPTIONS).is_file():
        return {}
    return {
        name: caption
        for name, caption in durable.read_json(out / CAPTIONS).items()
        if (out / name).is_file()
    }


def _topic(sheet: Sheet) -> str:
    return sheet.title.partition(",")[0].lower()


def _slug(title: str) -> str:
    return title.lower().replace(",", "").replace(" ", "-")


def _require_all(wanted: Sequence[Topic], found: Collection[str], folder: Path) -> None:
    reasons = {
        "masks": f"{folder} is an encoder alone, which hides nothing; name a run or a stage of it",
        "reconstruction": f"{folder} predicts no pixels, so it has no reconstruction; a teacher of "
        "SALT does, such as RUN/teacher",
        "attention": "attention needs --probe DIR, of `vsalt probe fit --kind attentive`",
    }
    problems = [reasons[topic] for topic in wanted if topic not in found]
    if problems:
        raise ConfigError(problems)
