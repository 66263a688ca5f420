"""Reading a model of transformers as a teacher: from a folder, or by its name on the hub."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vsalt.config import StageConfig
from vsalt.errors import ConfigError, InteropError
from vsalt.interop.extras import quiet_transformers
from vsalt.interop.teachers.adapters import ADAPTERS, Adapter, adapter_of
from vsalt.interop.teachers.pixels import PROCESSORS, read_preparation
from vsalt.interop.teachers.teacher import HfTeacher
from vsalt.objectives.config import SaltConfig
from vsalt.objectives.salt import frames_of_clips, no_such_layer

CONFIG = "config.json"


def read_hf_teacher(source: str | Path, stage: StageConfig) -> HfTeacher:
    """Read a model of transformers as the frozen teacher of a student.

    Weights are read from safetensors only, in float32, and all of them must be there; code of the
    source is never run.

    Args:
        source: a `save_pretrained` folder with the file of its processor, or a name on the hub,
            which needs a network or the hub's cache.
        stage: the student's, of method salt: tubelet, layer and frames are taken from it.

    Raises:
        InteropError: if there is no such model, or it cannot teach.
        MissingExtraError: if transformers is not installed.
        ConfigError: if it has no such layer, or `teacher_frames` means nothing to it.

    Example:
        >>> teacher = read_hf_teacher("dinov2", config.stage)  # doctest: +SKIP
        >>> start_stage(run, config, teacher="hf:dinov2", read_outside=read_hf_teacher)
        ... # doctest: +SKIP
    """
    method = stage.method
    if not isinstance(method, SaltConfig):
        raise ConfigError([f"method {method.name} takes no teacher; it must be salt"])
    name = str(source)
    if not name or Path(name).is_file():
        raise InteropError(f"{name!r} is no folder of transformers, and no name on its hub")
    with quiet_transformers() as package:
        adapter, config = _config(package, name)
        layer = _layer(method, adapter, config.num_hidden_layers)
        processor = _processor(package, name, adapter)
        size = _pair(getattr(config, adapter.size_of)) if adapter.size_of else None
        preparation = read_preparation(processor, size, int(config.patch_size), name)
        model = _model(package, adapter, config, name)
    return HfTeacher(
        model,
        adapter,
        preparation,
        source=name,
        processor=processor,
        layer=layer,
        tubelet=stage.encoder.tubelet,
        frames=method.teacher_frames,
    )


def _config(package: Any, name: str) -> tuple[Adapter, Any]:
    """Return the adapter of a model and its config, as it is built here."""
    record = _read_json(package, name, CONFIG, required=True)
    if record is None or "model_type" not in record:
        lacking = CONFIG if record is None else f"model_type in its {CONFIG}"
        raise InteropError(f"{name} has no {lacking}, so it is no model of transformers")
    kind = str(record["model_type"])
    adapter = adapter_of(kind)
    if adapter is None:
        known = ", ".join(adapter.types[0] for adapter in ADAPTERS)
        raise InteropError(
            f"{name} is a model of type {kind}, which cannot teach here; those that can are {known}"
        )
    from huggingface_hub.errors import StrictDataclassError

    try:
        config = getattr(package, adapter.model).config_class.from_pretrained(name)
    except (OSError, TypeError, ValueError, StrictDataclassError) as error:
        raise InteropError(f"{CONFIG} of {name} cannot be read: {error}") from error
    for setting, value in adapter.changes.items():
        setattr(config, setting, value)
    return adapter, config


def _model(package: Any, adapter: Adapter, config: Any, name: str) -> Any:
    """Load the weights strictly: none may be missing; those of other parts are left out."""
    try:
        model, found = getattr(package, adapter.model).from_pretrained(
            name,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            # Shapes that differ are listed, and refused below.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **adapter.loading,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InteropError(
            f"{name} cannot be read as a {adapter.model}, whose weights must be in safetensors "
            f"files: {error}"
        ) from error
    wrong = sorted(map(str, {*found["missing_keys"], *found["mismatched_keys"]}))
    if wrong:
        raise InteropError(
            f"{name} lacks weights of a {adapter.model}, or has them in another shape:\n"
            + "\n".join(f"  {key}" for key in wrong)
        )
    return model.eval()


def _processor(package: Any, name: str, adapter: Adapter) -> dict[str, Any]:
    """Return the settings of the preprocessing, from the first of its files that there is."""
    for filename, entry in PROCESSORS:
        record = _read_json(package, name, filename)
        found = record if record is None or entry is None else record.get(entry)
        if found is not None:
            return dict(found)
    names = ", ".join(dict.fromkeys(filename for filename, _ in PROCESSORS))
    raise InteropError(
        f"{name} does not say how its pixels are standardised: it has none of {names}. Put the one "
        f"of the released {adapter.model} there, or save its processor there (save_pretrained)"
    )


def _read_json(
    package: Any, name: str, filename: str, *, required: bool = False
) -> dict[str, Any] | None:
    """Return a JSON file of a folder or of the hub; None if the source has no such file.

    Of the hub, one that is required is asked for strictly: an error tells a name that is not there
    from a network that is not.
    """
    path: Path | str | None = Path(name) / filename
    if Path(name).is_dir():
        if not Path(name, filename).is_file():
            return None
    else:
        try:
            path = package.utils.cached_file(
                name, filename, _raise_exceptions_for_missing_entries=required
            )
        except (OSError, ValueError) as error:
            raise InteropError(
                f"there is no folder {name}, and as a name on the hub it cannot be read: {error}"
            ) from error
    if path is None:
        return None
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InteropError(f"{path} cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise InteropError(f"{path} holds no settings")
    return record


def _layer(method: SaltConfig, adapter: Adapter, depth: int) -> int:
    """Return the number of the block that is asked for, from 0."""
    problems = []
    if not -depth <= method.teacher_layer < depth:
        problems.append(no_such_layer(method.teacher_layer, depth))
    if adapter.sees == "clips" and method.teacher_frames != "first":
        problems.append(frames_of_clips(method.teacher_frames))
    if problems:
        raise ConfigError(problems)
    return method.teacher_layer % depth


def _pair(extent: Any) -> tuple[int, int]:
    if isinstance(extent, int):
        return extent, extent
    height, width = extent
    return int(height), int(width)
