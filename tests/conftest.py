"""What holds for every test: one thread, checked shapes, real videos on request, no silent skips.

Environment variables:
    VSALT_TEST_DATA: the folder of real videos; tests that ask for them are skipped without it.
    VSALT_NO_SKIP: when 1, a skipped test is a failure unless it needs CUDA.
"""

import os
import sys
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Before anything imports torch; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

if "vsalt" in sys.modules:
    raise pytest.UsageError(
        "vsalt was imported before tests/conftest.py, so its shapes would go unchecked; "
        "remove the plugin or option that imports it"
    )
install_import_hook("vsalt", "beartype.beartype")

# The same examples in every run, and no verdict by a clock that other processes share.
hypothesis.settings.register_profile("vsalt", derandomize=True, deadline=None)
hypothesis.settings.load_profile("vsalt")

NEEDS_CUDA = "needs CUDA"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real videos, or a skip where there is none."""
    given = os.environ.get("VSALT_TEST_DATA")
    if not given:
        pytest.skip("real videos: set VSALT_TEST_DATA")
    folder = Path(given).resolve()
    if not folder.is_dir():
        pytest.fail(f"VSALT_TEST_DATA={given} is not a folder")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs CUDA where there is none; put torch back to one thread."""
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip(NEEDS_CUDA)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Apply the no-skip rule to a test."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Apply the no-skip rule to a whole module."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    expected_failure = hasattr(report, "wasxfail")
    if os.environ.get("VSALT_NO_SKIP") != "1" or not report.skipped or expected_failure:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if NEEDS_CUDA not in reason:
        report.outcome = "failed"
        report.longrepr = f"skipped, but VSALT_NO_SKIP=1 allows no skip: {reason}"
