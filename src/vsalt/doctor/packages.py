"""Whether the needed packages and those of the extras are there, new enough, and can be loaded."""

import importlib
import warnings
from collections.abc import Collection, Sequence
from itertools import groupby

from vsalt.doctor.finding import Finding
from vsalt.doctor.requirements import Requirement


def examine_packages(requirements: Sequence[Requirement]) -> list[Finding]:
    """Look at the packages that vsalt cannot do without."""
    findings = []
    for required in requirements:
        if required.extra is None:
            problem = find_problem(required)
            version = required.installed() or ""
            install = f"pip install --upgrade '{required.name}{required.bounds}'"
            findings.append(
                Finding(
                    section="packages",
                    name=required.name,
                    value=problem or version,
                    state="bad" if problem else "ok",
                    mend=install if problem else "",
                )
            )
    return findings


def examine_extras(
    requirements: Sequence[Requirement], needed: Collection[str] = ()
) -> list[Finding]:
    """Look at the packages of each extra.

    An extra of which a package is not installed is missing, which is bad only if it is needed. One
    that is installed and does not work is bad.

    Args:
        requirements: of all extras.
        needed: the extras that must be there.
    """
    of_extras = [(one.extra, one) for one in requirements if one.extra is not None]
    findings = []
    for extra, group in groupby(sorted(of_extras), key=lambda pair: pair[0]):
        own = [required for _, required in group]
        findings.append(_examine_extra(extra, own, is_needed=extra in needed))
    return findings


def _examine_extra(extra: str, own: Sequence[Requirement], *, is_needed: bool) -> Finding:
    absent = [required.name for required in own if required.installed() is None]
    install = f"pip install 'vsalt[{extra}]'"
    if absent:
        are = "is" if len(absent) == 1 else "are"
        return Finding(
            section="extras",
            name=extra,
            value=f"{' and '.join(absent)} {are} not installed",
            state="bad" if is_needed else "missing",
            mend=install,
        )
    problems = [problem for required in own if (problem := find_problem(required))]
    versions = ", ".join(f"{required.name} {required.installed()}" for required in own)
    return Finding(
        section="extras",
        name=extra,
        value="; ".join(problems) or versions,
        state="bad" if problems else "ok",
        mend=f"{install.replace('install', 'install --upgrade')}" if problems else "",
    )


def find_problem(required: Requirement) -> str:
    """Return why a package is of no use; nothing if it is."""
    version = required.installed()
    if version is None:
        return "not installed"
    if not required.allows(version):
        return f"{required.name} {version} is installed, and vsalt needs {required.bounds}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(required.module)
    except Exception as error:  # whatever an import may run into
        reason = " ".join(str(error).split())[:300]
        return f"{required.name} {version} cannot be loaded: {type(error).__name__}: {reason}"
    return ""
