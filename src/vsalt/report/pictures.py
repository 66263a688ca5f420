"""The pictures of a stage: masks, reconstructions, tokens as colours; drawn on the CPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vsalt.config import STAGES, PretrainConfig, from_dict
from vsalt.errors import ConfigError
from vsalt.masking.types import Grid
from vsalt.models.config import grid_of
from vsalt.models.vit import Encoder
from vsalt.models.weights import load_strictly, part_of
from vsalt.objectives.config import METHODS, PixelConfig
from vsalt.objectives.pixel import PixelObjective
from vsalt.objectives.protocol import Objective
from vsalt.report.layout import Layout, layouts
from vsalt.report.masks import mask_sheet
from vsalt.report.pca import pca_sheet, token_colours
from vsalt.report.picture import Picture
from vsalt.report.png import encode_png
from vsalt.report.reconstruction import reconstruction_sheet
from vsalt.report.sheet import Sheet
from vsalt.report.shown_clips import ShownClips, read_clips
from vsalt.report.tiles import lay_out
from vsalt.training.build import build_objective
from vsalt.training.checkpoint import CARRIED, Checkpoint, read_verified
from vsalt.training.locate import find_checkpoint, load_encoder, stage_of
from vsalt.training.random_encoder import random_encoder
from vsalt.training.run_folder import CHECKPOINTS
from vsalt.training.teachers import ReadOutside, TeacherNetwork, load_teacher

MAX_BYTES = 300_000
"""A picture that would be larger is drawn smaller."""
UNTRAINED_SEED = 0
"""That of `vsalt probe fit`, unless it is told another."""


@torch.inference_mode()
def stage_pictures(
    folder: Path,
    *,
    num_clips: int = 2,
    data: str | None = None,
    read_outside: ReadOutside | None = None,
) -> list[Picture]:
    """Draw masks, reconstructions (method pixel) and tokens of the checkpoint a stage means.

    Only reads. The same files give the same pictures, but for the rounding of float32.

    Args:
        folder: of the stage.
        num_clips: clips to show.
        data: where the clips come from; None is the source of the run (see `read_clips`).
        read_outside: reads a teacher from outside.

    Raises:
        VsaltError: if there is no checkpoint, it does not fit, or no clips can be read.
    """
    stage = stage_sheets(folder, num_clips=num_clips, data=data, read_outside=read_outside)
    sizes = list(layouts(stage.grid, stage.tubelet))
    pictures = []
    explanation = ""
    for sheet in stage.sheets:
        # What is above the clips of one topic is said once.
        pictures.append(render(sheet, sizes, explained=sheet.explanation == explanation))
        explanation = sheet.explanation
    return pictures


@dataclass(frozen=True, kw_only=True, eq=False)
class StageSheets:
    """What can be drawn of a stage.

    Attributes:
        sheets: topic by topic, clip by clip.
        grid: size of the clips in tokens.
        tubelet: frames, height and width of a token in pixels.
        clips: the clips.
        encoder: what the stage keeps.
    """

    sheets: tuple[Sheet, ...]
    grid: Grid
    tubelet: tuple[int, int, int]
    clips: ShownClips
    encoder: Encoder


@torch.inference_mode()
def stage_sheets(
    folder: Path, *, num_clips: int, data: str | None, read_outside: ReadOutside | None = None
) -> StageSheets:
    """Return the sheets of the checkpoint a stage means; see `stage_pictures`."""
    if num_clips < 1:
        raise ConfigError([f"clips is {num_clips}; it must be at least 1"])
    checkpoint = find_checkpoint(folder)
    config = from_dict(PretrainConfig, checkpoint.meta["config"])
    objective, encoders = _load(checkpoint, config, read_outside)
    masked = objective is not None
    clips = read_clips(config, checkpoint, num_clips=num_clips, data=data, masked=masked)
    pixels = clips.batches[0].clips
    encoder = next(iter(encoders.values()))
    assert isinstance(encoder, Encoder), "the first is what the stage keeps"
    tubelet = encoder.config.tubelet
    grid = grid_of(pixels.shape[2], (pixels.shape[3], pixels.shape[4]), tubelet)
    return StageSheets(
        sheets=tuple(_sheets(config, objective, encoders, clips, grid)),
        grid=grid,
        tubelet=tubelet,
        clips=clips,
        encoder=encoder,
    )


def _load(
    checkpoint: Checkpoint, config: PretrainConfig, read_outside: ReadOutside | None
) -> tuple[Objective | None, dict[str, TeacherNetwork]]:
    """Return the method with its trained weights, and the encoders to compare, by name.

    The first one is what the stage keeps. Of an encoder alone there is no method.
    """
    tensors = read_verified(checkpoint)
    objective, teacher = None, None
    encoders: dict[str, TeacherNetwork] = {}
    if _is_encoder_alone(checkpoint, config, tensors):
        encoders[stage_of(checkpoint)] = load_encoder(checkpoint.path).encoder
    else:
        if config.stage.method.needs_teacher:
            teacher = load_teacher(checkpoint.path.parent.parent, config.stage, read_outside)
        objective = build_objective(config, teacher)
        own = {name: value for name, value in tensors.items() if not name.startswith(f"{CARRIED}.")}
        load_strictly(objective.trainable, own, str(checkpoint.path))
        objective.load_carried_state(part_of(tensors, CARRIED))
        objective.trainable.eval()
        stage = checkpoint.path.parent.parent.name
        encoders[stage if stage in STAGES else "encoder"] = objective.encoder
    if teacher is not None:
        encoders["frozen teacher"] = teacher
    encoders["untrained"] = random_encoder(config.stage.encoder, seed=UNTRAINED_SEED)
    return objective, encoders


def _is_encoder_alone(
    checkpoint: Checkpoint, config: PretrainConfig, tensors: Mapping[str, Tensor]
) -> bool:
    """Whether a checkpoint has lost its method, or never had one.

    So it is of imported weights, of the teacher's copy inside of a student, and of a student whose
    checkpoint was taken out of its run, where its teacher is.
    """
    method = config.stage.method
    if method.name not in METHODS:
        return True
    if all(name.startswith(f"{method.kept_weights}.") for name in tensors):
        return True
    return method.needs_teacher and checkpoint.path.parent.name != CHECKPOINTS


def _sheets(
    config: PretrainConfig,
    objective: Objective | None,
    encoders: dict[str, TeacherNetwork],
    clips: ShownClips,
    grid: Grid,
) -> list[Sheet]:
    """Return the sheets in the order of the page: topic by topic, clip by clip."""
    method, kinds = config.stage.method, config.stage.masks.kind_names
    numbers = range(len(clips.batches))
    ends = [f", clip {index + 1}" if len(numbers) > 1 else "" for index in numbers]
    abouts = [f"File: {name}. {clips.origin}" for name in clips.names]
    sheets: list[Sheet] = []
    if objective is not None:
        sheets += [
            mask_sheet(batch, kinds, grid, title=f"Masks{end}", about=about)
            for batch, end, about in zip(clips.batches, ends, abouts, strict=True)
        ]
    if isinstance(method, PixelConfig) and isinstance(objective, PixelObjective):
        sheets += [
            reconstruction_sheet(
                objective, batch, grid, method.normalise, title=f"Reconstruction{end}", about=about
            )
            for batch, end, about in zip(clips.batches, ends, abouts, strict=True)
        ]
    pixels = [batch.clips for batch in clips.batches]
    colours = {name: token_colours(encoder, pixels, grid) for name, encoder in encoders.items()}
    sheets += [
        pca_sheet(pixels[index], index, colours, title=f"Tokens{ends[index]}", about=abouts[index])
        for index in numbers
    ]
    return sheets


def render(sheet: Sheet, sizes: Sequence[Layout], *, explained: bool = False) -> Picture:
    """Draw a sheet as large as the limit allows.

    Args:
        sheet: what to draw.
        sizes: layouts from the largest on; the last one is taken whatever it weighs.
        explained: leave out how to read it.
    """
    for layout in sizes:
        image = lay_out(sheet.draw(layout))
        png = encode_png(image)
        if len(png) <= MAX_BYTES:
            break
    sentences = ["" if explained else sheet.explanation, _columns(layout), sheet.details]
    return Picture(
        title=sheet.title,
        caption=" ".join(filter(None, sentences)),
        alt=sheet.alt,
        png=png,
        width=image.shape[1],
        height=image.shape[0],
        rows=sheet.rows,
        num_columns=len(layout.steps),
    )


def _columns(layout: Layout) -> str:
    num_times, shown = layout.grid[0], len(layout.steps)
    if num_times == 1:
        return ""
    of_all = "" if shown == num_times else f", {shown} of {num_times}"
    return f"Columns: time steps from left to right{of_all}; of each the first frame is shown."
