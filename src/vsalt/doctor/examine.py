"""`vsalt doctor`: looks at everything that vsalt needs from a machine."""

from collections.abc import Collection, Sequence
from importlib import metadata

from vsalt import __version__
from vsalt.doctor.codecs import examine_codecs
from vsalt.doctor.finding import Finding
from vsalt.doctor.machine import examine_devices, examine_machine
from vsalt.doctor.packages import examine_extras, examine_packages
from vsalt.doctor.requirements import Requirement, read_requirements
from vsalt.errors import ConfigError

CUDA = "cuda"


def examine(
    needed: Collection[str] = (), requirements: Sequence[Requirement] | None = None
) -> list[Finding]:
    """Look at the machine, packages, devices, codecs and extras.

    Args:
        needed: extras that must be there, and `cuda` if a GPU must be.
        requirements: what vsalt needs; None: as its metadata says.

    Raises:
        ConfigError: there is no such extra.
    """
    own = _vsalt()
    if requirements is None:
        requirements = read_requirements() if own.state == "ok" else []
    extras = sorted({one.extra for one in requirements if one.extra is not None})
    unknown = [name for name in needed if name not in (*extras, CUDA)]
    if unknown:
        raise ConfigError(
            [f"need names {name!r}; it can be {', '.join(extras)} or {CUDA}" for name in unknown]
        )
    return [
        *examine_machine(),
        own,
        *examine_packages(requirements),
        *examine_devices(needs_cuda=CUDA in needed),
        *examine_codecs(),
        *examine_extras(requirements, needed),
    ]


def _vsalt() -> Finding:
    """Say whether vsalt is installed, since its metadata tell what it needs."""
    try:
        metadata.version("vsalt")
    except metadata.PackageNotFoundError:
        return Finding(
            section="packages",
            name="vsalt",
            value=f"{__version__} is not installed, and only then is it known what it needs",
            state="bad",
            mend="pip install -e . (in the folder of its pyproject.toml)",
        )
    return Finding(section="packages", name="vsalt", value=__version__)
