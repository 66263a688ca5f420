"""vsalt: compute-efficient self-supervised learning from video with frozen teachers (SALT).

The public names are loaded when they are first asked for: `import vsalt` is instant and imports
neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsalt.config import PretrainConfig, SaltRunConfig
    from vsalt.data.decode import Video
    from vsalt.data.manifest import read_source
    from vsalt.data.synthetic import synthesise
    from vsalt.data.transforms import centre_view
    from vsalt.embedding.embed import EmbedOptions, embed
    from vsalt.embedding.embedder import Embedder, load
    from vsalt.embedding.sklearn_transformer import VideoEmbedder
    from vsalt.errors import VsaltError
    from vsalt.evaluation.probe import ProbeOptions, fit_probe
    from vsalt.evaluation.protocol import TaskOptions
    from vsalt.interop.teachers.read import read_hf_teacher
    from vsalt.models.tokenizer import image_clips
    from vsalt.models.vit import Encoder
    from vsalt.presets import salt_preset, stage_preset
    from vsalt.training.extract import ExtractConfig, encode_clips
    from vsalt.training.locate import LoadedEncoder, load_encoder
    from vsalt.training.start import resume_run, start_salt, start_stage

__version__ = "0.1.0"

__all__ = [
    "EmbedOptions",
    "Embedder",
    "Encoder",
    "ExtractConfig",
    "LoadedEncoder",
    "PretrainConfig",
    "ProbeOptions",
    "SaltRunConfig",
    "TaskOptions",
    "Video",
    "VideoEmbedder",
    "VsaltError",
    "__version__",
    "centre_view",
    "embed",
    "encode_clips",
    "fit_probe",
    "image_clips",
    "load",
    "load_encoder",
    "read_hf_teacher",
    "read_source",
    "resume_run",
    "salt_preset",
    "stage_preset",
    "start_salt",
    "start_stage",
    "synthesise",
]

_HOMES = {
    "EmbedOptions": "embedding.embed",
    "Embedder": "embedding.embedder",
    "Encoder": "models.vit",
    "ExtractConfig": "training.extract",
    "LoadedEncoder": "training.locate",
    "PretrainConfig": "config",
    "ProbeOptions": "evaluation.probe",
    "SaltRunConfig": "config",
    "TaskOptions": "evaluation.protocol",
    "Video": "data.decode",
    "VideoEmbedder": "embedding.sklearn_transformer",
    "VsaltError": "errors",
    "centre_view": "data.transforms",
    "embed": "embedding.embed",
    "encode_clips": "training.extract",
    "fit_probe": "evaluation.probe",
    "image_clips": "models.tokenizer",
    "load": "embedding.embedder",
    "load_encoder": "training.locate",
    "read_hf_teacher": "interop.teachers.read",
    "read_source": "data.manifest",
    "resume_run": "training.start",
    "salt_preset": "presets",
    "stage_preset": "presets",
    "start_salt": "training.start",
    "start_stage": "training.start",
    "synthesise": "data.synthetic",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vsalt' has no attribute {name!r}")
    return getattr(import_module(f"vsalt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
