"""`vsalt import`: weights from elsewhere, as a folder that --encoder and --teacher take.

OUT/
  model.safetensors  the encoder, and the predictor if there is one, under vsalt's names
  meta.json          as of a checkpoint; what is not known of imported weights (steps, clips, FLOPs,
                     data) is null, and `config` holds only what is known; written last
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vsalt import __version__, durable
from vsalt.config import PretrainConfig, from_dict, to_dict
from vsalt.data.config import ClipConfig
from vsalt.errors import InteropError, report_problems
from vsalt.interop.hf_folder import CONFIG, Sampling, read_hf_folder, read_sampling
from vsalt.interop.networks import PREDICTOR, Networks, predictor_config
from vsalt.interop.original import PREDICTOR_HEADS, OriginalSettings, Role, read_original
from vsalt.models.weights import save_weights, weights_hash
from vsalt.objectives.config import TRAINED_ENCODER, ImportedConfig
from vsalt.training.checkpoint import META, MODEL, UNKNOWN

VJEPA2_FPS = 4.0
"""Frames per second of the clips that V-JEPA 2 was pretrained on."""
ORIGINAL_SIZE, ORIGINAL_NUM_FRAMES = 256, 16


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What the source does not tell, and how its encoder is to be used.

    Attributes:
        role: which encoder of an original checkpoint is taken; None: target_encoder.
        num_frames: frames of a clip; None: as the source says, else 16.
        size: height and width of a clip in pixels; None: as the source says, else 256.
        fps: frames of a clip per second of the video; with neither this nor `frame_step`: as the
            source says, else 4.
        frame_step: or: every n-th frame.
        antialias: average over source pixels when shrinking frames; None: as the source's own
            preparation, which in transformers does and in V-JEPA's code does not.
        heads: attention heads of an original checkpoint's encoder; None: V-JEPA 2's.
        predictor_heads: likewise of its predictor.
        rotary: take an original checkpoint's positions for rotary even if it holds a table of
            added ones (see `OriginalSettings`).
    """

    role: Role | None = None
    num_frames: int | None = None
    size: int | None = None
    fps: float | None = None
    frame_step: int | None = None
    antialias: bool | None = None
    heads: int | None = None
    predictor_heads: int | None = None
    rotary: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        given = {
            name: getattr(self, name)
            for name in ("num_frames", "size", "frame_step", "heads", "predictor_heads", "fps")
        }
        problems = [
            f"{name.replace('_', '-')} is {value}; it must be above 0"
            for name, value in given.items()
            if value is not None and not value > 0
        ]
        if self.fps is not None and self.frame_step is not None:
            problems.append("fps and frame-step exclude each other; give one of them")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True, eq=False)
class Imported:
    """What was brought in.

    Attributes:
        networks: as they were written.
        sha256: hash of all weights.
        notes: what was taken for granted, and what was left out, in sentences.
    """

    networks: Networks
    sha256: str
    notes: tuple[str, ...]


def import_weights(source: Path, out: Path, settings: ImportSettings) -> Imported:
    """Write an encoder from elsewhere as a checkpoint of ours.

    Args:
        source: a `save_pretrained` folder of transformers, or an original V-JEPA 2 `.pt` file.
        out: the folder to write; must be new or empty.
        settings: what the source does not tell.

    Raises:
        InteropError: if the source is neither, or vsalt cannot hold its networks.
        WeightsError: if weights are missing or left over.
        ConfigError: if clips do not fit the encoder.
        RunFolderError: if `out` is in use, or cannot be written.
    """
    found = _read(source, settings)
    sampling = _sampling(found, settings)
    config = _config(found.networks, sampling)
    from_dict(PretrainConfig, config)  # says at once what would not fit when it is used
    tensors = _tensors(found.networks)
    notes = (*found.notes, _in_words(sampling))
    meta = _meta(found, source, config, notes, sha256 := weights_hash(tensors))
    durable.create_new_folder(out, "OUT")
    with durable.explain_write_errors(f"to {out}"):
        save_weights(out / MODEL, tensors)
    durable.write_json(out / META, meta)
    durable.sync_tree(out)
    return Imported(networks=found.networks, sha256=sha256, notes=notes)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """What was read, and how its own code prepares clips."""

    networks: Networks
    notes: tuple[str, ...]
    format: str
    role: str | None
    antialias: bool
    clip: ClipConfig


def _read(source: Path, settings: ImportSettings) -> _Source:
    if source.is_dir():
        return _from_folder(source, settings)
    if source.is_file():
        return _from_original(source, settings)
    raise InteropError(
        f"there is nothing at {source}; give a `save_pretrained` folder of transformers, or an "
        "original V-JEPA 2 checkpoint (.pt)"
    )


