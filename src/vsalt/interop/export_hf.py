"""`vsalt export --to hf`: a folder that transformers loads, with a card that says what it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsalt import durable
from vsalt.data.config import ClipConfig
from vsalt.interop.hf_folder import Sampling, write_networks, write_sampling
from vsalt.interop.model_card import CardFacts, ProbeLine, model_card
from vsalt.interop.networks import Networks, read_predictor
from vsalt.interop.vjepa2_hf import left_out
from vsalt.models.pooler import AttentiveClassifier
from vsalt.training import run_folder
from vsalt.training.checkpoint import Checkpoint
from vsalt.training.locate import LoadedEncoder, stage_of

CARD = "README.md"


@dataclass(frozen=True, kw_only=True, eq=False)
class HfClassifier:
    """An attentive probe that is exported with its encoder.

    Attributes:
        classifier: the probe.
        classes: names of its classes.
        clip: what clips it takes.
        antialias: how their frames are shrunk.
        num_views: crops of a clip over which its probabilities were averaged.
    """

    classifier: AttentiveClassifier
    classes: tuple[str, ...]
    clip: ClipConfig
    antialias: bool
    num_views: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class HfExport:
    """What goes into a folder beside the encoder.

    Attributes:
        classifier: an attentive probe, if it is wanted.
        probes: results for the card.
        license: identifier for the card; None: the card says that it is missing.
    """

    classifier: HfClassifier | None = None
    probes: Sequence[ProbeLine] = field(default_factory=tuple)
    license: str | None = None


def export_hf(loaded: LoadedEncoder, out: Path, export: HfExport) -> tuple[str, ...]:
    """Write an encoder as a folder of transformers.

    Args:
        loaded: the encoder, of a run, a checkpoint or an import.
        out: the folder; must be new or empty.
        export: what goes with it.

    Returns:
        What was left out, or cannot be said in the folder's configs, in sentences.

    Raises:
        InteropError: if transformers cannot hold the encoder or the probe, with the reasons.
        WeightsError: if the predictor beside the encoder is damaged.
        RunFolderError: if `out` is in use, or cannot be written.
    """
    networks = _networks(loaded, export.classifier)
    notes = _notes(loaded, networks, export.classifier)
    write_networks(out, networks)
    sampling = _sampling(loaded, export.classifier)
    write_sampling(out, sampling, loaded.sha256)
    facts = CardFacts(
        config=loaded.config,
        meta=loaded.checkpoint.meta,
        data=_section(loaded.checkpoint, "data"),
        teacher=_section(loaded.checkpoint, "teacher_outside"),
        stage=stage_of(loaded.checkpoint),
        networks=networks,
        clip=sampling.clip,
        sha256=loaded.sha256,
        probes=export.probes,
        notes=notes,
        license=export.license,
    )
    durable.write_file(out / CARD, model_card(facts))
    durable.sync_tree(out)
    return notes


def _sampling(loaded: LoadedEncoder, head: HfClassifier | None) -> Sampling:
    if head is not None:
        return Sampling(clip=head.clip, antialias=head.antialias)
    return Sampling(clip=loaded.config.clip, antialias=loaded.config.data.antialias)


def _networks(loaded: LoadedEncoder, head: HfClassifier | None) -> Networks:
    clip = _sampling(loaded, head).clip
    return Networks(
        encoder=loaded.encoder,
        num_frames=clip.num_frames,
        size=clip.size,
        predictor=read_predictor(loaded.checkpoint, loaded.config),
        classifier=head.classifier if head else None,
        classes=head.classes if head else (),
    )


def _notes(loaded: LoadedEncoder, networks: Networks, head: HfClassifier | None) -> tuple[str, ...]:
    notes = [
        f"The predictor is left out: {reason}. A model of transformers always has one; here it has "
        "no blocks and answers NaN, so pass skip_predictor=True."
        for reason in left_out(networks)
    ]
    if not notes:
        notes += _about_predictor(loaded)
    if not _sampling(loaded, head).antialias:
        notes.append(
            "The weights were trained on frames that were shrunk without antialias. The video "
            "processor of transformers always shrinks with it, so pixels of larger videos differ."
        )
    if head and head.num_views > 1:
        notes.append(
            f"The probe's results are of probabilities averaged over {head.num_views} crops of a "
            "clip; the model takes one."
        )
    return tuple(notes)


def _about_predictor(loaded: LoadedEncoder) -> list[str]:
    """Say what a predictor that goes along predicts, which its name does not tell."""
    method = loaded.config.stage.method
    if method.name == "salt":
        scaled = ", each standardised by a layer norm" if method.target_norm == "layer_norm" else ""
        return [
            f"The predictor's outputs are guesses of the frozen teacher's tokens{scaled}, not of "
            "this encoder's own."
        ]
    if method.name == "vjepa" and method.kept == "target":
        return [
            "The encoder is the moving average. The predictor was trained on tokens of the encoder "
            "that it is an average of."
        ]
    return []


def _section(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """Return a section of the config.json of a checkpoint's run; empty without one."""
    path = checkpoint.path.parent.parent / run_folder.CONFIG
    if checkpoint.path.parent.name != run_folder.CHECKPOINTS or not path.is_file():
        return {}
    found = durable.read_json(path).get(name)
    return found if isinstance(found, dict) else {}
