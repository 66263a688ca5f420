"""Results of probes for a model card: those that are named, and those that lie beside the run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vsalt import durable
from vsalt.errors import RunFolderError

if TYPE_CHECKING:
    from vsalt.interop.model_card import ProbeLine
    from vsalt.training.locate import LoadedEncoder


def probe_lines(
    loaded: "LoadedEncoder", run: Path, given: Sequence[Path]
) -> tuple["ProbeLine", ...]:
    """Return what probes say of an encoder, which they know by the hash of its weights.

    Args:
        loaded: the encoder.
        run: where it was loaded from; folders of probes in it and beside it are looked at.
        given: folders of probes, which must be of this encoder.

    Raises:
        RunFolderError: if a given folder holds no probe, or none of this encoder.
    """
    lines = []
    seen = set()
    for folder in given:
        found = _line(folder, loaded.sha256)
        if found is None:
            raise RunFolderError(
                f"{folder} is no probe of this encoder ({loaded.sha256[:12]}); leave it out, or "
                "fit one by `vsalt probe fit`"
            )
        if folder.resolve() not in seen:
            lines.append(found)
        seen.add(folder.resolve())
    for folder in _near(run):
        if folder.resolve() not in seen:
            found = _line(folder, loaded.sha256)
            lines += [found] if found else []
            seen.add(folder.resolve())
    return tuple(lines)


def _near(run: Path) -> Iterator[Path]:
    """Yield folders of probes in a run and beside it."""
    from vsalt.report.probes import RESULT

    for parent in (run, run.absolute().parent):
        if parent.is_dir():
            yield from sorted(path.parent for path in parent.glob(f"*/{RESULT}"))


def _line(folder: Path, sha256: str) -> "ProbeLine | None":
    from vsalt.data.urls import base_name
    from vsalt.interop.model_card import ProbeLine
    from vsalt.report.probes import RESULT, read_probe

    record = read_probe(folder)
    entries = durable.read_json(folder / RESULT)["encoders"]
    for entry, score in zip(entries, record.scores, strict=True):
        if entry["sha256"] == sha256:
            return ProbeLine(
                task=f"`{record.target}` of `{base_name(record.source)}`",
                kind=record.kind,
                accuracy=score.accuracy,
                interval=score.interval,
                uniform=record.uniform,
                num_rows=score.num_rows,
                exposure=score.exposure,
            )
    return None