def _from_folder(source: Path, settings: ImportSettings) -> _Source:
    """Read a folder of transformers, whose config says all but how clips are sampled."""
    if not (source / CONFIG).is_file():
        raise InteropError(
            f"{source} has no {CONFIG}, so it is no `save_pretrained` folder of transformers"
        )
    _refuse_for_folder(settings, source)
    networks = read_hf_folder(source)
    notes: tuple[str, ...] = ()
    if networks.classifier is not None:
        notes = ("its classifier was left out; vsalt probe fit fits one",)
    own = read_sampling(source)
    clip = ClipConfig(num_frames=networks.num_frames, size=networks.size, fps=VJEPA2_FPS)
    return _Source(
        networks=networks,
        notes=notes + _about_predictor(networks),
        format="transformers",
        role=None,
        antialias=own.antialias if own else True,
        clip=own.clip if own else clip,
    )


def _from_original(source: Path, settings: ImportSettings) -> _Source:
    role = settings.role or "target_encoder"
    found = read_original(
        source,
        OriginalSettings(
            role=role,
            num_frames=settings.num_frames or ORIGINAL_NUM_FRAMES,
            size=settings.size or ORIGINAL_SIZE,
            heads=settings.heads,
            predictor_heads=settings.predictor_heads or PREDICTOR_HEADS,
            rotary=settings.rotary,
        ),
    )
    networks = found.networks
    notes = (
        *(f"taken for granted: {text}" for text in found.assumed),
        *(f"left out: {text}" for text in found.left_out),
    )
    return _Source(
        networks=networks,
        notes=notes + _about_predictor(networks),
        format="vjepa2",
        role=role,
        antialias=False,
        clip=ClipConfig(num_frames=networks.num_frames, size=networks.size, fps=VJEPA2_FPS),
    )


def _about_predictor(networks: Networks) -> tuple[str, ...]:
    return () if networks.predictor is not None else ("what is written has no predictor",)


def _refuse_for_folder(settings: ImportSettings, source: Path) -> None:
    """Refuse what only an original checkpoint leaves open."""
    given = {name: getattr(settings, name) for name in ("role", "heads", "predictor_heads")}
    given["rotary"] = settings.rotary or None
    report_problems(
        [
            f"{name.replace('_', '-')} is {value}, but {source / CONFIG} tells the networks; it is "
            "for original checkpoints (.pt), so leave it out"
            for name, value in given.items()
            if value is not None
        ]
    )


def _sampling(found: _Source, settings: ImportSettings) -> Sampling:
    """Return the source's own clips with what the settings say."""
    clip = found.clip
    if settings.num_frames is not None:
        clip = replace(clip, num_frames=settings.num_frames)
    if settings.size is not None:
        clip = replace(clip, size=(settings.size, settings.size))
    if settings.fps is not None:
        clip = replace(clip, fps=settings.fps)
    if settings.frame_step is not None:
        clip = replace(clip, fps=None, frame_step=settings.frame_step)
    antialias = found.antialias if settings.antialias is None else settings.antialias
    return Sampling(clip=clip, antialias=antialias)


def _in_words(sampling: Sampling) -> str:
    clip = sampling.clip
    rate = f"every {clip.frame_step} frames" if clip.fps is None else f"{clip.fps:g} per second"
    return (
        f"its clips are {clip.num_frames} frames of {clip.size[0]} x {clip.size[1]} pixels, "
        f"{rate}, shrunk {'with' if sampling.antialias else 'without'} antialias"
    )


def _config(networks: Networks, sampling: Sampling) -> dict[str, Any]:
    """Return what is known of a stage's configuration."""
    stage: dict[str, Any] = {
        "method": to_dict(ImportedConfig()),
        "encoder": to_dict(networks.encoder.config),
    }
    if networks.predictor is not None:
        stage["predictor"] = to_dict(predictor_config(networks.predictor))
    data = {"antialias": sampling.antialias}
    return {"clip": to_dict(sampling.clip), "data": data, "stage": stage}


def _meta(
    found: _Source, source: Path, config: dict[str, Any], notes: tuple[str, ...], sha256: str
) -> dict[str, Any]:
    """Return what meta.json says; of a path only its last part, since weights are passed on."""
    origin = {
        "format": found.format,
        "source": source.name,
        "role": found.role,
        "notes": list(notes),
        "vsalt": __version__,
    }
    unknown = dict.fromkeys(UNKNOWN)
    return {"imported": origin, "config": config, **unknown, "weights_sha256": sha256}


def _tensors(networks: Networks) -> dict[str, Tensor]:
    parts = {TRAINED_ENCODER: networks.encoder, PREDICTOR: networks.predictor}
    return {
        f"{prefix}.{name}": tensor
        for prefix, module in parts.items()
        if module is not None
        for name, tensor in module.state_dict().items()
    }
