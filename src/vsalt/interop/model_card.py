"""The model card of an exported folder: what is known of the weights, and what is not.

Paths are left out, since a card is made to be published: of the data it says how many clips there
were, the hash of their list, and the last part of each source's path.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vsalt import __version__
from vsalt.config import PretrainConfig
from vsalt.data.catalogue import parse_source
from vsalt.data.config import ClipConfig
from vsalt.data.urls import base_name
from vsalt.interop.networks import Networks, count

NO_LICENSE = "LICENCE MISSING"
_UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class ProbeLine:
    """One line of the card's table of probes.

    Attributes:
        task: column and data, in words.
        kind: of the heads.
        accuracy: on the test rows.
        interval: ends of its 95 % interval, if there is one.
        uniform: accuracy of an even guess.
        num_rows: test rows.
        exposure: what pretraining has seen of them, in words.
    """

    task: str
    kind: str
    accuracy: float
    interval: tuple[float, float] | None
    uniform: float
    num_rows: int
    exposure: str


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What a card is written from.

    Attributes:
        config: of the stage that trained the encoder.
        meta: of its checkpoint.
        data: the section `data` of the run's config.json; empty if there is none.
        teacher: what a teacher from outside is (`teacher_outside` there); empty: it has none.
        stage: what the encoder is to its run.
        networks: what is in the folder.
        clip: what clips they take.
        sha256: hash of the encoder's weights.
        probes: of this encoder.
        notes: what was left out or cannot be said in the folder's configs.
        license: identifier; None: the user has not named one.
    """

    config: PretrainConfig
    meta: Mapping[str, Any]
    data: Mapping[str, Any]
    teacher: Mapping[str, Any]
    stage: str
    networks: Networks
    clip: ClipConfig
    sha256: str
    probes: Sequence[ProbeLine] = ()
    notes: Sequence[str] = ()
    license: str | None = None


def model_card(facts: CardFacts) -> str:
    """Return the text of README.md."""
    sections = [
        _front_matter(facts),
        _head(facts),
        _use(facts),
        _training(facts),
        _probes(facts),
        _limits(facts),
        _license(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(facts: CardFacts) -> str:
    is_classifier = facts.networks.classifier is not None
    lines = [
        "---",
        *([f"license: {json.dumps(facts.license)}"] if facts.license else []),
        "library_name: transformers",
        f"pipeline_tag: {'video-classification' if is_classifier else 'feature-extraction'}",
        "tags:",
        "- vsalt",
        "- vjepa2",
        "- video",
        "- self-supervised-learning",
        "---",
    ]
    return "\n".join(lines)


def _head(facts: CardFacts) -> str:
    numbers = facts.networks.encoder.config.architecture
    height, width = facts.networks.size
    what = "A video encoder with an attentive classifier" if facts.networks.classifier else ""
    return (
        f"# {what or 'A video encoder'}, exported by vsalt {__version__}\n\n"
        f"{count(numbers.depth, 'block')}, width {numbers.width}, {count(numbers.heads, 'head')}; "
        f"clips of {facts.networks.num_frames} frames of {height} x {width} pixels, "
        f"{_rate(facts.clip)}. In its run it is: {facts.stage}. Hash of the encoder's weights: "
        f"`{facts.sha256}`."
    )


def _rate(clip: ClipConfig) -> str:
    if clip.fps is not None:
        return f"{clip.fps:g} frames per second"
    return "one after the other" if clip.frame_step == 1 else f"every {clip.frame_step} frames"


def _use(facts: CardFacts) -> str:
    kind = "AutoModel"
    last = "tokens = model(**inputs, skip_predictor=True).last_hidden_state  # (1, N, width)"
    if facts.networks.classifier is not None:
        kind = "AutoModelForVideoClassification"
        last = "scores = model(**inputs).logits  # (1, classes)"
    size = facts.networks.size[0]
    shape = f"({facts.networks.num_frames}, height, width, 3)"
    return f"""## Use

```python
from transformers import {kind}, AutoVideoProcessor

model = {kind}.from_pretrained(FOLDER)
processor = AutoVideoProcessor.from_pretrained(FOLDER)  # needs torchvision
inputs = processor(frames, return_tensors="pt")  # frames: {shape}, RGB, uint8
{last}
```

The mean of the tokens is one vector per clip. The frames have to be chosen first, as above:
{_rate(facts.clip)}. Clips of another size than {size} x {size} get wrong positions in
transformers."""


def _training(facts: CardFacts) -> str:
    if "imported" in facts.meta:
        origin = facts.meta["imported"]
        kind = ", ".join(filter(None, (origin["format"], origin.get("role"))))
        lines = [
            "## Training",
            "",
            "These weights were not trained by vsalt; they were imported from "
            f"`{origin['source']}` ({kind}). Its data, steps and FLOPs are not known here.",
            "",
            *(f"- {note}" for note in origin.get("notes", ())),
        ]
        return "\n".join(lines).rstrip()
    meta, data = facts.meta, facts.data
    rows = {
        "method": facts.config.stage.method.name,
        **_teacher(facts.teacher),
        "data": _sources(facts),
        "clips to train on": _count(data.get("num_train")),
        "clips held out": _count(data.get("num_holdout")),
        "list of clips (SHA-256)": f"`{meta.get('manifest_sha256') or _UNKNOWN}`",
        "steps": _count(meta.get("step")),
        "clips seen": _count(meta.get("clips")),
        "FLOPs, exact": _flops(meta.get("flops_exact")),
        "FLOPs, 6ND": _flops(meta.get("flops_six_nd")),
        "FLOPs of its teachers, exact": _flops(meta.get("teacher_flops_exact")),
        "validation loss": _number(meta.get("val_loss")),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["## Training", "", "| | |", "|---|---|", *lines])


def _teacher(outside: Mapping[str, Any]) -> dict[str, str]:
    if not outside:
        return {}
    name = f"{outside['model']} of `{outside['source']}`, block {outside['layer']}"
    return {"frozen teacher": f"{name}; what it has seen is not known here"}


def _sources(facts: CardFacts) -> str:
    places = [str(parse_source(source)[0]) for source in facts.config.data.sources]
    names = [base_name(place) for place in places]
    return ", ".join(f"`{name}`" for name in names) or _UNKNOWN


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _UNKNOWN


def _flops(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else _UNKNOWN


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "none"


def _probes(facts: CardFacts) -> str:
    if not facts.probes:
        return "## Results\n\nNo probe of this encoder was given."
    lines = [
        f"| {line.task} | {line.kind} | {line.accuracy:.1%}{_interval(line)} | {line.uniform:.1%} "
        f"| {line.num_rows:,} | {line.exposure} |"
        for line in facts.probes
    ]
    head = "| task | probe | accuracy (95 % interval) | chance | test rows | pretraining saw |"
    return "\n".join(["## Results", "", head, "|---|---|---|---|---|---|", *lines])


def _interval(line: ProbeLine) -> str:
    if line.interval is None:
        return ""
    return f" ({line.interval[0]:.1%} to {line.interval[1]:.1%})"


def _limits(facts: CardFacts) -> str:
    if not facts.notes:
        return ""
    return "\n".join(["## Notes", "", *(f"- {note}" for note in facts.notes)])


def _license(facts: CardFacts) -> str:
    if facts.license:
        return f"## Licence\n\n{facts.license}"
    return (
        f"## Licence\n\n**{NO_LICENSE}.** Nobody has said under which licence these weights may be "
        "used. Before you publish this folder, name one here and as `license:` at the top of this "
        "file (`vsalt export --license`); mind the licences of the videos and of the teacher."
    )
